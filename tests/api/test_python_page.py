"""docs/python.md: its commands make a model, and its code takes a recording from there to predictions."""

import shlex

import numpy as np
import pytest

from data_prep.__main__ import main as data_prep
from tests.running import SHORT, SIMULATE, TINY, WINDOW, neuromtm

LARGEST_EXAMPLE_LINES = 25


def blocks(root, language):
    """The page's blocks of a language."""
    parts = (root / "docs" / "python.md").read_text().split(f"```{language}\n")[1:]
    return [part.split("```")[0] for part in parts]


@pytest.fixture(scope="module")
def folder(root, tmp_path_factory):
    """Where a newcomer works, with the model that the page's two commands make: the same, only smaller."""
    folder = tmp_path_factory.mktemp("newcomer")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        simulate, fit = (shlex.split(line) for line in blocks(root, "bash")[0].replace("\\\n", "").splitlines())
        assert simulate[:3] == ["python", "-m", "data_prep"]
        assert data_prep([*simulate[3:], *SIMULATE, *WINDOW]) == 0
        assert fit[0] == "neuromtm"
        neuromtm(*fit[1:], *TINY, *SHORT)
    return folder


def test_the_example_goes_from_a_model_to_a_new_animal_s_predictions(root, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    generator = np.random.default_rng(0)
    counts = generator.poisson(0.3, (30, 20, 9))
    np.save("counts.npy", counts)
    np.save("regions.npy", np.array(["CA1", "LP", "VISp"] * 3))
    times_s = np.sort(generator.uniform(0, 60, 5000))
    np.save("spike_times.npy", times_s)
    np.save("spike_neurons.npy", generator.integers(0, 9, 5000))
    np.save("events.npy", np.arange(1.0, 59.0))
    example, from_times = blocks(root, "python")
    names = {}
    exec(example.replace("max_epochs=100", "max_epochs=1, accelerator='cpu', progress=False"), names)
    assert names["rates"].shape == (*names["test"].counts.shape,) == (6, 20, 9)
    assert names["states"].shape == (6, 20, 16)
    assert names["score"].bps.shape == (9,)
    assert f"{names['score'].pooled:.3f} pooled" in capsys.readouterr().out
    exec(from_times, names)
    assert names["counts"].shape == (58, 20, 9)
    inside = ((times_s[:, None] >= np.arange(1.0, 59.0) - 0.1) & (times_s[:, None] < np.arange(1.0, 59.0) + 0.3)).sum()
    assert names["counts"].sum() == inside


def test_the_example_is_short(root):
    lines = [line for line in blocks(root, "python")[0].splitlines() if line and not line.startswith("#")]
    assert len(lines) <= LARGEST_EXAMPLE_LINES

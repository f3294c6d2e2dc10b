"""The example of docs/models.md is what the page says it is."""

import re
import sys

import pytest
import small_models
import torch
from small_models import N_BINS, make_group, make_session

import neuromtm
from neuromtm.errors import CheckpointError
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from tests.running import HELDOUT, SHORT, finetune, scalars
from tests.running import neuromtm as command

LONGEST_LINES = 60


@pytest.fixture(scope="module")
def page(root):
    text = (root / "docs" / "models.md").read_text()
    return text[text.index("## How to add a model") :].split("\n## ")[0]


def block(page: str, language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return found


@pytest.fixture
def my_lab(page, tmp_path, monkeypatch):
    """The folder that holds the package and the overlay of the page."""
    package = tmp_path / "my_lab"
    package.mkdir()
    (package / "mean_field.py").write_text(block(page, "python"))
    (tmp_path / "my_field.yaml").write_text(block(page, "yaml"))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NEUROMTM_ALLOW", "my_lab")
    yield tmp_path
    forget_my_lab()


def forget_my_lab() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_the_example_trains_fine_tunes_and_is_tested_from_the_command_line(root, my_lab, sessions_dir, monkeypatch):
    recipe, overlay, run_dir = root / "conf" / "pretrain.yaml", my_lab / "my_field.yaml", my_lab / "run"
    data = ("--data.root", sessions_dir)
    command("fit", "--config", recipe, "--config", overlay, *SHORT, *data, "--run_dir", run_dir)
    assert scalars(run_dir)["train/loss"]
    checkpoint, tuned = run_dir / "checkpoints" / "best.ckpt", my_lab / "tuned"
    forget_my_lab()  # as in another process
    monkeypatch.delenv("NEUROMTM_ALLOW")
    with pytest.raises(CheckpointError, match=r"is of another package: import my_lab.mean_field before"):
        neuromtm.load(checkpoint)
    monkeypatch.setenv("NEUROMTM_ALLOW", "my_lab")
    assert neuromtm.load(checkpoint).record.class_path == "my_lab.mean_field.MeanField"
    forget_my_lab()
    fine_tune = finetune(root, sessions_dir, checkpoint, "--data.sessions", f"[{HELDOUT}]", "--run_dir", tuned)
    command(*fine_tune, "--config", overlay)
    forget_my_lab()
    command("test", "--config", tuned / "config.yaml", "--ckpt_path", tuned / "checkpoints" / "best.ckpt")
    assert "co_smoothing_bps" in (tuned / "metrics.json").read_text()


def test_the_example_sees_no_future_where_it_must_not(my_lab):
    from my_lab.mean_field import MeanField

    model = StitchedModel(MeanField(width=6))
    model.add_session(make_session("a"))
    small_models.scatter(model)
    model.double()
    counts = make_group(make_session("a")).counts
    for scheme, n_moved in (("causal", 4), ("neuron", N_BINS)):
        changed = counts.clone()
        changed[:, -4] += 1
        before, after = (model([VisibleGroup("a", c)], scheme).log_rates[0] for c in (counts, changed))
        moved = (before - after).abs().amax((0, 2)) > 1e-6
        assert torch.equal(moved, torch.arange(N_BINS) >= N_BINS - n_moved)


def test_the_example_stays_short(page):
    assert len(page.splitlines()) <= LONGEST_LINES

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.recording import WHISKER, Recording, SortedNeurons, Trace, TrialTable


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Options of `simulate` for two small sessions."""
    return ("--n-sessions", "2", "--n-heldout", "1", "--n-trials", "12", "--n-neurons", "20")


@pytest.fixture(scope="session")
def simulated(tmp_path_factory, tiny) -> Path:
    """A folder of two small simulated sessions. Tests must not change it."""
    out = tmp_path_factory.mktemp("simulated") / "shards"
    assert main(["simulate", "--out", str(out), *tiny]) == 0
    return out


@pytest.fixture(scope="session")
def alf_tree(tmp_path_factory, tiny) -> Path:
    """The two sessions of `simulated` as files of the International Brain Laboratory. Tests must not change them."""
    pytest.importorskip("one", reason="ONE-api is not installed")
    out = tmp_path_factory.mktemp("tree") / "alf"
    assert main(["simulate", "--format", "alf", "--out", str(out), *tiny]) == 0
    return out


@pytest.fixture
def table() -> TrialTable:
    """Five good trials, ten seconds apart."""
    onset_s = 10.0 * np.arange(1, 6)
    return TrialTable(
        stimulus_onset_s=onset_s,
        go_cue_s=onset_s,
        first_movement_s=onset_s + 0.3,
        feedback_s=onset_s + 0.5,
        choice=np.array([-1.0, 1.0, 1.0, -1.0, 1.0]),
        feedback_type=np.array([1.0, -1.0, 1.0, 1.0, 1.0]),
        contrast_left=np.array([0.25, np.nan, 1.0, np.nan, 0.0]),
        contrast_right=np.array([np.nan, 0.5, np.nan, 1.0, np.nan]),
        block=np.full(5, 0.5),
    )


@pytest.fixture
def recording(table) -> Recording:
    """Three neurons, each with one spike 5 ms after every stimulus onset."""
    return Recording(
        eid="mouse-1",
        subject="mouse",
        lab="lab",
        source="test",
        spike_times_s=np.repeat(table.stimulus_onset_s + 0.005, 3),
        spike_neuron=np.tile(np.arange(3), 5),
        neurons=SortedNeurons(
            uuid=np.array(["a", "b", "c"]),
            region=np.array(["CA1", "root", "VISp"]),
            probe=np.repeat("probe00", 3),
            label=np.array([1.0, np.nan, 1 / 3]),
            depth_um=np.array([10.0, 20.0, np.nan]),
        ),
        trials=table,
        traces={WHISKER: Trace(times_s=np.arange(0, 60, 0.01), values=np.arange(0, 60, 0.01))},
    )


@pytest.fixture
def with_trial(table):
    """The table with one field of one trial changed: with_trial(field, trial, value)."""

    def change(field: str, trial: int, value: float) -> TrialTable:
        values = getattr(table, field).copy()
        values[trial] = value
        return replace(table, **{field: values})

    return change

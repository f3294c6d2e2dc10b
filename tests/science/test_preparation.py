"""Which trials and which camera a session is made of, by the protocol of the International Brain Laboratory's data."""

import numpy as np
import pytest

from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import WHISKER
from data_prep.sources.ibl.behaviors import read_behaviors
from data_prep.trials import trial_criteria
from neuromtm.errors import SourceError
from tests.data_prep.conftest import recording as recording_of_three  # noqa: F401 (fixtures)
from tests.data_prep.conftest import table  # noqa: F401

SHORTEST_S, LONGEST_S = 0.08, 2.0
"""reaction times of the trials that the paper keeps"""


@pytest.fixture
def cameras():
    """The cameras that a session has, and their loading; the trace of a camera says which it is."""
    there = {"left": 1.0, "right": 2.0}

    def load(name, attributes):
        side = name.removesuffix("Camera")
        if side not in there:
            raise SourceError(f"no {name}.")
        return {"times": np.arange(3.0), "ROIMotionEnergy": np.full(3, there[side])}

    return there, load


def test_the_left_camera_is_preferred_to_the_right_one(cameras):
    _, load = cameras
    traces, notes = read_behaviors(load, [WHISKER], span_s=(0.0, 3.0))
    assert set(traces[WHISKER].values) == {1.0}
    assert not notes


def test_the_right_camera_stands_in_and_a_note_says_why(cameras):
    there, load = cameras
    del there["left"]
    traces, notes = read_behaviors(load, [WHISKER], span_s=(0.0, 3.0))
    assert set(traces[WHISKER].values) == {2.0}
    assert len(notes) == 1
    assert "left camera" in notes[0]


def test_a_trial_is_kept_if_the_reaction_time_is_within_the_paper_s_bounds(table):  # noqa: F811
    reaction_s = np.array([SHORTEST_S - 1e-6, SHORTEST_S + 1e-6, 1.0, LONGEST_S - 1e-6, LONGEST_S + 1e-6])
    table.first_movement_s[:] = table.stimulus_onset_s + reaction_s
    passes = trial_criteria(table, options=PrepareOptions())["reaction time"]
    assert passes.tolist() == [False, True, True, True, False]
    wider = trial_criteria(table, options=PrepareOptions(reaction_time_s=(0.0, 5.0)))["reaction time"]
    assert wider.all()


def test_by_default_trials_are_cut_and_divided_as_in_the_paper():
    options = PrepareOptions()
    assert (options.align_event, options.window_s, options.bin_size_s) == ("stimOn_times", (-0.5, 1.5), 0.02)
    assert options.n_bins == 100
    assert options.split_fractions == (0.7, 0.1, 0.2)
    assert (options.max_feedback_delay_s, options.min_firing_rate_hz, options.keep_unknown_choice) == (10.0, 0.0, False)


@pytest.mark.parametrize(
    ("min_label", "kept"), [(0.0, ["a", "b", "c"]), (1 / 3, ["a", "c"]), (0.34, ["a"]), (1.0, ["a"])]
)
def test_a_neuron_is_kept_from_the_lowest_label_on(recording_of_three, min_label, kept):  # noqa: F811
    options = PrepareOptions(min_label=min_label)
    prepared = prepare(recording_of_three, options=options, preparation={})
    assert prepared.shard.header.neurons.uuid.tolist() == kept

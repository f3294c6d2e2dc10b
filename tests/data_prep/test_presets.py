"""Named sets of options stand for single options, and options that exclude each other are refused."""

from argparse import ArgumentParser
from dataclasses import replace
from math import inf

import numpy as np
import pytest

from data_prep.observed import observed_intervals
from data_prep.options import LATER, PrepareOptions, chosen_options, recording_options
from data_prep.plausibility import warnings_of
from data_prep.prepare import prepare
from data_prep.recording import Recording
from data_prep.trials import trial_criteria
from neuromtm.errors import ConfigError


def chosen(*given: str) -> PrepareOptions:
    parser = ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    recording_options(parser, align_event="stimOn_times")
    return chosen_options(parser.parse_args(given))


def test_the_paper_is_the_default_and_a_shard_stores_it_as_before_there_were_presets():
    assert chosen() == chosen("--trial-filter", "paper", "--neuron-qc", "paper") == PrepareOptions()
    stored = PrepareOptions().as_json()
    assert not {*LATER} & stored.keys()
    assert not any(name.endswith(("filter", "qc")) for name in stored)
    assert (stored["reaction_time_s"], stored["max_feedback_delay_s"], stored["min_label"]) == ([0.08, 2.0], 10.0, 0.0)


def test_a_preset_is_stored_as_the_options_it_stands_for():
    good = chosen("--neuron-qc", "good")
    assert good == chosen("--min-label", "1") == PrepareOptions(min_label=1.0)
    assert chosen("--neuron-qc", "all") == PrepareOptions()
    stored = chosen("--trial-filter", "none").as_json()
    assert (stored["reaction_time_s"], stored["max_feedback_delay_s"]) == ([None, None], None)
    assert (stored["keep_unknown_choice"], stored["keep_incomplete"]) == (True, True)


def test_an_option_overrides_the_preset_in_both_directions():
    assert chosen("--neuron-qc", "good", "--min-label", "0.5").min_label == 0.5
    assert chosen("--neuron-qc", "good", "--min-firing-rate-hz", "2") == PrepareOptions(
        min_label=1.0, min_firing_rate_hz=2.0
    )
    loose = chosen("--trial-filter", "none", "--reaction-time-s", "0.1", "3", "--no-keep-unknown-choice")
    assert (loose.reaction_time_s, loose.max_feedback_delay_s) == ((0.1, 3.0), inf)
    assert (loose.keep_unknown_choice, loose.keep_incomplete) == (False, True)
    assert chosen("--keep-unknown-choice") == PrepareOptions(keep_unknown_choice=True)


def test_without_a_filter_only_a_trial_without_its_event_is_removed(table):
    changed = {field: getattr(table, field).copy() for field in ("first_movement_s", "choice", "block", "go_cue_s")}
    changed["first_movement_s"][0] = table.stimulus_onset_s[0] - 4.0
    changed["first_movement_s"][1] = changed["choice"][1] = changed["block"][2] = changed["go_cue_s"][3] = np.nan
    changed["choice"][2] = 0.0
    odd = replace(table, **changed)
    none = replace(chosen("--trial-filter", "none"), align_event="goCue_times")
    passes = trial_criteria(odd, options=none, whisker_covered=np.zeros(5, bool))
    assert np.logical_and.reduce(list(passes.values())).tolist() == [True, True, True, False, True]
    limited = replace(none, reaction_time_s=(0.08, 2.0))
    passes = trial_criteria(odd, options=limited, whisker_covered=np.zeros(5, bool))
    assert np.logical_and.reduce(list(passes.values())).tolist() == [False, False, True, False, True]


def test_good_neurons_are_those_of_label_one(recording):
    shard = prepare(recording, options=chosen("--neuron-qc", "good"), preparation={}).shard
    assert shard.header.neurons.uuid.tolist() == ["a"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (("--continuous", "--window-s", "-0.5", "1.5"), "--window-s is a window around an event.*--length-s"),
        (("--continuous", "--align-event", "go"), "--align-event go is time 0.*--continuous"),
        (("--align-event", ""), "--align-event: name a column"),
        (("--length-s", "1"), "--length-s is the length of a window of --continuous.*--window-s"),
    ],
)
def test_a_window_of_the_other_kind_is_refused_even_at_its_default(given, named):
    with pytest.raises(ConfigError, match=named):
        chosen(*given)


def test_each_kind_of_window_has_a_default_length():
    assert chosen().window_s == (-0.5, 1.5)
    assert chosen("--window-s", "0", "1").window_s == (0.0, 1.0)
    assert chosen("--continuous").window_s == (0.0, 1.0)
    assert chosen("--continuous", "--length-s", "2").window_s == (0.0, 2.0)


def warned(recording: Recording, choice: list[float]) -> list[str]:
    changed = replace(recording, trials=replace(recording.trials, choice=np.array(choice)))
    return warnings_of(changed, observed_intervals(changed))


def test_a_choice_of_zeros_and_ones_is_warned_of(recording):
    (warning,) = warned(recording, [0, 1, 1, 0, 0])
    assert warning.startswith("choice has only the values 0 (3 trials) and 1")
    assert "write -1" in warning
    assert warned(recording, [np.nan, 1, 1, 0, 0]) == [warning.replace("3 trials", "2 trials")]
    for fine in ([-1, 1, 1, -1, 1], [-1, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 0]):
        assert warned(recording, fine) == []

"""What looks wrong is said; nothing is refused."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.inspection import inspection_text, prepare_command
from data_prep.observed import observed_intervals
from data_prep.plausibility import warnings_of
from data_prep.recording import TrialTable


def said(recording):
    return " | ".join(warnings_of(recording, observed_intervals(recording)))


def test_a_good_recording_has_no_warning(recording):
    assert said(recording) == ""


@pytest.mark.parametrize(
    ("factor", "words"), [(1e3, "events are likely in milliseconds"), (3e4, "events are likely in samples")]
)
def test_events_in_another_unit_are_named_with_both_ranges(recording, factor, words):
    events = TrialTable(stimulus_onset_s=recording.trials.stimulus_onset_s * factor)
    text = said(replace(recording, trials=events))
    assert words in text
    assert "spikes from 10.005 to 50.005 s" in text


def test_spikes_in_samples_are_named(recording):
    assert "spikes are likely in samples" in said(replace(recording, spike_times_s=recording.spike_times_s * 3e4))


def test_rates_that_no_neuron_has_are_named(recording):
    fast = replace(
        recording, spike_times_s=np.linspace(0, 1, 6000), spike_neuron=np.arange(6000) % 3, trials=None, traces={}
    )
    assert "3 neurons fire at more than 500 Hz" in said(fast)


def test_negative_times_trials_without_length_and_events_outside_are_named(recording):
    times_s = np.array([-5.0, 10.0, 20.0, 30.0, 900.0])
    table = TrialTable(columns={"start_time": times_s, "stop_time": times_s + np.array([1, 1, 0, 1, 1])})
    text = said(replace(recording, trials=table))
    assert "1 trials are shorter than 1 ms" in text
    assert "start_time is negative in 1 trials" in text
    assert "2 of 5 are outside the recording" in text


def test_durations_are_no_times_of_the_session_but_the_event_is_whatever_its_name(recording):
    durations_s = np.array([0.3, 0.2, 0.5, 0.1, 0.4])
    table = replace(recording.trials, columns={"reaction_time": durations_s, "duration_s": durations_s})
    assert said(replace(recording, trials=table)) == ""
    table = replace(recording.trials, columns={"cue": recording.trials.stimulus_onset_s * 1000})
    changed = replace(recording, trials=table)
    (warning,) = warnings_of(changed, observed_intervals(changed), event="cue")
    assert "cue from 10000 to 50000" in warning
    assert "the events are likely in milliseconds" in warning


def test_an_event_without_any_number_is_named(recording):
    assert "go has no number" not in said(recording)
    table = TrialTable(columns={"go_time": np.full(5, np.nan)})
    assert said(replace(recording, trials=table)) == "go_time has no number"


def test_an_inspection_says_what_is_there(recording):
    table = replace(recording.trials, columns={"cue": np.arange(5.0), "odour": np.array(list("abcde"))})
    text = inspection_text(replace(recording, trials=table, attributes={"file": "a.h5"}))
    for words in ("spikes    15", "neurons   3", "CA1 1", "cue", "odour", "whisker_motion_energy", "a.h5", "inferred"):
        assert words in text


def test_the_command_of_an_inspection_is_quoted_for_a_shell(recording):
    assert "'a b' --align-event stimOn_times" in prepare_command("arrays", ["a b"], recording)
    assert "--continuous" in prepare_command("arrays", ["a"], replace(recording, trials=None))


def test_a_recording_of_days_is_likely_in_another_unit(recording):
    table = TrialTable(stimulus_onset_s=recording.trials.stimulus_onset_s * 3600)
    changed = replace(recording, spike_times_s=recording.spike_times_s * 3600, trials=table, traces={})
    text = said(changed)
    assert "which are 40 hours" in text
    assert "milliseconds or samples" in text


def test_the_proposed_event_is_no_counter_and_no_strength(recording):
    onset_s = recording.trials.stimulus_onset_s
    others = {"trial": np.arange(1.0, 1 + len(onset_s)), "coherence": np.linspace(0.1, 0.5, len(onset_s))}
    table = TrialTable(columns={**others, "go": onset_s})
    assert "--align-event go " in prepare_command("arrays", [], replace(recording, trials=table))
    table = TrialTable(columns=others)
    assert "--align-event EVENT " in prepare_command("arrays", [], replace(recording, trials=table))

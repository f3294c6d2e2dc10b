"""Recordings as people have them elsewhere: what is odd is said in plain words, and nothing wrong is made of it."""

from dataclasses import replace

import numpy as np
import pytest

from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import TrialTable
from neuromtm.errors import SourceError

OPTIONS = PrepareOptions(window_s=(-0.1, 0.4), bin_size_s=0.05)
N_TRIALS = 60


@pytest.fixture
def long(recording):
    """Sixty trials, ten seconds apart, every third one an error; spikes all the time."""
    onset_s = 10.0 * np.arange(1, N_TRIALS + 1)
    times_s = np.arange(5, 10.0 * N_TRIALS + 5, 0.02)
    table = TrialTable(
        stimulus_onset_s=onset_s,
        go_cue_s=onset_s,
        first_movement_s=onset_s + 0.3,
        feedback_s=onset_s + 0.5,
        choice=np.tile([-1.0, 1.0], N_TRIALS // 2),
        feedback_type=np.tile([1.0, 1.0, -1.0], N_TRIALS // 3),
        block=np.full(N_TRIALS, 0.5),
    )
    spikes = {"spike_times_s": times_s, "spike_neuron": np.arange(len(times_s)) % 3}
    return replace(recording, trials=table, traces={}, **spikes)


def prepared(recording):
    return prepare(recording, options=OPTIONS, preparation={})


def test_error_trials_without_feedback_are_counted_by_their_kind(long):
    missing = {}
    for name in ("feedback_s", "first_movement_s"):
        missing[name] = np.where(long.trials.feedback_type < 0, np.nan, getattr(long.trials, name))
    found = prepared(replace(long, trials=replace(long.trials, **missing)))
    assert found.shard.header.n_trials == 40
    assert found.removed_trials == {"reaction time": 20, "no feedback_times": 20, "no firstMovement_times": 20}
    assert "warning: only 0 of 20 trials with feedback -1 are left" in found.notes
    assert (
        "left are choice -1: 20 of 30, choice +1: 20 of 30, feedback -1: 0 of 20, feedback +1: 40 of 40" in found.notes
    )


def test_a_good_recording_says_nothing_of_kinds(long):
    assert not any("left" in note for note in prepared(long).notes)


def test_trials_after_the_end_of_the_spikes_are_no_true_zeros(long):
    on = long.spike_times_s < 305
    half = replace(long, spike_times_s=long.spike_times_s[on], spike_neuron=long.spike_neuron[on])
    found = prepared(half)
    assert found.shard.header.n_trials == 30
    assert sum(found.removed_trials.values()) == 30
    assert found.shard.counts.any(axis=(1, 2)).all()


def test_two_trials_in_all_are_said_in_plain_words(long):
    table = TrialTable(stimulus_onset_s=long.trials.stimulus_onset_s[:2])
    with pytest.raises(SourceError, match=r"^2 of 2 trials left, but the three splits need at least 3 \(no filter rem"):
        prepared(replace(long, trials=table))


@pytest.mark.parametrize(("shift_s", "factor", "unit"), [(7200.0, 1.0, None), (0.0, 3e4, "samples")])
def test_times_that_do_not_meet_are_said_with_both_ranges(shift_s, factor, unit, long):
    times_s = long.spike_times_s * factor + shift_s
    with pytest.raises(SourceError, match="trials left") as error:
        prepared(replace(long, spike_times_s=times_s))
    said = str(error.value)
    assert "stimulus_onset_s from 10 to 600, spikes from " in said
    assert f"{times_s[0]:g} to {times_s[-1]:g} s" in said
    assert unit is None or f"the spikes are likely in {unit}" in said

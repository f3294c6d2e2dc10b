from dataclasses import replace

import numpy as np
import pytest

from data_prep.options import CONTINUOUS_EVENT, PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import WHISKER, Trace, TrialTable
from neuromtm.data.shards import read_header, read_shard, shard_problems, write_shard
from neuromtm.errors import SourceError

OPTIONS = PrepareOptions(window_s=(-0.1, 0.1), bin_size_s=0.02)


def shard_of(recording, options=OPTIONS):
    return prepare(recording, options=options, preparation={}).shard


def test_a_spike_just_after_the_event_falls_into_the_bin_that_starts_there(recording):
    counts = shard_of(recording).counts
    assert counts.shape == (5, 10, 3)
    assert (counts[:, 5] == 1).all()
    assert counts.sum() == 15


def test_a_shard_is_what_was_prepared(recording, tmp_path):
    shard = shard_of(recording)
    write_shard(tmp_path / "a.h5", shard)
    found = read_shard(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.counts, shard.counts)
    np.testing.assert_array_equal(found.behavior[WHISKER], shard.behavior[WHISKER])
    assert found.header.window_s == (-0.1, 0.1)
    assert found.header.info.regions == ("CA1", "root", "VISp")
    assert found.header.trials.contrast.tolist() == [-0.25, 0.5, -1.0, 1.0, 0.0]
    assert found.header.trials.choice.tolist() == [-1, 1, 1, -1, 1]


def test_removed_trials_are_counted_and_the_others_keep_their_row(recording, with_trial):
    prepared = prepare(replace(recording, trials=with_trial("choice", 1, 0.0)), options=OPTIONS, preparation={})
    assert prepared.removed_trials == {"choice unknown": 1}
    assert prepared.shard.header.trials.index.tolist() == [0, 2, 3, 4]


def test_whisker_at_a_bin_is_the_trace_at_its_centre(recording):
    shard = shard_of(recording)
    centres_s = shard.header.trials.stimulus_onset_s[:, None] - 0.1 + 0.02 * (np.arange(10) + 0.5)
    np.testing.assert_allclose(shard.behavior[WHISKER], centres_s, rtol=1e-6)


@pytest.mark.parametrize("hole", [False, True])
def test_a_trial_whose_whisker_trace_ends_early_or_has_a_hole_is_dropped(recording, hole):
    trace = recording.traces[WHISKER]
    if hole:
        values = np.where(np.abs(trace.times_s - 50) < 0.02, np.nan, trace.values)
        trace = replace(trace, values=values)
    else:
        trace = Trace(times_s=trace.times_s[:5005], values=trace.values[:5005])
    prepared = prepare(replace(recording, traces={WHISKER: trace}), options=OPTIONS, preparation={})
    assert prepared.removed_trials == {"whisker trace": 1}
    assert np.isfinite(prepared.shard.behavior[WHISKER]).all()


def test_a_session_without_a_camera_keeps_its_trials_and_has_no_trace(recording):
    shard = shard_of(replace(recording, traces={}))
    assert shard.header.n_trials == 5
    assert shard.behavior == {}


def test_neurons_below_the_label_are_dropped_and_unknown_quality_is_not_good(recording):
    options = replace(OPTIONS, min_label=0.5)
    assert shard_of(recording, options).header.neurons.uuid.tolist() == ["a"]
    assert shard_of(recording).header.n_neurons == 3


def test_the_firing_rate_is_the_mean_over_the_kept_windows_and_filters_by_it(recording):
    quiet = replace(recording, spike_neuron=np.where(recording.spike_neuron == 2, 0, recording.spike_neuron))
    assert shard_of(quiet).header.neurons.firing_rate_hz == pytest.approx([10.0, 5.0, 0.0])
    options = replace(OPTIONS, min_firing_rate_hz=6.0)
    assert shard_of(quiet, options).header.neurons.uuid.tolist() == ["a"]


def test_the_firing_rate_is_that_of_the_training_trials_alone(recording):
    splits = shard_of(recording).header.splits
    (test,) = splits["test"]
    times_s = np.append(recording.spike_times_s, np.repeat(recording.trials.stimulus_onset_s[test] + 0.007, 30))
    order = np.argsort(times_s, kind="stable")
    neuron = np.append(recording.spike_neuron, np.zeros(30, int))
    busy = replace(recording, spike_times_s=times_s[order], spike_neuron=neuron[order])
    assert shard_of(busy).counts[test].sum() == 33
    assert shard_of(busy).header.neurons.firing_rate_hz == pytest.approx([5.0, 5.0, 5.0])


def test_trials_keep_the_times_of_their_event_and_of_the_start_of_their_window(recording, with_trial):
    options = replace(OPTIONS, align_event="goCue_times")
    changed = replace(recording, trials=replace(with_trial("choice", 1, 0.0), go_cue_s=10.0 * np.arange(1, 6) + 0.05))
    trials = shard_of(changed, options).header.trials
    np.testing.assert_allclose(trials.event_s, [10.05, 30.05, 40.05, 50.05])
    np.testing.assert_allclose(trials.start_s, trials.event_s - 0.1)


def test_true_rates_follow_the_kept_trials_and_neurons(recording, with_trial):
    rates = np.arange(5 * 10 * 3, dtype=np.float16).reshape(5, 10, 3)
    changed = replace(recording, true_rates=rates, trials=with_trial("choice", 1, 0.0))
    shard = shard_of(changed, replace(OPTIONS, min_label=0.5))
    np.testing.assert_array_equal(shard.true_rates, rates[[0, 2, 3, 4]][:, :, [0]])


def test_too_few_trials_left_is_a_reason_that_says_what_removed_them(recording, table):
    late = replace(table, first_movement_s=table.first_movement_s + np.array([9, 9, 9, 0, 0]))
    with pytest.raises(SourceError, match=r"2 of 5 trials left.*reaction time 3"):
        shard_of(replace(recording, trials=late))


def test_no_neuron_left_is_a_reason(recording):
    with pytest.raises(SourceError, match="none of 3 neurons"):
        shard_of(recording, replace(OPTIONS, min_firing_rate_hz=1000.0))


def test_no_spike_in_any_window_is_a_reason(recording):
    with pytest.raises(SourceError, match="no spikes in the windows"):
        shard_of(replace(recording, spike_times_s=recording.spike_times_s + 3))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"spike_times_s": np.array([]), "spike_neuron": np.array([], int)}, "no spikes"),
        ({"spike_neuron": np.zeros(3, int)}, "15 spike times"),
        ({"spike_neuron": np.full(15, 3)}, "only 3 neurons"),
        ({"spike_times_s": np.arange(15.0)[::-1]}, "not sorted"),
        ({"spike_times_s": np.full(15, np.nan)}, "not numbers"),
    ],
)
def test_a_recording_whose_parts_do_not_fit_is_refused(recording, change, reason):
    with pytest.raises(SourceError, match=reason):
        replace(recording, **change)


def test_a_trial_table_of_unequal_columns_is_refused(table):
    with pytest.raises(SourceError, match="differ in length"):
        replace(table, choice=np.zeros(4))


def test_any_number_of_the_trial_table_can_be_the_event_and_a_wrong_name_gets_those_there(recording, table):
    changed = replace(recording, trials=replace(table, columns={"cue on": table.stimulus_onset_s + 0.02}))
    assert shard_of(changed, replace(OPTIONS, align_event="cue on")).counts[:, 4].sum() == 15
    with pytest.raises(SourceError, match=r"no lunch. It has: stimOn_times, .*, stimulus_onset_s, cue on"):
        shard_of(changed, replace(OPTIONS, align_event="lunch"))


def test_further_columns_held_out_neurons_and_origin_come_into_the_shard(recording, table, tmp_path):
    columns = {"cue": np.arange(5.0), "odour": np.array(["a", "ö", "", "b", "c"]), "reward": np.ones(5)}
    changed = replace(
        recording,
        trials=replace(table, columns=columns),
        neurons=replace(recording.neurons, heldout=np.array([False, True, False])),
        attributes={"revision": "1"},
    )
    write_shard(tmp_path / "a.h5", shard_of(changed))
    header = read_header(tmp_path / "a.h5")
    assert header.trials.columns["cue"].tolist() == [0, 1, 2, 3, 4]
    assert header.trials.columns["odour"].tolist() == ["a", "ö", "", "b", "c"]
    assert header.trials.columns["source_reward"].tolist() == [1] * 5  # every shard has a reward of its own
    assert header.trials.reward.tolist() == [1, -1, 1, 1, 1]
    assert header.neurons.heldout.tolist() == [False, True, False]
    assert header.attributes == {"revision": "1"}


def test_a_window_that_is_not_wholly_observed_is_removed_and_counted(recording):
    observed = replace(recording, observed_s=np.array([[30.05, 60.0], [0.0, 30.0]]))
    prepared = prepare(observed, options=OPTIONS, preparation={})
    assert prepared.removed_trials == {"not observed": 1}
    assert prepared.shard.header.trials.index.tolist() == [0, 1, 3, 4]


def test_the_splits_of_the_source_are_kept(recording, table):
    split = np.array(["test", "train", "", "val", "train"])
    prepared = prepare(replace(recording, trials=replace(table, split=split)), options=OPTIONS, preparation={})
    splits = {name: trials.tolist() for name, trials in prepared.shard.header.splits.items()}
    assert splits == {"train": [1, 3], "val": [2], "test": [0]}
    assert prepared.removed_trials == {"in no split of the source": 1}


def test_continuous_windows_need_no_trials(recording):
    options = replace(
        OPTIONS, window_s=(0.0, 1.0), align_event=CONTINUOUS_EVENT, continuous=True, split_gap_s=1.0, bin_size_s=0.1
    )
    shard = shard_of(replace(recording, trials=None, observed_s=np.array([[0.0, 60.0]])), options)
    trials = shard.header.trials
    assert shard.counts.sum() > 0
    assert np.isnan(trials.stimulus_onset_s).all()
    assert trials.start_s.tolist() == [i for i in range(60) if i in trials.index]
    assert shard.behavior[WHISKER].shape == (shard.header.n_trials, 10)
    with pytest.raises(SourceError, match=r"no trials\. Give --continuous"):
        shard_of(replace(recording, trials=None))


def test_overlapping_windows_of_an_older_shard_are_found_by_the_check_but_it_opens(recording, tmp_path):
    shard = shard_of(recording)
    trials = replace(shard.header.trials, start_s=np.array([0.0, 0.1, 5.0, 6.0, 7.0]))
    splits = {"train": np.array([0, 2]), "val": np.array([1]), "test": np.array([3, 4])}
    header = replace(shard.header, trials=trials, splits=splits)
    for name, preparation in (("a.h5", {}), ("b.h5", {"keep_source_overlap": True})):
        write_shard(tmp_path / name, replace(shard, header=replace(header, preparation=preparation)))
        assert read_header(tmp_path / name).n_trials == 5
    (problem,) = shard_problems(tmp_path / "a.h5")
    assert "1 val trials share time with train trials" in problem
    assert shard_problems(tmp_path / "b.h5") == []


def test_what_does_not_fit_into_memory_is_refused_before_it_is_made(recording):
    with pytest.raises(SourceError, match=r"5 windows of \d+ bins .*are free"):
        shard_of(recording, replace(OPTIONS, bin_size_s=2e-13))


def test_filters_that_remove_one_kind_of_trial_are_warned_of(recording, table):
    n = 40
    onset_s = 10.0 * np.arange(1, n + 1)
    choice = np.tile([-1.0, 1.0], n // 2)
    trials = TrialTable(
        stimulus_onset_s=onset_s, first_movement_s=onset_s + np.where(choice < 0, 5, 0.3), choice=choice
    )
    changed = replace(recording, trials=trials, traces={}, spike_times_s=onset_s, spike_neuron=np.zeros(n, int))
    notes = prepare(changed, options=OPTIONS, preparation={}).notes
    assert "warning: only 0 of 20 trials with choice -1 are left" in notes


def test_options_that_are_newer_than_shards_are_not_in_the_preparation_at_their_defaults():
    assert "split_gap_s" not in OPTIONS.as_json()
    assert replace(OPTIONS, split_gap_s=0.5).as_json()["split_gap_s"] == 0.5


@pytest.mark.parametrize(
    ("neurons", "words"),
    [
        (
            {"uuid": np.array(["a", "b", "a"]), "probe": np.array(["p0", "p0", "p1"])},
            "a is there 2 times.* on p0 and on p1",
        ),
        ({"region": np.array(["CA1", "", ""])}, "2 neurons have an empty region"),
    ],
)
def test_neurons_without_names_of_their_own_or_regions_are_refused(recording, neurons, words):
    with pytest.raises(SourceError, match=words):
        replace(recording.neurons, **neurons)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"columns": {"a/b": np.zeros(5)}}, "no slash"),
        ({"split": np.array(["train", "dev", "val", "test", ""])}, r"named \['dev'\]"),
        ({"columns": {"x": np.zeros(4)}}, "differ in length"),
    ],
)
def test_a_trial_table_with_unusable_columns_is_refused(table, change, words):
    with pytest.raises(SourceError, match=words):
        replace(table, **change)


@pytest.mark.parametrize(
    "observed_s", [np.zeros((0, 2)), np.zeros(3), np.array([[2.0, 1.0]]), np.array([[0.0, np.nan]])]
)
def test_observed_intervals_that_cannot_be_are_refused(recording, observed_s):
    with pytest.raises(SourceError, match="observed interval"):
        replace(recording, observed_s=observed_s)

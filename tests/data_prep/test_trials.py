from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.options import PrepareOptions
from data_prep.trials import signed_contrast, trial_criteria
from neuromtm.data.splits import split_trials
from neuromtm.errors import ConfigError

OPTIONS = PrepareOptions()


def fails(table, trial, options=OPTIONS, **kwargs):
    """The criteria that a trial fails; every other trial must pass all of them."""
    passes = trial_criteria(table, options=options, **kwargs)
    others = np.arange(table.n_trials) != trial
    assert all(ok[others].all() for ok in passes.values())
    return {criterion for criterion, ok in passes.items() if not ok[trial]}


def test_good_trials_pass_every_criterion(table):
    assert fails(table, 0) == set()


@pytest.mark.parametrize("reaction_s", [0.0799, 2.0001])
def test_a_reaction_time_outside_the_limits_fails_alone(with_trial, table, reaction_s):
    changed = with_trial("first_movement_s", 2, table.stimulus_onset_s[2] + reaction_s)
    assert fails(changed, 2) == {"reaction time"}


@pytest.mark.parametrize("reaction_s", [0.0801, 1.9999])
def test_a_reaction_time_within_the_limits_passes(with_trial, table, reaction_s):
    assert fails(with_trial("first_movement_s", 2, table.stimulus_onset_s[2] + reaction_s), 2) == set()


def test_feedback_more_than_ten_seconds_after_the_go_cue_fails_alone(with_trial, table):
    assert fails(with_trial("feedback_s", 1, table.go_cue_s[1] + 10.01), 1) == {"feedback delay"}
    assert fails(with_trial("feedback_s", 1, table.go_cue_s[1] + 9.99), 1) == set()


def test_a_missing_go_cue_alone_removes_no_trial(with_trial):
    assert fails(with_trial("go_cue_s", 1, np.nan), 1) == set()


@pytest.mark.parametrize(
    ("field", "criteria"),
    [
        ("stimulus_onset_s", {"no stimOn_times", "reaction time"}),
        ("choice", {"no choice"}),
        ("feedback_s", {"no feedback_times"}),
        ("block", {"no probabilityLeft"}),
        ("first_movement_s", {"no firstMovement_times", "reaction time"}),
        ("feedback_type", {"no feedbackType"}),
    ],
)
def test_each_missing_field_removes_the_trial(with_trial, field, criteria):
    assert fails(with_trial(field, 3, np.nan), 3) == criteria


def test_a_trial_without_the_event_it_is_aligned_to_is_removed(with_trial):
    options = PrepareOptions(align_event="goCue_times")
    assert fails(with_trial("go_cue_s", 3, np.nan), 3, options) == {"no goCue_times"}


def test_choice_zero_is_removed_unless_it_is_asked_for(with_trial):
    changed = with_trial("choice", 4, 0.0)
    assert fails(changed, 4) == {"choice unknown"}
    assert fails(changed, 4, PrepareOptions(keep_unknown_choice=True)) == set()


def test_a_trial_without_whisker_trace_is_removed_if_the_session_has_the_trace(table):
    assert fails(table, 0, whisker_covered=np.array([False, True, True, True, True])) == {"whisker trace"}
    assert "whisker trace" not in trial_criteria(table, options=OPTIONS)


def test_one_bad_criterion_is_not_outvoted_by_a_later_good_one(with_trial, table):
    changed = with_trial("first_movement_s", 0, table.stimulus_onset_s[0] + 5)
    assert fails(changed, 0, whisker_covered=np.ones(5, bool)) == {"reaction time"}


def test_a_field_that_the_source_lacks_removes_nothing(table):
    bare = replace(table, first_movement_s=None, go_cue_s=None, block=None, choice=None, feedback_type=None)
    assert fails(bare, 0) == set()


def test_contrast_is_right_minus_left_and_an_absent_side_is_zero():
    left, right = np.array([0.25, np.nan, 0.5, np.nan]), np.array([np.nan, 1.0, 0.25, np.nan])
    assert signed_contrast(left, right, 4).tolist() == [-0.25, 1.0, -0.25, 0.0]
    assert np.isnan(signed_contrast(None, None, 2)).all()


@given(
    n_trials=st.integers(3, 1000),
    parts=st.tuples(*[st.integers(1, 50)] * 3),
    seed=st.integers(0, 9),
)
def test_splits_are_disjoint_and_cover_all_trials_and_none_is_empty(n_trials, parts, seed):
    fractions = tuple(part / sum(parts) for part in parts)
    splits = split_trials(n_trials, fractions=fractions, seed=seed, eid="a")
    assert sorted(np.concatenate(list(splits.values())).tolist()) == list(range(n_trials))
    for trials in splits.values():
        assert len(trials) >= 1
        assert trials.dtype == np.int32
        assert (np.diff(trials) > 0).all()


@pytest.mark.parametrize(("n_trials", "sizes"), [(568, (397, 57, 114)), (828, (579, 83, 166))])
def test_split_sizes_are_those_of_the_paper(n_trials, sizes):
    splits = split_trials(n_trials, fractions=(0.7, 0.1, 0.2), seed=0, eid="a")
    assert tuple(map(len, splits.values())) == sizes


def test_splits_depend_on_seed_and_session_only():
    def test_trials(seed, eid):
        return split_trials(50, fractions=(0.7, 0.1, 0.2), seed=seed, eid=eid)["test"].tolist()

    assert test_trials(0, "a") == test_trials(0, "a")
    assert test_trials(0, "a") != test_trials(0, "b")
    assert test_trials(0, "a") != test_trials(1, "a")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"bin_size_s": 0.03}, "does not divide the window"),
        ({"bin_size_s": 0.0}, "--bin-size-s 0"),
        ({"bin_size_s": float("nan")}, "--bin-size-s nan"),
        ({"window_s": (1.0, 0.0)}, "--window-s 1 0"),
        ({"window_s": (0.0, float("inf"))}, "--window-s 0 inf"),
        ({"align_event": ""}, "--align-event:"),
        ({"split_gap_s": -1.0}, "--split-gap-s -1"),
        ({"reaction_time_s": (2.0, 1.0)}, "--reaction-time-s"),
        ({"max_feedback_delay_s": -1.0}, "--max-feedback-delay-s"),
        ({"min_label": 1.5}, "--min-label"),
        ({"min_firing_rate_hz": -1.0}, "--min-firing-rate-hz"),
        ({"split_fractions": (0.7, 0.1, 0.1)}, "--split-fractions"),
        ({"split_fractions": (1.0, 0.0, 0.0)}, "--split-fractions"),
    ],
)
def test_options_out_of_range_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        PrepareOptions(**options)


def test_all_options_out_of_range_are_named_at_once():
    with pytest.raises(ConfigError, match=r"--bin-size-s.*--min-label"):
        PrepareOptions(bin_size_s=-1, min_label=2)

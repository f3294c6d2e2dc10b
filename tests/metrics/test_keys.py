"""The keys of metrics.json: taken apart, named, and put into columns."""

import pytest

from neuromtm.metrics.keys import (
    BEHAVIOR_METRICS,
    BPS_KEYS,
    COLUMNS,
    SHORT_TITLES,
    TASK_TITLES,
    behavior_key,
    behaviors,
    columns_of,
    short_name,
)


def test_every_task_has_a_key_and_a_title_in_the_same_order():
    assert tuple(f"{task}_bps" for task in TASK_TITLES) == BPS_KEYS
    assert tuple(SHORT_TITLES)[:4] == BPS_KEYS
    assert len(set(SHORT_TITLES.values())) == len(COLUMNS)


@pytest.mark.parametrize("figure", BEHAVIOR_METRICS)
@pytest.mark.parametrize("behavior", ["choice", "whisker", "my_r2_of_the_wheel", "balanced"])
def test_a_key_of_a_behaviour_is_taken_apart_as_it_was_put_together(behavior, figure):
    assert behavior_key(f"{behavior}_{figure}") == (behavior, figure)


@pytest.mark.parametrize("key", [*BPS_KEYS, "choice", "loss", "accuracy"])
def test_what_is_no_key_of_a_behaviour(key):
    assert behavior_key(key) is None


def test_the_behaviours_are_those_that_have_a_score():
    keys = ("co_smoothing_bps", "choice_balanced_accuracy", "choice_accuracy", "pupil_r2_rrr", "block_r2", "x_chance")
    assert behaviors(keys) == {"choice": "accuracy", "block": "r2"}


def test_the_paper_s_trace_has_a_short_name_and_others_their_own():
    assert short_name("whisker_motion_energy") == "whisker"
    assert short_name("pupil_diameter") == "pupil_diameter"


def test_the_columns_of_every_table_stand_first_and_further_behaviours_behind_them_once():
    keys = ["choice_accuracy", "block_accuracy", "block_accuracy", "pupil_r2", "pupil_r2_counts"]
    columns = columns_of(keys)
    assert columns[: len(COLUMNS)] == COLUMNS == columns_of([])
    assert [(one.title, one.key, one.chance) for one in columns[len(COLUMNS) :]] == [
        ("block accuracy", "block_accuracy", "block_chance"),
        ("pupil R2", "pupil_r2", "pupil_chance"),
    ]


def test_balanced_accuracy_has_a_column_of_each_behaviour_with_classes_if_asked_for():
    keys = ["choice_accuracy", "block_accuracy", "pupil_r2"]
    more = columns_of(keys, balanced=True)[len(columns_of(keys)) :]
    assert [one.key for one in more] == ["choice_balanced_accuracy", "block_balanced_accuracy"]

"""Trials are averaged with their like: by choice and side of the stimulus, as far as these are known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from neuromtm.evaluation.psth import task_conditions

NAN = float("nan")


def conditions(choice, contrast, trials=None):
    trials = range(len(choice)) if trials is None else trials
    return task_conditions(np.array(choice, np.int8), np.array(contrast), np.array(trials, np.int64))


def test_choice_is_crossed_with_the_sign_of_the_contrast():
    found = conditions([-1, -1, 1, 1, 1], [-0.25, -1.0, 0.5, -0.0625, 0.0])
    assert [found.names[i] for i in found.number] == [
        "choice -1, stimulus left",
        "choice -1, stimulus left",
        "choice +1, stimulus right",
        "choice +1, stimulus left",
        "choice +1, stimulus none",
    ]


def test_what_no_trial_knows_is_not_in_the_names():
    assert conditions([-1, 1], [NAN, NAN]).names == ("choice +1", "choice -1")
    assert conditions([0, 0], [0.5, -0.5]).names == ("stimulus left", "stimulus right")
    assert conditions([0, 0], [NAN, NAN]).names == ("all trials",)


def test_what_some_trials_do_not_know_is_a_condition_of_its_own():
    found = conditions([-1, 0], [0.5, NAN])
    assert found.names == ("choice -1, stimulus right", "choice unknown, stimulus unknown")


def test_only_the_given_trials_make_conditions():
    found = conditions([-1, 1, -1], [NAN] * 3, trials=[2, 0])
    assert found.names == ("choice -1",)
    assert found.number.tolist() == [0, -1, 0]
    assert conditions([1], [NAN], trials=[]).names == ()


trial = st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, NAN]))


@given(trials=st.lists(trial, min_size=1, max_size=20))
def test_every_condition_has_a_trial_and_trials_of_one_condition_are_alike(trials):
    choice, contrast = zip(*trials, strict=True)
    found = conditions(choice, contrast)
    assert sorted(set(found.number.tolist())) == list(range(len(found.names)))
    for i in range(len(found.names)):
        own = found.number == i
        assert len(set(np.array(choice)[own])) == 1
        assert len({str(sign) for sign in np.sign(np.array(contrast)[own])}) == 1

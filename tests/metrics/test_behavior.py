"""Accuracy, R2 and their chance levels, with labels missing."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, r2_score

from neuromtm.metrics.behavior import accuracy, balanced_accuracy, majority_class_accuracy, r2, trial_average_r2

NAN = float("nan")
choices = st.lists(st.sampled_from([-1, NAN, 1]), min_size=1, max_size=20).map(np.array)


def test_accuracy_is_over_trials_of_known_class():
    assert accuracy(np.array([1, 1, -1, 1]), np.array([1, -1, -1, NAN])) == pytest.approx(2 / 3)


def test_accuracy_without_a_known_class_is_none():
    for score in (accuracy, balanced_accuracy):
        assert score(np.array([1, 1]), np.array([NAN, NAN])) is None
        assert score(np.array([]), np.array([])) is None


def test_balanced_accuracy_is_the_mean_over_the_classes_that_the_trials_have():
    predicted, true = np.array([1, 1, 1, -1, 0, 1]), np.array([1, 1, 1, 1, -1, NAN])
    assert balanced_accuracy(predicted, true) == pytest.approx((3 / 4 + 0) / 2)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_balanced_accuracy_is_that_of_scikit_learn(pairs):
    predicted, true = np.array(pairs).T
    assert balanced_accuracy(predicted, true.astype(float)) == pytest.approx(balanced_accuracy_score(true, predicted))


def test_one_class_said_of_all_trials_has_a_balanced_accuracy_of_one_over_the_classes():
    true = np.array([0, 0, 0, 0, 1, 2], float)
    assert balanced_accuracy(np.zeros(6), true) == pytest.approx(1 / 3)


def test_chance_says_the_most_frequent_train_class_of_the_test_trials():
    train, test = np.array([1, 1, -1, NAN, NAN, NAN]), np.array([-1, -1, 1, NAN])
    assert majority_class_accuracy(train, test) == pytest.approx(1 / 3)
    assert majority_class_accuracy(np.array([0.2, 0.5, 0.8, 0.5]), np.array([0.5, 0.2])) == 0.5


def test_a_test_trial_of_a_class_that_no_train_trial_has_is_wrong():
    assert majority_class_accuracy(np.array([0, 0, 1]), np.array([0, 2], float)) == 0.5


@given(train=choices, test=choices)
def test_chance_is_a_share_or_none(train, test):
    chance = majority_class_accuracy(train, test)
    assert (chance is None) == (np.isnan(train).all() or np.isnan(test).all())
    assert chance is None or 0 <= chance <= 1


@given(seed=st.integers(0, 1000))
def test_r2_is_scikit_learns_over_all_entries_flattened(seed):
    generator = np.random.default_rng(seed)
    true, predicted = generator.normal(size=(2, 5, 7)).astype(np.float32)
    true[generator.random(true.shape) < 0.3] = np.nan
    there = np.isfinite(true)
    assert r2(predicted, true) == pytest.approx(r2_score(true[there], predicted[there]), rel=1e-5)


def test_r2_of_a_stretch_of_nan_is_that_of_the_rest():
    generator = np.random.default_rng(0)
    true, predicted = generator.normal(size=(2, 4, 10))
    holed = true.copy()
    holed[:, 6:] = np.nan
    assert r2(predicted, holed) == pytest.approx(r2(predicted[:, :6], true[:, :6]))


@pytest.mark.parametrize("true", [np.full((3, 4), np.nan), np.full((3, 4), 0.1), np.empty((0, 4))])
def test_r2_without_a_varying_entry_is_none(true):
    assert r2(np.zeros_like(true), true) is None


def test_whisker_chance_is_one_where_every_trial_is_alike():
    trace = np.tile(np.sin(np.arange(10.0)), (6, 1))
    assert trial_average_r2(trace[:4], trace[4:]) == pytest.approx(1)


def test_whisker_chance_leaves_out_what_no_train_trial_has():
    train, test = np.random.default_rng(0).normal(size=(2, 4, 10)) + np.arange(10)
    holed = train.copy()
    holed[:, 3] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = trial_average_r2(holed, test)
    assert found == pytest.approx(trial_average_r2(np.delete(train, 3, axis=1), np.delete(test, 3, axis=1)))


def test_whisker_chance_averages_each_bin_over_the_trials_that_have_it():
    train, test = np.random.default_rng(0).normal(size=(2, 4, 10))
    train[0, 7] = np.nan
    average = np.concatenate([train[:, :7].mean(axis=0), train[1:, 7:8].mean(axis=0), train[:, 8:].mean(axis=0)])
    assert trial_average_r2(train, test) == pytest.approx(r2_score(test.ravel(), np.tile(average, 4)))


def test_whisker_chance_without_train_trials_is_none():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trial_average_r2(np.empty((0, 10)), np.random.default_rng(0).normal(size=(2, 10))) is None

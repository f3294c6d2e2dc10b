"""Intervals hold the truth as often as they say, over trials, sessions and animals."""

import importlib.util
import sys

import numpy as np
import pytest
import torch
from scipy import stats

from neuromtm.metrics.intervals import (
    FEWEST,
    Gains,
    SessionDifference,
    interval_over_clusters,
    interval_over_trials,
    level_of,
    mean_bits_per_spike,
    over_sessions,
    resampled_scores,
    score,
    trial_null_nll,
)
from neuromtm.metrics.spikes import null_nll
from neuromtm.randomness import numpy_generator_for


@pytest.fixture(scope="module")
def simulation(root):
    """The program that simulates tests of which the truth is known."""
    spec = importlib.util.spec_from_file_location("simulated_intervals", root / "benchmarks" / "intervals.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def share(counted):
    """Of the intervals that hold the truth."""
    return np.mean([held for held, _ in counted.found])


def gains(seed=0, n_trials=12, n_neurons=5):
    generator = np.random.default_rng(seed)
    spikes = generator.poisson(1.0, (n_trials, n_neurons))
    return Gains(generator.normal(0.2, 1, (n_trials, n_neurons)), spikes)


# ---- how often they hold the truth. Of 500 data sets, 95 % are held with a standard error of 1 % ----


def test_intervals_over_trials_hold_the_truth_and_those_over_neurons_do_not(simulation):
    found = simulation.trials_setting(n_sessions=2, n_trials=40, n_neurons=80, data_sets=500, kind="paired")
    assert 0.93 <= share(found["over trials"]) <= 0.97
    assert share(found["over neurons (old)"]) < 0.91


def test_intervals_over_trials_of_other_trials_err_to_the_wide_side(simulation):
    """Each run is held against a null fitted to its own trials, whose noise the bootstrap sees as larger than it is."""
    found = simulation.trials_setting(n_sessions=2, n_trials=40, n_neurons=40, data_sets=200, kind="unpaired")
    assert share(found["over trials"]) >= 0.93


def test_a_null_that_is_fitted_to_each_resample_would_cost_a_model_twice(simulation):
    setting = {"n_sessions": 2, "n_trials": 40, "n_neurons": 40, "data_sets": 200}
    found = simulation.trials_setting(**setting, kind="mean rate")
    assert share(found["over trials"]) >= 0.92
    assert share(found["over trials, null refitted"]) < 0.9


def test_intervals_over_few_sessions_hold_the_truth_and_their_percentiles_do_not(simulation):
    found = simulation.sessions_setting(sizes=(5,), data_sets=500, n_neurons=20, twice=False)
    assert 0.93 <= share(found["over sessions"]) <= 0.97
    assert share(found["over sessions (old)"]) < 0.9


def test_intervals_over_animals_with_unequal_numbers_of_sessions_hold_the_truth(simulation):
    found = simulation.sessions_setting(
        sizes=(1, 2, 3, 1, 2), data_sets=500, of_sessions=0.05, of_animals=0.2, n_neurons=20, twice=False
    )
    assert 0.93 <= share(found["over animals"]) <= 0.97
    assert share(found["over sessions (old)"]) < 0.9


# ---- what they are over ----


@pytest.mark.parametrize(
    ("n_sessions", "animals", "level"),
    [
        (4, ["a", "b", "c", "d"], "trials"),
        (5, ["a"] * 5, "sessions"),
        (5, None, "sessions"),
        (9, list("abcdabcda"), "sessions"),
        (9, list("abcdeabcd"), "animals"),
    ],
)
def test_an_interval_is_over_the_largest_units_of_which_there_are_five(n_sessions, animals, level):
    assert level_of(n_sessions, animals) == level
    assert (over_sessions(range(n_sessions), animals) is None) == (level == "trials")


def test_the_interval_over_sessions_is_students():
    values = [0.1, 0.4, -0.2, 0.3, 0.9, 0.2]
    ends = stats.t.interval(0.95, 5, loc=np.mean(values), scale=stats.sem(values))
    assert over_sessions(values) == pytest.approx(ends)
    assert over_sessions(values, ["a", "a", "b", "b", "c", "c"]) == pytest.approx(ends)  # three animals are too few
    assert over_sessions(values, list("abcdef")) == pytest.approx(ends)


def test_animals_of_equal_numbers_of_sessions_count_by_their_means():
    values = np.random.default_rng(0).normal(size=(7, 3))
    animals = [str(i) for i in range(7) for _ in range(3)]
    assert interval_over_clusters(values.ravel(), animals) == pytest.approx(over_sessions(values.mean(axis=1)))


def test_the_order_of_sessions_says_nothing():
    values, animals = np.random.default_rng(0).normal(size=9), list("aabbbcdde")
    order = np.random.default_rng(1).permutation(9)
    shuffled = interval_over_clusters(values[order], [animals[i] for i in order])
    assert shuffled == pytest.approx(interval_over_clusters(values, animals))


def test_an_animal_with_most_sessions_leaves_fewer_degrees_of_freedom():
    """By hand: two sizes, from Pustejovsky and Tipton's formula with independent sessions."""
    sizes = np.array([2.0, 1, 1, 1, 1])
    away = np.eye(5) - sizes / 6
    # residuals of animals' means, each weighted by its share and made unbiased
    weights = (sizes / 6) ** 2 / (1 - sizes / 6)
    covariance = away @ np.diag(1 / sizes) @ away.T
    product = np.diag(weights) @ covariance
    free = np.trace(product) ** 2 / np.trace(product @ product)
    values = np.array([0.3, 0.5, 0.1, -0.2, 0.9, 0.4])
    means = np.array([0.4, 0.1, -0.2, 0.9, 0.4])
    half = stats.t.ppf(0.975, free) * np.sqrt(weights @ (means - values.mean()) ** 2)
    found = interval_over_clusters(values, list("aabcde"))
    assert free < 4
    assert found == pytest.approx((values.mean() - half, values.mean() + half))


@pytest.mark.parametrize("n", [0, 1, FEWEST - 1])
def test_too_few_have_no_interval(n):
    assert over_sessions([1.0] * n) is None
    assert interval_over_trials([SessionDifference(gains(n_trials=n))] * bool(n), "x") is None


# ---- what they are made of ----


def test_the_null_of_trials_adds_up_to_the_null_of_a_test():
    spikes = np.random.default_rng(0).poisson([0.0, 0.5, 3.0], (30, 3))
    total, entries = torch.from_numpy(spikes.sum(axis=0)).double(), torch.full((3,), 30.0 * 7).double()
    np.testing.assert_allclose(trial_null_nll(spikes, 7).sum(axis=0), null_nll(total, entries))


def test_resampling_gives_what_one_drawn_set_of_trials_after_the_other_gives():
    own = gains(n_trials=9)
    found = resampled_scores(own, np.random.default_rng(3), n=40)
    times = np.random.default_rng(3).multinomial(9, np.full(9, 1 / 9), size=40)
    for number, drawn in zip(found, times, strict=True):
        trials = np.repeat(np.arange(9), drawn)
        nats, spikes = own.nats[trials].sum(axis=0), own.spikes[trials].sum(axis=0)
        bits = [nats[i] / spikes[i] / np.log(2) for i in range(5) if spikes[i] > 0]
        assert number == pytest.approx(np.mean(bits), rel=1e-4, abs=1e-5)


def test_silent_neurons_are_left_out_of_the_mean():
    assert mean_bits_per_spike(np.array([np.log(2), 99.0]), np.array([1, 0])) == pytest.approx(1)
    assert np.isnan(mean_bits_per_spike(np.zeros(2), np.zeros(2)))


def test_the_interval_lies_around_the_difference_and_is_the_same_for_the_same_name():
    sessions = [SessionDifference(gains(0)), SessionDifference(gains(1), minus=gains(2))]
    found = interval_over_trials(sessions, "a")
    assert found == interval_over_trials(sessions, "a")
    assert found != interval_over_trials(sessions, "b")
    assert np.mean(found) == pytest.approx(np.mean([score(one) for one in sessions]))


def test_the_interval_over_trials_by_hand():
    """The bootstrap written out: trials drawn within each session, the mean over sessions, and Welch's t."""
    sessions = [SessionDifference(gains(0, 9)), SessionDifference(gains(1, 9), minus=gains(2, 7))]
    generator = numpy_generator_for("trials", "a")
    first, second, third = (
        resampled_scores(part, generator) for part in (sessions[0].gains, sessions[1].gains, sessions[1].minus)
    )
    low, high = np.quantile((first + second - third) / 2, (0.025, 0.975))
    parts = [(first.var(), 8), (second.var(), 8), (third.var(), 6)]
    free = sum(v for v, _ in parts) ** 2 / sum(v**2 / n for v, n in parts)
    half = (high - low) / 2 * stats.t.ppf(0.975, free) / 1.959964
    middle = np.mean([score(one) for one in sessions])
    assert interval_over_trials(sessions, "a") == pytest.approx((middle - half, middle + half), rel=1e-5)


def test_sessions_of_one_animal_are_not_independent():
    values, animals = [0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.2, 0.4, 0.6], list("aaabbbcde")
    found = over_sessions(values, animals)
    assert found == interval_over_clusters(values, animals)
    alone = over_sessions(values)
    assert found.high - found.low > 1.2 * (alone.high - alone.low)


def test_what_trials_share_makes_a_paired_difference_more_certain_than_an_unpaired_one():
    own = gains(n_trials=40)
    other = Gains(own.nats - 0.1 * own.spikes, own.spikes)  # worse by the same in every trial
    paired = interval_over_trials([SessionDifference(Gains(own.nats - other.nats, own.spikes))], "x")
    unpaired = interval_over_trials([SessionDifference(own, minus=other)], "x")
    assert np.mean(paired) == pytest.approx(np.mean(unpaired))
    assert paired.high - paired.low < 1e-4 < unpaired.high - unpaired.low

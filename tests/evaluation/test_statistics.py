"""Bootstrap intervals: seeded by name, right on what is known, silent on too little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromtm.evaluation.statistics import FEWEST_FOR_AN_INTERVAL, bootstrap_mean, bootstrap_mean_of_means

values = st.lists(st.floats(-5, 5), min_size=FEWEST_FOR_AN_INTERVAL, max_size=12).map(np.array)


@given(values=values)
def test_an_interval_lies_within_the_values_and_is_the_same_for_the_same_name(values):
    found = bootstrap_mean(values, "a", 1)
    assert found == bootstrap_mean(values, "a", 1)
    assert values.min() - 1e-9 <= found.low <= found.high <= values.max() + 1e-9


def test_another_name_draws_others():
    values = np.arange(10.0)
    assert bootstrap_mean(values, "a") != bootstrap_mean(values, "b")


def test_the_interval_of_many_values_is_the_normal_one():
    values = np.random.default_rng(0).normal(3, 2, 400)
    found, half = bootstrap_mean(values, "x"), 1.96 * values.std() / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_about_95_of_100_intervals_hold_the_mean_they_are_of():
    generator = np.random.default_rng(1)
    held = [
        found.low <= 1 <= found.high
        for found in (bootstrap_mean(generator.exponential(1, 60), "coverage", i) for i in range(100))
    ]
    assert 87 <= sum(held) <= 99


def test_few_values_have_no_interval():
    assert bootstrap_mean(np.arange(FEWEST_FOR_AN_INTERVAL - 1.0), "x") is None
    assert bootstrap_mean(np.zeros(0), "x") is None
    assert bootstrap_mean_of_means([np.arange(9.0), np.zeros(0)], "x") is None
    assert bootstrap_mean_of_means([], "x") is None


def test_groups_weigh_the_same_whatever_their_sizes_and_what_lies_between_them_is_not_uncertain():
    groups = [np.full(100, 1.0), np.full(5, 3.0)]
    assert bootstrap_mean_of_means(groups, "x") == (2.0, 2.0)

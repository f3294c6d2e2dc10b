"""Statistics of the training trials, against the same computed in the plainest way."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuromtm.data import statistics
from neuromtm.data.statistics import (
    are_principal_axes,
    mean_and_variance,
    principal_axes,
    smoothed_covariance,
    training_statistics,
)


def correlated_counts(n_trials=60, n_bins=12, n_neurons=9, seed=0) -> np.ndarray:
    """Counts of neurons that share two slow causes."""
    rng = np.random.default_rng(seed)
    causes = np.cumsum(rng.normal(size=(n_trials, n_bins, 2)), axis=1) / 3
    rates = np.exp(causes @ rng.normal(size=(2, n_neurons)) * 0.5)
    return rng.poisson(np.minimum(rates, 20)).astype(np.uint8)


TRAIN = np.arange(0, 60, 2)


def standardised_and_smoothed(counts: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(trial, bin, neuron), bin by bin and in float64."""
    own = counts[train].astype(float)
    scaled = (own - own.mean((0, 1))) / np.sqrt(own.var((0, 1)) + 0.02)
    smoothed = np.empty_like(scaled)
    for bin_ in range(counts.shape[1]):
        weights = np.exp(-0.5 * (np.arange(counts.shape[1]) - bin_) ** 2.0)
        smoothed[:, bin_] = np.einsum("tbn,b->tn", scaled, weights / weights.sum())
    return smoothed


@given(
    counts=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]), st.tuples(st.integers(1, 70), st.integers(1, 4), st.integers(1, 4))
    ),
    data=st.data(),
)
def test_mean_and_variance_are_those_of_the_training_trials(counts, data):
    train = np.array(data.draw(st.lists(st.integers(0, len(counts) - 1), min_size=1, unique=True)))
    mean, variance = mean_and_variance(counts, train)
    np.testing.assert_allclose(mean, counts[train].mean((0, 1), dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(variance, counts[train].astype(float).var((0, 1)), rtol=1e-9, atol=1e-9)


def test_the_covariance_is_that_of_standardised_counts_smoothed_bin_by_bin():
    counts = correlated_counts()
    mean, variance = mean_and_variance(counts, TRAIN)
    rows = standardised_and_smoothed(counts, TRAIN).reshape(-1, counts.shape[2])
    found = smoothed_covariance(counts, TRAIN, mean=mean, variance=variance)
    np.testing.assert_allclose(found, np.cov(rows.T, bias=True), atol=1e-5)


def test_axes_are_those_of_a_singular_value_decomposition():
    counts = correlated_counts()
    rows = standardised_and_smoothed(counts, TRAIN).reshape(-1, counts.shape[2])
    _, size, axes = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    expected = axes / np.maximum(size / np.sqrt(len(rows)), 0.3)[:, None]
    expected *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(1)[:, None], axis=1))
    np.testing.assert_allclose(training_statistics(counts, TRAIN).principal_axes, expected, atol=1e-3)


def test_the_smoothed_training_trials_have_variance_1_along_each_axis_and_no_two_axes_vary_together():
    counts = correlated_counts()
    rows = standardised_and_smoothed(counts, TRAIN).reshape(-1, counts.shape[2])
    along = rows @ training_statistics(counts, TRAIN).principal_axes.T
    np.testing.assert_allclose(np.cov(along.T, bias=True), np.eye(counts.shape[2]), atol=1e-3)


def test_an_axis_of_little_variance_is_not_blown_up():
    covariance = np.diag([4.0, 0.0009])
    np.testing.assert_allclose(principal_axes(covariance), [[0.5, 0], [0, 1 / 0.3]], rtol=1e-6)


def test_only_the_first_axes_are_kept(monkeypatch):
    monkeypatch.setattr(statistics, "MOST_AXES", 3)
    counts = correlated_counts()
    axes = training_statistics(counts, TRAIN).principal_axes
    monkeypatch.undo()
    np.testing.assert_array_equal(axes, training_statistics(counts, TRAIN).principal_axes[:3])


def test_silent_neurons_and_few_trials_have_no_axes_of_their_own():
    counts = correlated_counts()
    counts[:, :, 4] = 0
    axes = training_statistics(counts, TRAIN).principal_axes
    assert axes.shape == (8, 9)
    np.testing.assert_allclose(axes[:, 4], 0, atol=1e-6)
    few = training_statistics(counts[:, :3], TRAIN[:1]).principal_axes
    assert len(few) <= 2  # three bins about their mean
    assert training_statistics(np.zeros_like(counts), TRAIN).principal_axes.shape == (0, 9)


def test_without_trials_nothing_is_known():
    found = training_statistics(correlated_counts(), np.zeros(0, int))
    assert np.isnan(found.mean_count).all()
    assert np.isnan(found.count_variance).all()
    assert found.principal_axes.shape == (0, 9)


def covariance_of(counts: np.ndarray) -> np.ndarray:
    mean, variance = mean_and_variance(counts, TRAIN)
    return smoothed_covariance(counts, TRAIN, mean=mean, variance=variance)


@pytest.mark.parametrize("silent", [(), (2, 5)])
def test_axes_are_recognised(silent):
    counts = correlated_counts()
    counts[:, :, silent] = 0
    axes = training_statistics(counts, TRAIN).principal_axes
    assert are_principal_axes(axes, covariance_of(counts))
    assert are_principal_axes(-axes, covariance_of(counts))


def test_axes_of_equal_variance_may_be_rotated_among_each_other():
    covariance = np.diag([3.0, 1.0, 1.0])
    axes = principal_axes(covariance)
    turn = np.array([[1, 0, 0], [0, 0.6, 0.8], [0, -0.8, 0.6]])
    assert are_principal_axes(turn @ axes, covariance)
    wrong = np.array([[0.6, 0.8, 0], [-0.8, 0.6, 0], [0, 0, 1]])
    assert not are_principal_axes(wrong @ axes, covariance)


@pytest.mark.parametrize(
    "change",
    [
        lambda axes: axes[:-1],
        lambda axes: axes[::-1],
        lambda axes: 1.1 * axes,
        lambda axes: axes[:, ::-1],
        lambda axes: np.concatenate([axes, axes[:1]]),
        lambda axes: np.where(np.arange(9) == 0, np.nan, axes),
        lambda axes: 0 * axes,
        lambda axes: training_statistics(correlated_counts(seed=1), TRAIN).principal_axes,
    ],
)
def test_other_axes_are_not(change):
    counts = correlated_counts()
    assert not are_principal_axes(change(training_statistics(counts, TRAIN).principal_axes), covariance_of(counts))

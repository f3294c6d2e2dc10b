"""One smoothing for all: by hand, and equal to the formulas that display, the trial average and read-outs need."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d

from neuromtm.smoothing import gaussian_weights, smooth

BIN_SIZES_S = st.sampled_from([0.005, 0.01, 0.02, 0.05])
WIDTHS_S = st.sampled_from([0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64])


def counts_of(seed, shape):
    return np.random.default_rng(seed).poisson(0.7, shape)


def test_weights_by_hand():
    near = np.exp(-0.5)
    weights = gaussian_weights(2, width_s=0.02, bin_size_s=0.02)
    np.testing.assert_allclose(weights, np.array([[1, near], [near, 1]]) / (1 + near))


@pytest.mark.parametrize("edges", ["renormalise", "repeat"])
def test_no_width_leaves_everything_as_it_is(edges):
    np.testing.assert_array_equal(gaussian_weights(3, width_s=0, bin_size_s=0.02), np.eye(3))
    values = counts_of(0, (4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(smooth(values, width_s=0, bin_size_s=0.02, edges=edges), values)


@pytest.mark.parametrize("edges", ["renormalise", "repeat"])
def test_a_constant_stays_and_a_spike_is_spread_by_the_width(edges):
    np.testing.assert_allclose(smooth(np.full((3, 30, 2), 0.7), width_s=0.04, bin_size_s=0.02, edges=edges), 0.7)
    spike = np.zeros((101, 1))
    spike[50] = 1
    spread = smooth(spike, width_s=0.04, bin_size_s=0.005, edges=edges)[:, 0]
    time_s = 0.005 * (np.arange(101) - 50)
    assert spread.sum() == pytest.approx(1, rel=1e-3)
    assert np.sqrt((spread * time_s**2).sum()) == pytest.approx(0.04, rel=1e-2)


@given(n_bins=st.integers(1, 40), width_s=WIDTHS_S, bin_size_s=BIN_SIZES_S, seed=st.integers(0, 99))
def test_it_is_a_weighted_mean_over_bins_with_weights_in_seconds(n_bins, width_s, bin_size_s, seed):
    counts = counts_of(seed, (2, n_bins, 3))
    found = smooth(counts, width_s=width_s, bin_size_s=bin_size_s)
    time_s = bin_size_s * np.arange(n_bins)
    for at in range(n_bins):
        weights = np.exp(-0.5 * np.square((time_s - time_s[at]) / width_s))
        np.testing.assert_allclose(found[:, at], np.average(counts, axis=1, weights=weights), atol=1e-9)


@given(n_bins=st.integers(1, 40), width=st.sampled_from([0.5, 1.0, 2.0, 8.0]), seed=st.integers(0, 99))
def test_the_smoothing_of_the_trial_average_is_bit_for_bit_that_of_weights_in_bins(n_bins, width, seed):
    bins = np.arange(n_bins)
    weights = np.exp(-0.5 * np.square((bins[:, None] - bins[None, :]) / width))
    weights = weights / weights.sum(axis=1, keepdims=True)
    average = counts_of(seed, (n_bins, 3)) / 7
    np.testing.assert_array_equal(smooth(average, width_s=width / 64, bin_size_s=1 / 64), weights @ average)


@given(n_bins=st.integers(1, 40), width_s=WIDTHS_S, bin_size_s=BIN_SIZES_S, seed=st.integers(0, 99))
def test_the_smoothing_of_readouts_is_bit_for_bit_that_of_scipy_in_single_precision(n_bins, width_s, bin_size_s, seed):
    counts = counts_of(seed, (2, n_bins, 3)).astype(np.float32)
    found = smooth(counts, width_s=width_s, bin_size_s=bin_size_s, edges="repeat")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, gaussian_filter1d(counts, width_s / bin_size_s, axis=1, mode="nearest"))

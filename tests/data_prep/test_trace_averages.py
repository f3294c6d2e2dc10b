"""The mean of a trace over a bin: of signals whose integral is known."""

import numpy as np
import pytest

from data_prep.binning import mean_in_bins
from data_prep.options import PrepareOptions
from data_prep.recording import Trace
from data_prep.windows import cut_windows

TWO_BINS = {"n_bins": 2, "bin_size_s": 0.5}


def test_a_line_has_the_mean_of_its_ends_wherever_its_samples_lie():
    times_s = np.array([0.0, 0.3, 0.31, 2.0, 5.0])
    found = mean_in_bins(times_s, 4 * times_s + 1, np.array([0.0, 0.25, 4.0]), **TWO_BINS)
    np.testing.assert_allclose(found, [[2.0, 4.0], [3.0, 5.0], [18.0, 20.0]], rtol=1e-6)
    assert found.dtype == np.float32


def test_a_cosine_gives_the_differences_of_its_sine():
    times_s = np.arange(0, 10, 1e-3)
    starts_s, bins = np.array([1.0, 2.345]), {"n_bins": 50, "bin_size_s": 0.02}
    edges_s = starts_s[:, None] + np.arange(51) * 0.02
    expected = np.diff(np.sin(20 * edges_s), axis=1) / 20 / 0.02
    np.testing.assert_allclose(mean_in_bins(times_s, np.cos(20 * times_s), starts_s, **bins), expected, atol=1e-4)


def test_averages_equal_those_of_a_fine_grid():
    rng = np.random.default_rng(0)
    times_s, values = np.cumsum(rng.uniform(0.001, 0.2, 300)), rng.normal(size=300)
    starts_s, fine = rng.uniform(1, 20, 10), 20_000
    at_s = starts_s[:, None] + (np.arange(2 * fine) + 0.5) * 0.5 / fine
    expected = np.interp(at_s, times_s, values).reshape(10, 2, fine).mean(2)
    np.testing.assert_allclose(mean_in_bins(times_s, values, starts_s, **TWO_BINS), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [([], [True, True]), ([1], [False, True]), ([2], [False, False]), ([3], [False, False]), ([4], [True, False])],
)
def test_a_bin_is_missing_if_it_touches_a_hole(missing, expected):
    times_s, values = np.array([0.0, 0.25, 0.5, 0.6, 1.0]), np.ones(5)
    values[missing] = np.nan
    (found,) = mean_in_bins(times_s, values, np.zeros(1), **TWO_BINS)
    # the hole of sample 3 reaches back to 0.5, where the second bin begins
    assert np.isfinite(found).tolist() == ([True, False] if missing == [3] else expected)


def test_a_bin_outside_the_trace_or_without_a_time_is_missing():
    times_s = np.array([1.0, 2.0])
    found = mean_in_bins(times_s, times_s, np.array([0.5, 1.0, 1.5, np.nan, 5.0]), **TWO_BINS)
    known = [[False, True], [True, True], [True, False], [False, False], [False, False]]
    assert np.isfinite(found).tolist() == known
    assert np.isnan(mean_in_bins(times_s[:1], times_s[:1], np.zeros(3), **TWO_BINS)).all()


def test_a_trace_says_whether_its_bins_are_means_or_values_at_their_centres(recording):
    times_s = np.arange(0, 60, 0.001)
    spike = np.where(np.isclose(times_s, 10.002), 1.0, 0.0)
    traces = {name: Trace(times_s=times_s, values=spike, averaged=name == "mean") for name in ("mean", "centre")}
    object.__setattr__(recording, "traces", traces)
    behavior = cut_windows(recording, PrepareOptions(window_s=(0.0, 0.02))).behavior
    assert behavior["centre"][0].tolist() == [0.0]
    np.testing.assert_allclose(behavior["mean"][0], [0.05], rtol=1e-4)

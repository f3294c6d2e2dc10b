import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.binning import bin_centres, bin_edges, count_spikes, covers, interpolate
from neuromtm.errors import SourceError


def naive_counts(times_s, neuron, starts_s, *, n_neurons, n_bins, bin_size_s):
    counts = np.zeros((len(starts_s), n_bins, n_neurons), int)
    for trial, start_s in enumerate(starts_s):
        edges = bin_edges(start_s, n_bins=n_bins, bin_size_s=bin_size_s)
        for time_s, n in zip(times_s, neuron, strict=True):
            for b in range(n_bins):
                counts[trial, b, n] += edges[b] <= time_s < edges[b + 1]
    return counts


@settings(deadline=None, max_examples=60)
@given(
    times_s=st.lists(st.floats(0, 10, allow_nan=False), max_size=40).map(sorted),
    starts_s=st.lists(st.floats(0, 10, allow_nan=False), min_size=1, max_size=4),
    n_bins=st.integers(1, 6),
    bin_size_s=st.sampled_from([0.01, 0.02, 0.1, 1.0]),
    seed=st.integers(0, 99),
)
def test_counts_equal_the_naive_histogram(times_s, starts_s, n_bins, bin_size_s, seed):
    arguments = np.array(times_s), np.random.default_rng(seed).integers(0, 3, len(times_s)), np.array(starts_s)
    sizes = {"n_neurons": 3, "n_bins": n_bins, "bin_size_s": bin_size_s}
    np.testing.assert_array_equal(count_spikes(*arguments, **sizes), naive_counts(*arguments, **sizes))


def test_a_spike_counts_in_every_window_that_holds_it():
    counts = count_spikes(np.array([1.0]), np.array([0]), np.array([0.5, 0.9]), n_neurons=1, n_bins=10, bin_size_s=0.1)
    assert counts.sum((1, 2)).tolist() == [1, 1]


def test_a_bin_holds_its_left_edge_and_not_its_right_one():
    counts = count_spikes(np.array([0.0, 1.0]), np.array([0, 0]), np.zeros(1), n_neurons=1, n_bins=1, bin_size_s=1.0)
    assert counts.tolist() == [[[1]]]


@pytest.mark.parametrize(("n_spikes", "dtype"), [(255, np.uint8), (256, np.uint16)])
def test_counts_are_uint16_only_where_they_must(n_spikes, dtype):
    times_s, neuron = np.full(n_spikes, 0.5), np.zeros(n_spikes, int)
    counts = count_spikes(times_s, neuron, np.zeros(1), n_neurons=1, n_bins=1, bin_size_s=1.0)
    assert counts.dtype == dtype
    assert counts.item() == n_spikes


def test_a_count_that_no_shard_can_hold_is_an_error():
    times_s, neuron = np.full(65536, 0.5), np.zeros(65536, int)
    with pytest.raises(SourceError, match="65536 spikes in one bin"):
        count_spikes(times_s, neuron, np.zeros(1), n_neurons=1, n_bins=1, bin_size_s=1.0)


def test_a_linear_trace_is_its_own_value_at_the_bin_centres():
    centres_s = bin_centres(np.array([2.0, 5.0]), n_bins=4, bin_size_s=0.5)
    assert centres_s[0].tolist() == [2.25, 2.75, 3.25, 3.75]
    np.testing.assert_allclose(interpolate(np.arange(10.0), 3 * np.arange(10.0), centres_s), 3 * centres_s)


def test_a_trace_is_nan_outside_its_times_and_beside_a_nan_sample():
    values = interpolate(np.arange(4.0), np.array([0, np.nan, 2, 3]), np.array([-0.5, 0.5, 2.5, 3.5]))
    assert np.isnan(values).tolist() == [True, True, False, True]
    assert np.isnan(interpolate(np.array([]), np.array([]), np.zeros((2, 3)))).all()


def test_a_trace_covers_a_window_only_from_its_start_to_its_end():
    starts_s = np.array([-0.1, 0.0, 8.0, 8.1, np.nan])
    assert covers(np.arange(10.0), starts_s, duration_s=1.0).tolist() == [False, True, True, False, False]
    assert not covers(np.array([]), starts_s, duration_s=1.0).any()


@settings(deadline=None, max_examples=200)
@given(bin_=st.integers(0, 49), start_ms=st.integers(-500, 10**7), shift_ms=st.sampled_from([0, 100, 500]))
def test_a_spike_at_an_edge_belongs_to_the_right_bin_whatever_the_start(bin_, start_ms, shift_ms):
    # the sums below drift: 0.3 - 0.1 is less than 0.2
    start_s = (start_ms + shift_ms) / 1000 - shift_ms / 1000
    times_s = np.array([(start_ms + 20 * bin_) / 1000])
    counts = count_spikes(times_s, np.array([0]), np.array([start_s]), n_neurons=1, n_bins=50, bin_size_s=0.02)
    assert counts[0, :, 0].nonzero()[0].tolist() == [bin_]

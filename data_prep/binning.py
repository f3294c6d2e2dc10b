"""From times to bins: pure functions."""

import numpy as np

from neuromtm.errors import SourceError


def bin_edges(start_s: float, *, n_bins: int, bin_size_s: float) -> np.ndarray:
    """(bin + 1,) edges of a window's bins; a bin holds its left edge and not its right one."""
    return start_s + np.arange(n_bins + 1) * bin_size_s


def bin_centres(starts_s: np.ndarray, *, n_bins: int, bin_size_s: float) -> np.ndarray:
    """(trial, bin) middle of each bin, from the (trial,) starts of the windows."""
    return starts_s[:, None] + (np.arange(n_bins) + 0.5) * bin_size_s


def count_spikes(
    times_s: np.ndarray,
    neuron: np.ndarray,
    starts_s: np.ndarray,
    *,
    n_neurons: int,
    n_bins: int,
    bin_size_s: float,
) -> np.ndarray:
    """Count the spikes of every trial, bin and neuron. Windows may overlap: a spike counts in each.

    Args:
        times_s: (spike,) sorted.
        neuron: (spike,) whose spike it is.
        starts_s: (trial,) start of each window.
        n_neurons: size of the last axis.
        n_bins: bins a window.
        bin_size_s: width of a bin.

    Returns:
        (trial, bin, neuron) counts, uint8, or uint16 where a count needs it.

    Raises:
        SourceError: if a count does not even fit uint16.
    """
    counts = np.empty((len(starts_s), n_bins, n_neurons), np.uint16)
    for trial, start_s in enumerate(starts_s):
        edges = bin_edges(start_s, n_bins=n_bins, bin_size_s=bin_size_s)
        first, last = np.searchsorted(times_s, edges[[0, -1]], side="left")
        bin_ = np.searchsorted(edges, times_s[first:last], side="right") - 1
        flat = np.bincount(bin_ * n_neurons + neuron[first:last], minlength=n_bins * n_neurons)
        if flat.max(initial=0) > np.iinfo(np.uint16).max:
            raise SourceError(f"a neuron has {flat.max()} spikes in one bin, which no shard can hold.")
        counts[trial] = flat.reshape(n_bins, n_neurons)
    return counts.astype(np.uint8) if counts.max(initial=0) <= np.iinfo(np.uint8).max else counts


def interpolate(times_s: np.ndarray, values: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Interpolate a trace linearly: float32 of the shape of `at_s`, NaN outside the trace and beside NaN samples."""
    if len(times_s) == 0:
        return np.full(at_s.shape, np.nan, np.float32)
    return np.interp(at_s, times_s, values, left=np.nan, right=np.nan).astype(np.float32)


def covers(times_s: np.ndarray, starts_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(trial,) bool: whether a trace begins before and ends after each window. A start of NaN is not covered."""
    if len(times_s) == 0:
        return np.zeros(len(starts_s), bool)
    return (times_s[0] <= starts_s) & (starts_s + duration_s <= times_s[-1])

"""Put spikes and traces into bins: pure functions."""

from collections.abc import Iterable

import numpy as np

from data_prep.spikes import SpikePart
from neuromtm.errors import SourceError

EDGE_TOLERANCE_S = 1e-9
"""A spike that is earlier than an edge by less than this is at the edge: sums of times drift by less."""


def bin_edges(start_s: float, *, n_bins: int, bin_size_s: float) -> np.ndarray:
    """(bin + 1,) edges of a window's bins. A bin includes its left edge, but not its right edge.

    They lie `EDGE_TOLERANCE_S` before the edges by the numbers, so that a spike at an edge belongs to the right bin
    whatever the start of the window.
    """
    return start_s + np.arange(n_bins + 1) * bin_size_s - EDGE_TOLERANCE_S


def bin_centres(starts_s: np.ndarray, *, n_bins: int, bin_size_s: float) -> np.ndarray:
    """(trial, bin) centre of each bin. `starts_s` is (trial,): the starts of the windows."""
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
    """Count the spikes of every trial, bin and neuron.

    Windows may overlap: a spike counts in every window that it lies in.

    Args:
        times_s: (spike,) sorted times of the spikes.
        neuron: (spike,) number of the neuron that fired.
        starts_s: (trial,) start of each window.
        n_neurons: number of neurons, the size of the last axis.
        n_bins: number of bins in a window.
        bin_size_s: width of a bin.

    Returns:
        (trial, bin, neuron) counts; uint8 if all counts fit into it, else uint16.

    Raises:
        SourceError: if a count does not fit into uint16.
    """
    part = SpikePart(times_s, neuron)
    return count_parts([part], starts_s, n_neurons=n_neurons, n_bins=n_bins, bin_size_s=bin_size_s)


def count_parts(
    parts: Iterable[SpikePart], starts_s: np.ndarray, *, n_neurons: int, n_bins: int, bin_size_s: float
) -> np.ndarray:
    """Count spikes that come in parts, see `count_spikes`. Memory holds one part, and the counts."""
    counts = np.zeros((len(starts_s), n_bins, n_neurons), np.uint8)
    for part in parts:
        if len(part.neuron):
            counts = _with_part(counts, part, starts_s, bin_size_s)
        del part  # the next one is loaded before the name is given to it
    return counts


def _with_part(counts: np.ndarray, part: SpikePart, starts_s: np.ndarray, bin_size_s: float) -> np.ndarray:
    """The counts, wider if they must be."""
    n_bins = counts.shape[1]
    first_neuron = int(part.neuron.min())
    own = slice(first_neuron, int(part.neuron.max()) + 1)  # so that a probe takes no time for the neurons of others
    n_own = own.stop - own.start
    for trial, start_s in enumerate(starts_s):
        edges = bin_edges(start_s, n_bins=n_bins, bin_size_s=bin_size_s)
        first, last = np.searchsorted(part.times_s, edges[[0, -1]], side="left")
        bin_ = np.searchsorted(edges, part.times_s[first:last], side="right") - 1
        place = bin_ * n_own + (part.neuron[first:last].astype(np.int64) - first_neuron)
        found = np.bincount(place, minlength=n_bins * n_own).reshape(n_bins, n_own)
        found += counts[trial, :, own]
        most = int(found.max())
        if most > np.iinfo(np.uint16).max:
            raise SourceError(f"a neuron has {most} spikes in one bin; a shard can hold at most 65535.")
        if most > np.iinfo(counts.dtype).max:
            counts = counts.astype(np.uint16)
        counts[trial, :, own] = found
    return counts


def interpolate(times_s: np.ndarray, values: np.ndarray, at_s: np.ndarray) -> np.ndarray:
    """Interpolate a trace linearly.

    Args:
        times_s: (sample,) increasing times of the trace.
        values: (sample,) values of the trace.
        at_s: times to interpolate at, of any shape.

    Returns:
        float32 values in the shape of `at_s`; NaN outside the trace and next to samples that are NaN.
    """
    if len(times_s) == 0:
        return np.full(at_s.shape, np.nan, np.float32)
    return np.interp(at_s, times_s, values, left=np.nan, right=np.nan).astype(np.float32)


def mean_in_bins(
    times_s: np.ndarray, values: np.ndarray, starts_s: np.ndarray, *, n_bins: int, bin_size_s: float
) -> np.ndarray:
    """The mean of a trace over each bin, of the line through its samples.

    Args:
        times_s: (sample,) increasing times of the trace.
        values: (sample,) values of the trace.
        starts_s: (trial,) start of each window.
        n_bins: number of bins in a window.
        bin_size_s: width of a bin.

    Returns:
        (trial, bin) float32; NaN if any part of the bin is outside the trace or beside a sample that is missing.
    """
    if len(times_s) < 2:
        return np.full((len(starts_s), n_bins), np.nan, np.float32)
    edges_s = starts_s[:, None] + np.arange(n_bins + 1) * bin_size_s
    known = np.isfinite(values)
    filled, steps_s = np.where(known, values, 0.0), np.diff(times_s)
    slopes = np.diff(filled) / steps_s
    before = np.concatenate([[0.0], np.cumsum((filled[1:] + filled[:-1]) / 2 * steps_s)])
    here = np.clip(np.searchsorted(times_s, edges_s, side="right") - 1, 0, len(steps_s) - 1)
    since_s = edges_s - times_s[here]
    integral = before[here] + since_s * (filled[here] + slopes[here] * since_s / 2)
    holes = np.concatenate([[0], np.cumsum(~(known[1:] & known[:-1]))])
    begin_s, end_s = edges_s[:, :-1] + EDGE_TOLERANCE_S, edges_s[:, 1:] - EDGE_TOLERANCE_S
    first, last = (np.clip(np.searchsorted(times_s, at_s), 1, len(steps_s)) for at_s in (begin_s, end_s))
    # a window without a time compares as false
    whole = (begin_s >= times_s[0]) & (end_s <= times_s[-1]) & (holes[last] == holes[first - 1])
    return np.where(whole, np.diff(integral, axis=1) / bin_size_s, np.nan).astype(np.float32)


def covers(times_s: np.ndarray, starts_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(trial,) bool: whether the trace spans each whole window. False if the start of the window is NaN."""
    if len(times_s) == 0:
        return np.zeros(len(starts_s), bool)
    return (times_s[0] <= starts_s) & (starts_s + duration_s <= times_s[-1])

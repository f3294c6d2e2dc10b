"""When the neurons of a recording were recorded: pure functions. Outside these times no spike means nothing."""

import numpy as np

from data_prep.recording import FARTHEST_S, Recording
from neuromtm.data.windows import microseconds

LEAST_HOLE_S = 5.0
"""a shorter silence of all neurons is no hole in the recording"""
HOLE_PROBABILITY = 1e-9
"""a longer silence is a hole if neurons at the session's rate would be silent for so long with less than this"""

MOST_PIECES = 1_000_000
"""pieces of the time, of one second each in recordings of less than eleven days"""


def observed_intervals(recording: Recording) -> np.ndarray:
    """(interval, 2) times at which the neurons were recorded, sorted and apart: the source's, or those inferred."""
    if recording.observed_s is None:
        return inferred_intervals(recording.spike_times_s)
    return merged(recording.observed_s)


def merged(intervals_s: np.ndarray) -> np.ndarray:
    """(interval, 2) sorted intervals; those that overlap or touch are one."""
    intervals_s = intervals_s[np.argsort(intervals_s[:, 0], kind="stable")]
    ends = np.maximum.accumulate(intervals_s[:, 1])
    begins = np.r_[True, microseconds(intervals_s[1:, 0]) > microseconds(ends[:-1])]
    last = np.r_[np.flatnonzero(begins)[1:] - 1, len(ends) - 1]
    return np.stack([intervals_s[begins, 0], ends[last]], axis=1)


def inferred_intervals(spike_times_s: np.ndarray) -> np.ndarray:
    """(interval, 2) times at which the recording was on, as far as the spikes tell.

    A silence of all neurons is a hole if it is longer than `LEAST_HOLE_S`, and so long that its probability is below
    `HOLE_PROBABILITY` for independent spikes at the session's rate. As neurons burst together, the rate is not that of
    the spikes but the lower one of seconds with a spike: sparse neurons keep their trials. Before the first and after
    the last spike of an interval as much time counts as recorded as the longest silence that is no hole.

    Args:
        spike_times_s: (spike,) sorted times of all neurons.
    """
    first_s, last_s = spike_times_s[0], spike_times_s[-1]
    silence_s = np.diff(spike_times_s)
    n_pieces = int(np.clip(np.ceil(last_s - first_s), 1, MOST_PIECES))
    piece_s = (last_s - first_s) / n_pieces
    until = np.searchsorted(spike_times_s, first_s + piece_s * np.arange(1, n_pieces), side="left")
    n_occupied = np.count_nonzero(np.diff(np.r_[0, until, len(spike_times_s)]))
    share = min(n_occupied, n_pieces - 0.5) / n_pieces
    threshold_s = max(LEAST_HOLE_S, piece_s * np.log(HOLE_PROBABILITY) / np.log1p(-share))
    is_hole = silence_s > threshold_s
    margin_s = silence_s[~is_hole].max(initial=0.0)
    of_hole_s = np.minimum(margin_s, silence_s[is_hole] / 2)
    starts = np.r_[first_s - margin_s, spike_times_s[1:][is_hole] - of_hole_s]
    ends = np.r_[spike_times_s[:-1][is_hole] + of_hole_s, last_s + margin_s]
    return np.stack([starts, ends], axis=1)


def inside(starts_s: np.ndarray, intervals_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(window,) bool: whether a window lies wholly in one of the intervals. NaN does not.

    Args:
        starts_s: (window,) starts; an infinite one, or one beyond all recordings, is in none.
        intervals_s: (interval, 2), sorted and apart.
        duration_s: length of every window.
    """
    known = np.abs(starts_s) <= FARTHEST_S
    starts = microseconds(np.where(known, starts_s, 0))
    intervals = microseconds(intervals_s)
    number = np.searchsorted(intervals[:, 0], starts, side="right") - 1
    return known & (number >= 0) & (starts + microseconds(duration_s) <= intervals[number, 1])


def windows_inside(intervals_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(window,) starts of as many windows, one after the other, as each interval holds.

    Args:
        intervals_s: (interval, 2), sorted and apart.
        duration_s: length of every window.
    """
    length = int(microseconds(duration_s))
    intervals = microseconds(intervals_s)
    found = [start + length * np.arange((end - start) // length) for start, end in intervals]
    return np.concatenate(found) * 1e-6

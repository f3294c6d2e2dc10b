"""Windows of BrainWideBench inside intervals of time: pure functions."""

import numpy as np

from data_prep.sources.bwb.tasks import BIN_SIZE_S, WINDOW_S
from neuromtm.data.windows import dense_starts

GAP_S = 20.0
"""between two splits, as in the benchmark"""


def every_window(start_s: float, end_s: float) -> np.ndarray:
    """(window,) starts of the benchmark's test windows in an interval: one at every bin, and one that ends with it."""
    return dense_starts(start_s, end_s, length_s=WINDOW_S, step_s=BIN_SIZE_S)


def spaced_windows(start_s: float, end_s: float) -> np.ndarray:
    """(window,) starts of windows one after the other in an interval, and of one that ends with it."""
    return dense_starts(start_s, end_s, length_s=WINDOW_S, step_s=WINDOW_S)


def intersection(intervals_s: np.ndarray, others_s: np.ndarray) -> np.ndarray:
    """(interval, 2) the times that are in both, in the order of time.

    Args:
        intervals_s: (interval, 2) apart from each other.
        others_s: (other, 2), likewise.
    """
    start = np.maximum(intervals_s[:, None, 0], others_s[None, :, 0])
    end = np.minimum(intervals_s[:, None, 1], others_s[None, :, 1])
    found = np.stack([start[start < end], end[start < end]], axis=1)
    return found[np.argsort(found[:, 0], kind="stable")]


def rows_in(starts_s: np.ndarray, ends_s: np.ndarray, intervals_s: np.ndarray) -> np.ndarray:
    """(window,) bool: whether a window lies wholly in one of some intervals, to a microsecond."""
    after = starts_s[:, None] >= intervals_s[None, :, 0] - 1e-6
    return np.asarray((after & (ends_s[:, None] <= intervals_s[None, :, 1] + 1e-6)).any(axis=1))


def two_halves(intervals_s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The earlier and the later half of some time, with a gap between them.

    Args:
        intervals_s: (interval, 2), of which the time from the first start to the last end counts.
    """
    start_s, end_s = intervals_s[:, 0].min(initial=np.inf), intervals_s[:, 1].max(initial=-np.inf)
    middle_s, gap_s = (start_s + end_s) / 2, min(GAP_S, (end_s - start_s) / 4)
    earlier, later = np.array([[start_s, middle_s - gap_s / 2]]), np.array([[middle_s + gap_s / 2, end_s]])
    return intersection(intervals_s, earlier), intersection(intervals_s, later)

"""Which windows of a recording share time: pure functions."""

import numpy as np

RESOLUTION_S = 1e-6
"""times are rounded to this before they are compared: sums of bin sizes drift by less"""


def microseconds(times_s: np.ndarray | float) -> np.ndarray:
    """Times as whole numbers of microseconds."""
    return np.round(np.asarray(times_s, np.float64) / RESOLUTION_S).astype(np.int64)


def blocks_of_windows(starts_s: np.ndarray, *, duration_s: float, gap_s: float = 0.0) -> np.ndarray:
    """(window,) number of the block of each window. Windows that share time, or a chain of such windows, form a block.

    Windows that only touch share no time. Blocks are numbered in the order of their first windows.

    Args:
        starts_s: (window,) starts, in any order.
        duration_s: length of every window.
        gap_s: windows that are closer than this form a block, too.
    """
    starts = microseconds(starts_s)
    order = np.argsort(starts, kind="stable")
    reach = microseconds(duration_s) + microseconds(gap_s)
    block = np.empty(len(starts), np.int64)
    # all windows have one length, so a window reaches its next one or none
    block[order] = np.cumsum(np.diff(starts[order], prepend=starts[order][:1]) >= reach)
    _, first, block = np.unique(block, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[block]


def sharing_time(starts_s: np.ndarray, others_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(window,) bool: whether a window shares time with any of some others. NaN shares none.

    Args:
        starts_s: (window,) starts.
        others_s: (other,) starts of the others.
        duration_s: length of every window.
    """
    others = np.sort(microseconds(others_s[np.isfinite(others_s)]))
    known = np.isfinite(starts_s)
    shares = np.zeros(len(starts_s), bool)
    starts, length = microseconds(starts_s[known]), microseconds(duration_s)
    first_after = np.searchsorted(others, starts - length, side="right")
    last_before = np.searchsorted(others, starts + length, side="left")
    shares[known] = last_before > first_after
    return shares


def dense_starts(start_s: float, end_s: float, *, length_s: float, step_s: float) -> np.ndarray:
    """(window,) starts of windows in an interval, as BrainWideBench's sampler gives them, to the last bit.

    There is a window at every step that fits, and, if the last of them does not reach the end, one more that ends with
    the interval.

    Args:
        start_s: start of the interval.
        end_s: its end; the interval is at least one window long.
        length_s: of a window.
        step_s: from one window to the next.
    """
    import torch  # its sums round otherwise than those of NumPy, and predictions are matched by equal starts

    steps = torch.arange(start_s, end_s, step_s, dtype=torch.float64).numpy()
    starts = steps[steps + length_s <= end_s]
    # an interval of one window that rounding has made shorter by a bit has this one alone
    reached = starts[-1] + length_s if len(starts) else -np.inf
    return np.append(starts, end_s - length_s) if reached < end_s else starts

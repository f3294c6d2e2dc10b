"""Which split each window goes to, so that no instant is in two splits: pure functions."""

from typing import NamedTuple

import numpy as np

from data_prep.options import PrepareOptions
from neuromtm.data.shards import SPLITS
from neuromtm.data.splits import split_blocks, split_sizes
from neuromtm.data.windows import blocks_of_windows, microseconds, sharing_time
from neuromtm.errors import SourceError

MOST_CYCLES = 10
"""the splits of continuous time alternate at most so often"""
LEAST_PIECE = 5
"""windows of the smallest piece of continuous time, where there are enough windows"""


class Assigned(NamedTuple):
    """The split of each window."""

    split: np.ndarray
    """(window,) text: train, val, test; empty where the window is left out"""
    removed: dict[str, int]
    """reason -> number of windows that are left out"""
    notes: tuple[str, ...]


def assign_splits(
    starts_s: np.ndarray, *, options: PrepareOptions, eid: str, given: np.ndarray | None = None
) -> Assigned:
    """Choose the split of each window.

    Args:
        starts_s: (window,) starts of at least three windows.
        options: window, fractions, gap, seed.
        eid: the session.
        given: (window,) the split of the source, one of `SPLITS` each; None if the source gives none.

    Raises:
        SourceError: if there are too few windows, or too few blocks of windows that share time.
    """
    if given is not None:
        return _of_source(starts_s, given, options)
    if options.continuous:
        return _of_time(starts_s, options)
    window = {"duration_s": options.duration_s, "gap_s": options.split_gap_s}
    block = blocks_of_windows(starts_s, **window)
    sizes = np.bincount(block)
    if len(sizes) < len(SPLITS):
        raise SourceError(
            f"the {len(starts_s)} windows overlap or are closer than the gap, so that they form {len(sizes)} "
            f"{'block' if len(sizes) == 1 else 'blocks'}, but the three splits need at least {len(SPLITS)}. Choose a "
            "narrower window or a smaller gap (--split-gap-s), or give splits at the source."
        )
    parts = split_blocks(block, fractions=options.split_fractions, seed=options.seed, eid=eid)
    split = np.empty(len(starts_s), "<U5")
    for name, windows in parts.items():
        split[windows] = name
    notes = list(_twice(starts_s))
    if (chained := int(sizes[sizes > 1].sum())) and options.split_gap_s == 0:
        notes.append(
            f"{chained} windows share time with others; each group of them is in one split, the largest has "
            f"{sizes.max()}"
        )
    return Assigned(split, {}, tuple(notes))


def _twice(starts_s: np.ndarray) -> list[str]:
    times, n = np.unique(microseconds(starts_s), return_counts=True)
    if not (n > 1).any():
        return []
    return [
        f"{n[n > 1].sum()} windows begin together with another one, as if trials were given twice, e.g. at "
        f"{times[n > 1][0] * 1e-6:g} s"
    ]


def _of_source(starts_s: np.ndarray, given: np.ndarray, options: PrepareOptions) -> Assigned:
    keep, notes = ~_too_close(starts_s, given, options), ()
    if options.keep_source_overlap and not keep.all():
        heldout = (given == "val") | (given == "test")
        shared = sharing_time(starts_s[heldout], starts_s[given == "train"], duration_s=options.duration_s)
        notes = (f"{shared.mean():.0%} of the validation and test windows share time with training windows",)
        keep[:] = True
    split = np.where(keep, given, "")
    _require_all(split, "of the source")
    removed = {} if keep.all() else {"shares time with another split of the source": int((~keep).sum())}
    return Assigned(split, removed, notes)


def _of_time(starts_s: np.ndarray, options: PrepareOptions) -> Assigned:
    order = np.argsort(starts_s, kind="stable")
    split = np.empty(len(starts_s), "<U5")
    split[order] = alternating(len(starts_s), options.split_fractions)
    keep = ~_too_close(starts_s, split, options)
    split = np.where(keep, split, "")
    _require_all(split, "of the continuous time")
    removed = {} if keep.all() else {"in the gap between two splits": int((~keep).sum())}
    return Assigned(split, removed, ())


def alternating(n_windows: int, fractions: tuple[float, float, float]) -> np.ndarray:
    """(window,) splits of windows in the order of time: train, val, train, test, again and again.

    Validation and test windows come from the whole session, as firing rates drift, and only meet training windows.

    Args:
        n_windows: number of windows.
        fractions: parts for train, val, test.
    """
    n_cycles = int(np.clip(n_windows * min(fractions[1:]) // LEAST_PIECE, 1, MOST_CYCLES))
    n_val, n_test = split_sizes(n_windows, fractions)
    train = _even_parts(n_windows - n_val - n_test, 2 * n_cycles)
    val, test = _even_parts(n_val, n_cycles), _even_parts(n_test, n_cycles)
    pieces = np.stack([train[::2], val, train[1::2], test], axis=1)
    return np.repeat(np.tile(["train", "val", "train", "test"], n_cycles), pieces.ravel())


def _even_parts(n: int, n_parts: int) -> np.ndarray:
    return np.diff(np.round(np.linspace(0, n, n_parts + 1)).astype(np.int64))


def _too_close(starts_s: np.ndarray, split: np.ndarray, options: PrepareOptions) -> np.ndarray:
    """(window,) bool: the training windows that reach into others, and the validation windows that reach into tests."""
    close = np.zeros(len(starts_s), bool)
    for name, others in (("train", ("val", "test")), ("val", ("test",))):
        own = split == name
        # one window reaches another if their starts are closer than its length and the gap
        close[own] = sharing_time(
            starts_s[own], starts_s[np.isin(split, others)], duration_s=options.duration_s + options.split_gap_s
        )
    return close


def _require_all(split: np.ndarray, whose: str) -> None:
    if empty := [name for name in SPLITS if not (split == name).any()]:
        raise SourceError(
            f"the splits {whose} have no window for {' and '.join(empty)}. Give some to each split, or choose a "
            "narrower window or a smaller gap (--split-gap-s)."
        )

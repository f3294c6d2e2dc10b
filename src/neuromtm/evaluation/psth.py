"""The conditions of the task. Trials of one condition are averaged."""

from typing import NamedTuple

import numpy as np

STIMULUS_SIDES = {-1: "left", 0: "none", 1: "right"}
"""sign of the contrast (right minus left) -> which stimulus was stronger"""


class Conditions(NamedTuple):
    """The conditions that some trials of a session fall into."""

    names: tuple[str, ...]
    """e.g. `choice -1, stimulus left`; `all trials` if neither is known in any trial"""
    number: np.ndarray
    """(trial,) int64, place in `names` of every trial of the session; -1 where it is not one of those trials"""


def task_conditions(choice: np.ndarray, contrast: np.ndarray, trials: np.ndarray) -> Conditions:
    """Choice crossed with the side of the stimulus, as far as the data have them.

    If no trial has a choice, or no trial a side, the names leave it out. If some trials lack it, it is `unknown` in
    their names.

    Args:
        choice: (trial,) of all trials of the session, -1 or +1; 0 unknown.
        contrast: (trial,) of all trials of the session, right minus left; NaN unknown.
        trials: (trial',) numbers of the trials that are sorted into conditions, e.g. those of a split.
    """
    names = [""] * len(trials)
    if (choice[trials] != 0).any():
        names = [f"choice {c:+d}" if c else "choice unknown" for c in choice[trials].tolist()]
    if np.isfinite(contrast[trials]).any():
        sides = ["unknown" if np.isnan(c) else STIMULUS_SIDES[int(np.sign(c))] for c in contrast[trials].tolist()]
        names = [", ".join(filter(None, (name, f"stimulus {side}"))) for name, side in zip(names, sides, strict=True)]
    names = [name or "all trials" for name in names]
    unique = sorted(set(names))
    number = np.full(len(choice), -1, dtype=np.int64)
    number[trials] = [unique.index(name) for name in names]
    return Conditions(tuple(unique), number)

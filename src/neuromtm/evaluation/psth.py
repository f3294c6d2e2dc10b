"""Which trials are alike: the conditions of the task, over which trials are averaged."""

from typing import NamedTuple

import numpy as np

STIMULUS_SIDES = {-1: "left", 0: "none", 1: "right"}
"""sign of the contrast (right minus left) -> which stimulus was stronger"""


class Conditions(NamedTuple):
    """The conditions that some trials of a session fall into."""

    names: tuple[str, ...]
    """e.g. `choice -1, stimulus left`; `all trials` where neither is known of any"""
    number: np.ndarray
    """(trial,) int64, place in `names` of every trial of the session; -1 where it is not one of those trials"""


def task_conditions(choice: np.ndarray, contrast: np.ndarray, trials: np.ndarray) -> Conditions:
    """Choice crossed with the side of the stimulus, as far as the data know them.

    What no trial knows is left out of the names; what some do not know is `unknown` of those.

    Args:
        choice: (trial,) of all trials of the session, -1 or +1; 0 unknown.
        contrast: (trial,) likewise, right minus left; NaN unknown.
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

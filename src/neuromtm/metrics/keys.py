"""The keys of metrics.json: the activity tasks', and those of each behaviour, `<behaviour>_<figure>`."""

from collections.abc import Iterable
from typing import NamedTuple

BPS_KEYS = ("co_smoothing_bps", "forward_prediction_bps", "intra_region_bps", "inter_region_bps")
"""the activity tasks'"""

SCORES = ("accuracy", "r2")
"""what a behaviour is scored by: classes, or a trace"""
BASELINES = ("counts", "rrr")
"""the read-outs of raw counts beside a score: `<behaviour>_<score>_<baseline>`"""
BEHAVIOR_FIGURES = (
    "balanced_accuracy",
    *(f"{score}_{baseline}" for score in SCORES for baseline in BASELINES),
    *SCORES,
    "chance",
)

SHORT_NAMES = {"whisker_motion_energy": "whisker"}
"""name of a behaviour in the shards -> in the keys, where it is another"""


class BehaviorKey(NamedTuple):
    """A key of a behaviour, in its two parts."""

    behavior: str
    """as the keys call it"""
    figure: str
    """one of `BEHAVIOR_FIGURES`"""


def short_name(target: str) -> str:
    """What the keys call a behaviour."""
    return SHORT_NAMES.get(target, target)


def behavior_key(key: str) -> BehaviorKey | None:
    """Take a key apart; None if it is not one of a behaviour."""
    for figure in BEHAVIOR_FIGURES:  # `balanced_accuracy` before `accuracy`, which it ends with
        if key.endswith(f"_{figure}") and key not in BPS_KEYS:
            return BehaviorKey(key.removesuffix(f"_{figure}"), figure)
    return None


def behaviors(keys: Iterable[str]) -> dict[str, str]:
    """The behaviours that these keys have a score of -> which, `accuracy` or `r2`, in their order."""
    found = (behavior_key(key) for key in keys)
    return {one.behavior: one.figure for one in found if one is not None and one.figure in SCORES}

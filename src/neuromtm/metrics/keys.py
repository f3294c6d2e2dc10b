"""The keys of metrics.json: the activity tasks', and those of each behaviour, `<behaviour>_<figure>`."""

from collections.abc import Iterable
from typing import NamedTuple

TASK_TITLES = {
    "co_smoothing": "co-smoothing",
    "forward_prediction": "forward prediction",
    "intra_region": "intra-region",
    "inter_region": "inter-region",
}
"""the activity tasks -> what plots and pages call them; `<task>_bps` is the key of metrics.json"""
BPS_KEYS = ("co_smoothing_bps", "forward_prediction_bps", "intra_region_bps", "inter_region_bps")
"""of the activity tasks, in bits per spike"""

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


class Column(NamedTuple):
    """A metric as tables and plots show it."""

    title: str
    key: str
    """in metrics.json"""
    chance: str | None = None
    """key of its chance level"""


COLUMNS = (
    Column("co-smooth", "co_smoothing_bps"),
    Column("forward", "forward_prediction_bps"),
    Column("intra", "intra_region_bps"),
    Column("inter", "inter_region_bps"),
    Column("choice accuracy", "choice_accuracy", "choice_chance"),
    Column("whisker R2", "whisker_r2", "whisker_chance"),
)
"""what every table shows, whether or not a run has it"""
SHORT_TITLES = {column.key: column.title for column in COLUMNS}
SCORE_NAMES = {"accuracy": "accuracy", "r2": "R2"}
"""a score of a behaviour -> in words"""


def columns_of(keys: Iterable[str], *, balanced: bool = False) -> tuple[Column, ...]:
    """The columns that these keys need: `COLUMNS`, and further behaviours.

    Args:
        keys: of metrics.json, of all runs that are shown.
        balanced: whether classes have a column of their balanced accuracy too.
    """
    found = behaviors(keys)
    columns = [
        *COLUMNS,
        *(
            Column(f"{behavior} {SCORE_NAMES[score]}", f"{behavior}_{score}", f"{behavior}_chance")
            for behavior, score in found.items()
            if f"{behavior}_{score}" not in SHORT_TITLES
        ),
    ]
    if balanced:
        classes = [behavior for behavior, score in found.items() if score == "accuracy"]
        columns += [Column(f"{behavior} balanced", f"{behavior}_balanced_accuracy") for behavior in classes]
    return tuple(columns)

"""The keys of metrics.json: those of the activity tasks, and `<behaviour>_<metric>` for each behaviour."""

from collections.abc import Iterable
from typing import NamedTuple

from neuromtm.metrics.behavior import FURTHER_METRICS

TASK_TITLES = {
    "co_smoothing": "co-smoothing",
    "forward_prediction": "forward prediction",
    "intra_region": "intra-region",
    "inter_region": "inter-region",
}
"""activity task -> its name in plots and pages; its key in metrics.json is `<task>_bps`"""
BPS_KEYS = ("co_smoothing_bps", "forward_prediction_bps", "intra_region_bps", "inter_region_bps")
"""keys of the activity tasks, in bits per spike: means over neurons"""
MEDIAN_KEYS = tuple(f"{key}_median" for key in BPS_KEYS)
"""keys of their medians over neurons, which a few neurons cannot move"""

SCORES = ("accuracy", "r2")
"""the scores of a behaviour: `accuracy` of classes, `r2` of a trace or a number"""
BASELINES = ("counts", "rrr")
"""the read-outs of raw counts; the key of their score is `<behaviour>_<score>_<baseline>`"""
ENCODING_KEY = "encoding_bps"
"""key of the neurons that a model predicts from behaviour alone, in bits per spike"""
OWN = "r2_own"
"""metric of a trace that a model decodes by itself; the key is `<behaviour>_r2_own`"""
BEHAVIOR_METRICS = (
    *FURTHER_METRICS,
    *(f"{score}_{baseline}" for score in SCORES for baseline in BASELINES),
    *SCORES,
    OWN,
    "chance",
)


def largest_value(key: str) -> float | None:
    """The best possible value of a metric of behaviour; None where there is no such value, or the key is another.

    Args:
        key: of metrics.json.
    """
    found = behavior_key(key)
    return None if found is None else 1.0


SHORT_NAMES = {"whisker_motion_energy": "whisker"}
"""name of a behaviour in the shards -> its name in the keys, if that differs"""


class BehaviorKey(NamedTuple):
    """The key of a behaviour's metric, in its two parts."""

    behavior: str
    """name of the behaviour in the keys"""
    metric: str
    """one of `BEHAVIOR_METRICS`"""


def short_name(target: str) -> str:
    """The name of a behaviour in the keys."""
    return SHORT_NAMES.get(target, target)


def behavior_key(key: str) -> BehaviorKey | None:
    """Split a key into its parts; None if it is not the key of a behaviour."""
    for metric in sorted(BEHAVIOR_METRICS, key=len, reverse=True):  # `balanced_accuracy` ends with `accuracy`
        if key.endswith(f"_{metric}") and key not in BPS_KEYS:
            return BehaviorKey(key.removesuffix(f"_{metric}"), metric)
    return None


def behaviors(keys: Iterable[str]) -> dict[str, str]:
    """Behaviour -> its score, `accuracy` or `r2`, for each behaviour that has one among these keys, in their order."""
    found = (behavior_key(key) for key in keys)
    return {one.behavior: one.metric for one in found if one is not None and one.metric in SCORES}


class Column(NamedTuple):
    """A metric as tables and plots show it."""

    title: str
    key: str
    """key in metrics.json"""
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
"""the columns of every table, whether or not a run has these metrics"""
SHORT_TITLES = {column.key: column.title for column in COLUMNS}
SCORE_NAMES = {"accuracy": "accuracy", "r2": "R2"}
"""score of a behaviour -> its name in words"""


def columns_of(keys: Iterable[str], *, balanced: bool = False) -> tuple[Column, ...]:
    """The columns that these keys need: `COLUMNS`, and one for the score of each further behaviour.

    What a model with behaviour as channels encodes and decodes by itself follows, if it is among the keys.

    Args:
        keys: those of metrics.json, of all runs that are shown.
        balanced: whether behaviours of classes also have a column for their balanced accuracy.
    """
    keys = list(keys)
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
    columns += [Column("encoding", ENCODING_KEY)] if ENCODING_KEY in keys else []
    apart = dict.fromkeys(one for key in keys if (one := behavior_key(key)) is not None and one.metric == OWN)
    columns += [Column(f"{b} R2, own", f"{b}_{OWN}", f"{b}_chance") for b, _ in apart]
    return tuple(columns)

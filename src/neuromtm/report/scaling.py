"""The tables of a sweep over pretraining sessions, printed and as CSV."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from neuromtm.evaluation.scaling import EXPONENTS, FEWEST_FOR_A_POWER_LAW, Curve, Fitted, Gain, Score
from neuromtm.evaluation.sweep import Entry
from neuromtm.files import table_text
from neuromtm.metrics.intervals import Interval
from neuromtm.metrics.keys import BPS_KEYS, SHORT_TITLES, Column
from neuromtm.report.tables import ABSENT, INTERVALS


class Seen(NamedTuple):
    """What a pretraining learned from: means over the pretrainings of an entry. None where it is not known."""

    n_neurons: float | None = None
    n_trials: float | None = None
    """different training trials"""
    n_steps: float | None = None
    """optimiser steps until the checkpoint that was fine-tuned, best.ckpt"""
    n_steps_trained: float | None = None
    """optimiser steps of the whole training, by last.ckpt"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """An entry of a sweep with its scores."""

    entry: Entry
    seen: Seen
    scores: Mapping[str, Score]
    """key of metrics.json -> its mean and interval"""
    gains: Mapping[str, Gain]
    """key of an activity task -> the gain over training from scratch"""


def rows_table(rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    """One row per entry, one column per metric: its mean [95 % interval]."""
    overs = {score.over for row in rows for score in row.scores.values()}
    notes = [note for over, note in INTERVALS.items() if over in overs]
    if any(score.deviation is not None for row in rows for score in row.scores.values()):
        notes.append("It also holds the differences between seeds, whose variance is pooled over a curve's points.")
    alone = [row.entry.name for row in rows if row.scores and _is_of_one_seed(row)]
    if alone:
        notes.append(f"One seed, so that differences between trainings are not in the interval: {'; '.join(alone)}.")
    if any(row.seen.n_steps is not None for row in rows):
        notes.append("steps: until the checkpoint that was fine-tuned (best.ckpt), of those that were trained.")
    table = Table(
        title="Test metrics of held-out animals [95 % interval], by the sessions of the pretraining.",
        caption=" ".join(notes) or None,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("trained", no_wrap=True)
    for name in ("neurons", "trials", "steps", "seeds", "animals", "test sessions"):
        table.add_column(name, justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for row in rows:
        n_seeds = max((score.n_seeds for score in row.scores.values()), default=0)
        counted = (n_seeds, len(row.entry.animals), len(row.entry.of_session))
        scores = (row.scores.get(column.key) for column in columns)
        cells = [ABSENT if one is None else _with_ends(one.mean, one.interval) for one in scores]
        seen = row.seen
        steps = _count(seen.n_steps) + ("" if seen.n_steps_trained is None else f" of {_count(seen.n_steps_trained)}")
        counts = (_count(seen.n_neurons), _count(seen.n_trials), steps)
        table.add_row(Text(row.entry.name), *counts, *map(str, counted), *map(Text, cells))
    return table


def _is_of_one_seed(row: Row) -> bool:
    return row.entry.stage != "baseline" and all(score.deviation is None for score in row.scores.values())


def gains_table(rows: Sequence[Row]) -> Table:
    """One row per fine-tuned entry, one column per activity task: the gain over training from scratch."""
    table = Table(
        title="Minus the same objective from scratch, neurons and trials that both score: bits per spike [95 % "
        "interval].",
        title_justify="left",
    )
    table.add_column("trained", no_wrap=True)
    for key in BPS_KEYS:
        table.add_column(SHORT_TITLES[key], justify="right", no_wrap=True)
    for row in rows:
        if row.gains:
            found = (row.gains.get(key) for key in BPS_KEYS)
            cells = (ABSENT if one is None else _with_ends(one.difference, one.interval, "+.3f") for one in found)
            table.add_row(Text(row.entry.name), *map(Text, cells))
    return table


Curves = Mapping[tuple[str, str], Curve | str]
"""(objective, key of metrics.json) -> what was fitted, or why nothing was"""


def curves_table(curves: Curves, columns: Sequence[Column], against: str) -> Table:
    """One row per objective and metric: the gain per doubling, and the power law.

    Args:
        curves: what was fitted.
        columns: the metrics.
        against: what the metrics are fitted against, e.g. `sessions`.
    """
    absent: dict[str, list[str]] = {}
    for (objective, key), curve in curves.items():
        if isinstance(curve, str):
            absent.setdefault(curve, []).append(f"{objective} {SHORT_TITLES.get(key, key)}")
    notes = [f"Not fitted, because of {reason}: {', '.join(names)}." for reason, names in absent.items()]
    if any(not isinstance(curve, str) and curve.exponent is None for curve in curves.values()):
        notes.append(f"A power law takes {FEWEST_FOR_A_POWER_LAW} different values of x with results.")
    if any(not isinstance(curve, str) and curve.exponent is not None for curve in curves.values()):
        ends = " to ".join(f"{EXPONENTS[place]:g}" for place in (0, -1))
        notes.append(
            f"c is sought from {ends}: an interval that reaches both says that the points do not determine it."
        )
    stuck = [
        f"{objective} {SHORT_TITLES.get(key, key)}" for (objective, key), curve in curves.items() if _is_stuck(curve)
    ]
    if stuck:
        notes.append(f"No power law is told by these points ({STUCK}): {', '.join(stuck)}.")
    table = Table(
        title=f"Fitted against {against} of the pretraining [95 % interval]: metric = a - b x^-c, and what a doubling "
        "adds.",
        caption=" ".join(notes),
        title_justify="left",
        caption_justify="left",
    )
    for name in ("objective", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("per doubling", "a", "c"):
        table.add_column(name, justify="right", no_wrap=True)
    titles = {column.key: column.title for column in columns}
    for (objective, key), curve in curves.items():
        named = (Text(objective), Text(titles[key]))
        if isinstance(curve, str):
            table.add_row(*named, *[ABSENT] * 3)
        else:
            ceiling, exponent = map(_estimate, _law(curve))
            if curve.exponent is not None and _is_stuck(curve):
                ceiling, exponent = ABSENT, f"at the end: {curve.exponent.value:g}"
            table.add_row(*named, *map(Text, (_estimate(curve.per_doubling, "+.3f"), ceiling, exponent)))
    return table


STUCK = "c at the end of its range, a not determined"


def _is_stuck(curve: Curve | str) -> bool:
    return not isinstance(curve, str) and curve.exponent is not None and curve.ceiling is None


def _law(curve: Curve) -> tuple[Fitted | None, Fitted | None]:
    return curve.ceiling, curve.exponent


def _estimate(fitted: Fitted | None, form: str = ".2f") -> str:
    return ABSENT if fitted is None else _with_ends(fitted.value, fitted.interval, form)


def _with_ends(value: float, interval: Interval | None, form: str = ".3f") -> str:
    return f"{value:{form}}" + ("" if interval is None else f" [{interval.low:{form}}, {interval.high:{form}}]")


def _count(n: float | None) -> str:
    return ABSENT if n is None else f"{n:,.0f}"


SCALING_COLUMNS = (
    *(
        "stage",
        "objective",
        "n_sessions",
        "n_neurons",
        "n_trials",
        "n_steps",
        "n_steps_trained",
        "metric",
        "mean",
        "low",
        "high",
    ),
    *("interval_over", "n_seeds", "seed_deviation", "n_animals", "n_test_sessions"),
    *("over_scratch", "over_scratch_low", "over_scratch_high"),
)
"""of scaling.csv. `low` and `high` end the 95 % interval; `seed_deviation` is the standard deviation between seeds"""


def scaling_text(rows: Iterable[Row]) -> str:
    """The text of scaling.csv: one row per entry and metric. A field is empty where it is not known."""
    lines = []
    for row in rows:
        entry = row.entry
        for key, score in row.scores.items():
            gain = row.gains.get(key)
            lines.append(
                [
                    *(entry.stage, entry.objective, entry.n_sessions, *row.seen, key, score.mean),
                    *(score.interval or (None, None)),
                    *(score.over, score.n_seeds, score.deviation, len(entry.animals), len(entry.of_session)),
                    *((None, None, None) if gain is None else (gain.difference, *(gain.interval or (None, None)))),
                ]
            )
    return table_text(SCALING_COLUMNS, lines)


CURVE_COLUMNS = (
    *("objective", "metric", "against", "per_doubling", "per_doubling_low", "per_doubling_high"),
    *("a", "a_low", "a_high", "c", "c_low", "c_high", "absent"),
)
"""of curves.csv: metric = a - b x^-c; `absent` says why nothing was fitted, or why a is not there"""


def curves_text(curves: Curves, against: str) -> str:
    """The text of curves.csv: one row per objective and metric."""
    lines = []
    for (objective, key), curve in curves.items():
        if isinstance(curve, str):
            lines.append([objective, key, against, *[None] * 9, curve])
        else:
            every = (curve.per_doubling, *_law(curve))
            numbers = [value for one in every for value in ((None,) * 3 if one is None else (one.value, *one.interval))]
            lines.append([objective, key, against, *numbers, STUCK if _is_stuck(curve) else None])
    return table_text(CURVE_COLUMNS, lines)

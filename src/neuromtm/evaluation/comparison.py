"""Runs side by side: one table for people, one summary for programs."""

import sys
from collections.abc import Mapping
from typing import NamedTuple, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neuromtm.evaluation.report import Metrics

PLAIN_WIDTH = 1000
"""a log file has no width: its lines are not folded, however long the runs' names"""


class Column(NamedTuple):
    """A column of the table."""

    title: str
    key: str
    """in metrics.json"""
    chance: str | None = None
    """key of its chance level, shown in brackets"""


COLUMNS = (
    Column("co-smooth", "co_smoothing_bps"),
    Column("forward", "forward_prediction_bps"),
    Column("intra", "intra_region_bps"),
    Column("inter", "inter_region_bps"),
    Column("choice accuracy", "choice_accuracy", "choice_chance"),
    Column("whisker R2", "whisker_r2", "whisker_chance"),
)
ABSENT = "-"


def summary(runs: Mapping[str, Metrics]) -> dict[str, dict[str, float]]:
    """Each run's means over its sessions, by the run's name: the content of summary.json."""
    return {name: dict(metrics["mean"]) for name, metrics in runs.items()}


def comparison_table(runs: Mapping[str, Metrics]) -> Table:
    """A row a run, a column a figure, chance levels in brackets.

    Args:
        runs: name -> its metrics, as `read_metrics` gives them.
    """
    table = Table(
        title="Test trials, mean over sessions. Activity tasks in bits per spike; (chance) in brackets.",
        caption=_caption(runs),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("run", no_wrap=True)
    table.add_column("sessions", justify="right", no_wrap=True)
    for column in COLUMNS:
        table.add_column(column.title, justify="right", no_wrap=True)
    for name, metrics in runs.items():
        figures = (_figure(metrics["mean"], column) for column in COLUMNS)
        table.add_row(Text(name), str(len(metrics["sessions"])), *figures)
    return table


def print_comparison(runs: Mapping[str, Metrics], file: TextIO | None = None) -> None:
    """Print the table: in colour and fitted on a terminal, as plain Markdown in a file or a pipe.

    Args:
        runs: name -> its metrics.
        file: where to; by default standard output.
    """
    console = Console(file=file or sys.stdout)
    table = comparison_table(runs)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
        table.box = box.MARKDOWN
    console.print(table)


def _figure(means: Mapping[str, float], column: Column) -> str:
    if column.key not in means:
        return ABSENT
    chance = f" ({means[column.chance]:.2f})" if column.chance in means else ""
    return f"{means[column.key]:.2f}{chance}"


def _caption(runs: Mapping[str, Metrics]) -> str | None:
    if len({frozenset(metrics["sessions"]) for metrics in runs.values()}) > 1:
        return "These runs were tested on different sessions: their means do not compare."
    return None

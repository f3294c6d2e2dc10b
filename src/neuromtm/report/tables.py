"""Runs side by side: tables for people, a summary and a table for programs."""

import sys
from collections.abc import Mapping, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neuromtm.evaluation.pairing import FEWEST_SESSIONS, Paired
from neuromtm.evaluation.references import share_of_ceiling
from neuromtm.evaluation.results import Metrics
from neuromtm.files import table_text
from neuromtm.metrics.keys import BPS_KEYS, COLUMNS, Column, columns_of

PLAIN_WIDTH = 1000
"""characters a line in a file or pipe: lines are not folded, even if the names of runs are long"""


ABSENT = "-"


def summary(runs: Mapping[str, Metrics]) -> dict[str, dict[str, float]]:
    """Each run's means over its sessions, by the run's name: the content of summary.json."""
    return {name: dict(metrics["mean"]) for name, metrics in runs.items()}


def comparison_table(runs: Mapping[str, Metrics], *, balanced: bool = False) -> Table:
    """One row per run and one column per metric, with chance levels in brackets.

    Args:
        runs: name -> its metrics, as `read_metrics` gives them.
        balanced: whether classes have a column of their balanced accuracy too.
    """
    columns = columns_of((key for metrics in runs.values() for key in metrics["mean"]), balanced=balanced)
    table = Table(
        title="Test trials, mean over sessions. Activity tasks in bits per spike; (chance) in brackets.",
        caption=_caption(runs),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("run", no_wrap=True)
    table.add_column("sessions", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for name, metrics in runs.items():
        cells = (_cell(metrics["mean"], column) for column in columns)
        table.add_row(Text(name), str(len(metrics["sessions"])), *cells)
    return table


def print_comparison(runs: Mapping[str, Metrics], file: TextIO | None = None, *, balanced: bool = False) -> None:
    """Print the table: in colour and fitted to the width on a terminal, as plain Markdown in a file or a pipe.

    Args:
        runs: name -> its metrics.
        file: where to print; by default standard output.
        balanced: whether classes have a column of their balanced accuracy too.
    """
    _print(comparison_table(runs, balanced=balanced), file)


def paired_table(pairs: Mapping[str, Mapping[str, Paired]], reference: str) -> Table:
    """One row per run, one column per activity task: the difference from the reference, and how many sessions it wins.

    Args:
        pairs: name of each other run -> key of metrics.json -> the run beside the reference, as `pair` gives it.
        reference: name of the run that the others are compared with.
    """
    kinds = {paired.resampled for of_run in pairs.values() for paired in of_run.values()}
    title = (
        f"Minus {reference}, neurons that both score: difference in bits per spike [95 % interval], sessions won-lost."
    )
    table = Table(
        title=Text(title),  # a name may hold brackets, which rich would take for a style
        caption=" ".join(RESAMPLED[kind] for kind in sorted(kinds)) or None,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("run", no_wrap=True)
    for column in COLUMNS:
        if column.key in BPS_KEYS:
            table.add_column(column.title, justify="right", no_wrap=True)
    for name, of_run in pairs.items():
        table.add_row(Text(name), *(Text(_paired_cell(of_run.get(key))) for key in BPS_KEYS))
    return table


RESAMPLED = {
    "neurons": f"Fewer than {FEWEST_SESSIONS} sessions: the interval is a bootstrap over the neurons of these "
    "sessions, and says nothing of other animals.",
    "sessions": "The interval is a bootstrap over sessions; of few sessions it is too narrow.",
}
"""what an interval is over -> the note on it"""


def _paired_cell(paired: Paired | None) -> str:
    if paired is None:
        return ABSENT
    ends = "" if paired.interval is None else " [{:+.2f}, {:+.2f}]".format(*paired.interval)
    return f"{paired.difference:+.2f}{ends} {paired.wins}-{paired.losses}"


def share_table(shares: Mapping[str, Mapping[str, Paired]], ceiling: str) -> Table:
    """One row per run, one column per activity task: the run's bits per spike as a share of the ceiling's.

    Args:
        shares: name of each run -> key of metrics.json -> the run beside the ceiling.
        ceiling: name of the run that holds the true rates' scores.
    """
    table = Table(
        title=Text(f"Share of the bits per spike of {ceiling}, neurons that both score."), title_justify="left"
    )
    table.add_column("run", no_wrap=True)
    for column in COLUMNS:
        if column.key in BPS_KEYS:
            table.add_column(column.title, justify="right", no_wrap=True)
    for name, of_run in shares.items():
        cells = (share_of_ceiling(of_run[key]) if key in of_run else None for key in BPS_KEYS)
        table.add_row(Text(name), *(ABSENT if share is None else f"{100 * share:.0f} %" for share in cells))
    return table


def print_tables(tables: Sequence[Table], file: TextIO | None = None) -> None:
    """Print tables one below the other, as `print_comparison` prints one."""
    for number, table in enumerate(tables):
        if number:
            print(file=file or sys.stdout)
        _print(table, file)


PAIRED_COLUMNS = (
    *("reference", "run", "metric", "n_sessions", "n_neurons", "reference_mean", "run_mean", "difference"),
    *("low", "high", "resampled", "sessions_won", "sessions_lost", "share"),
)
"""of comparison.csv: `low` and `high` are the ends of the interval of `difference`; `share` is of the ceiling"""


def paired_text(pairs: Mapping[tuple[str, str], Mapping[str, Paired]], ceiling: str | None = None) -> str:
    """The text of comparison.csv: one row per pair of runs and activity task. A field is empty where it is undefined.

    Args:
        pairs: (reference, run) -> key of metrics.json -> the two side by side.
        ceiling: name of the run that holds the true rates' scores; None if there is none.
    """
    rows = []
    for (reference, run), of_run in pairs.items():
        for key, paired in of_run.items():
            numbers = [*paired.means.mean(axis=0), paired.difference, *(paired.interval or (None, None))]
            counted = (len(paired.sessions), paired.n_neurons)
            share = share_of_ceiling(paired) if reference == ceiling else None
            won = (paired.resampled, paired.wins, paired.losses, share)
            rows.append([reference, run, key, *counted, *numbers, *won])
    return table_text(PAIRED_COLUMNS, rows)


def _print(table: Table, file: TextIO | None) -> None:
    console = Console(file=file or sys.stdout)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
        table.box = box.MARKDOWN
    console.print(table)


def _cell(means: Mapping[str, float], column: Column) -> str:
    if column.key not in means:
        return ABSENT
    chance = f" ({means[column.chance]:.2f})" if column.chance is not None and column.chance in means else ""
    return f"{means[column.key]:.2f}{chance}"


def _caption(runs: Mapping[str, Metrics]) -> str | None:
    if len({frozenset(metrics["sessions"]) for metrics in runs.values()}) > 1:
        return "These runs were tested on different sessions: do not compare their means."
    return None

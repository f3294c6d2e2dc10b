"""Runs side by side: tables for people, a summary and a table for programs."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from neuromtm.evaluation.pairing import Over, Paired
from neuromtm.evaluation.references import share_of_ceiling
from neuromtm.evaluation.results import Metrics
from neuromtm.evaluation.seeds import Spread
from neuromtm.files import table_text
from neuromtm.metrics.intervals import FEWEST
from neuromtm.metrics.keys import BPS_KEYS, COLUMNS, MEDIAN_KEYS, SHORT_TITLES, Column, columns_of

PLAIN_WIDTH = 1000
"""characters a line in a file or pipe: lines are not folded, even if the names of runs are long"""


ABSENT = "-"


def summary(runs: Mapping[str, Metrics]) -> dict[str, dict[str, float]]:
    """Each run's means over its sessions, by the run's name: the content of summary.json."""
    return {name: dict(metrics["mean"]) for name, metrics in runs.items()}


def comparison_table(
    runs: Mapping[str, Metrics], *, balanced: bool = False, animals: Mapping[str, int | None] | None = None
) -> Table:
    """One row per run and one column per metric, with chance levels in brackets.

    Args:
        runs: name -> its metrics, as `read_metrics` gives them.
        animals: name -> how many animals its sessions are of, where it is known; without it there is no such column.
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
    if animals is not None:
        table.add_column("animals", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for name, metrics in runs.items():
        cells = [_cell(metrics["mean"], column) for column in columns]
        counted = [] if animals is None else [_count(animals.get(name))]
        table.add_row(Text(name), str(len(metrics["sessions"])), *counted, *cells)
    return table


def print_comparison(runs: Mapping[str, Metrics], file: TextIO | None = None, *, balanced: bool = False) -> None:
    """Print the table: in colour and fitted to the width on a terminal, as plain Markdown in a file or a pipe.

    Args:
        runs: name -> its metrics.
        file: where to print; by default standard output.
        balanced: whether classes have a column of their balanced accuracy too.
    """
    medians = median_table(runs)
    print_tables([comparison_table(runs, balanced=balanced), *([] if medians is None else [medians])], file)


def median_table(runs: Mapping[str, Metrics]) -> Table | None:
    """One row per run and one column per activity task: medians over neurons. None if no run has them.

    Args:
        runs: name -> its metrics, as `read_metrics` gives them. Tests of older versions have no medians.
    """
    if not any(key in metrics["mean"] for metrics in runs.values() for key in MEDIAN_KEYS):
        return None
    table = Table(
        title="Median over the neurons of a session, mean over sessions, in bits per spike. A few neurons cannot move "
        "it, as they can move the mean.",
        title_justify="left",
    )
    table.add_column("run", no_wrap=True)
    for key in BPS_KEYS:
        table.add_column(SHORT_TITLES[key], justify="right", no_wrap=True)
    for name, metrics in runs.items():
        cells = (metrics["mean"].get(key) for key in MEDIAN_KEYS)
        table.add_row(Text(name), *(ABSENT if value is None else f"{value:.2f}" for value in cells))
    return table


def paired_table(pairs: Mapping[str, Mapping[str, Paired]], reference: str) -> Table:
    """One row per run, one column per activity task: the difference from the reference, and how many sessions it wins.

    Args:
        pairs: name of each other run -> key of metrics.json -> the run beside the reference, as `pair` gives it.
        reference: name of the run that the others are compared with.
    """
    every = [paired for of_run in pairs.values() for paired in of_run.values()]
    title = (
        f"Minus {reference}, neurons that both score: difference in bits per spike [95 % interval], sessions won-lost."
    )
    table = Table(
        title=Text(title),  # a name may hold brackets, which rich would take for a style
        caption=" ".join(interval_notes(every)) or None,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("run", no_wrap=True)
    for name in ("sessions", "animals"):
        table.add_column(name, justify="right", no_wrap=True)
    for column in COLUMNS:
        if column.key in BPS_KEYS:
            table.add_column(column.title, justify="right", no_wrap=True)
    for name, of_run in pairs.items():
        most = max(of_run.values(), key=lambda paired: len(paired.sessions))
        counted = (str(len(most.sessions)), _count(most.n_animals))
        table.add_row(Text(name), *counted, *(Text(_paired_cell(of_run.get(key))) for key in BPS_KEYS))
    return table


INTERVALS: dict[Over, str] = {
    "animals": "The interval is over animals: it is about further animals like these.",
    "sessions": f"The interval is over sessions, for there are not {FEWEST} animals or their names are unknown: it is "
    "about further sessions of the same animals, and says nothing of other animals.",
    "trials": f"Fewer than {FEWEST} sessions: the interval is over test trials, which are resampled within each "
    "session. It is about these sessions only, and says nothing of other sessions or animals.",
    "neurons": f"Fewer than {FEWEST} sessions, and a run has no trials.h5, because an older version tested it: the "
    "interval is of the old kind, over neurons as if they were independent, and too narrow. Test the run again.",
}
"""what an interval is over -> the note on it"""


def interval_notes(pairs: Iterable[Paired]) -> list[str]:
    """What the intervals of these pairs are over, in sentences."""
    pairs = list(pairs)
    notes = [note for over, note in INTERVALS.items() if any(paired.over == over for paired in pairs)]
    if unpaired := dict.fromkeys(eid for paired in pairs for eid in paired.unpaired):
        notes.append(f"Tested on other trials in {', '.join(unpaired)}: there the runs' trials are resampled apart.")
    return notes


def spread_table(spreads: Mapping[str, Mapping[str, Spread]], *, balanced: bool = False) -> Table:
    """One row per entry of several runs: how much the means over sessions differ between the runs.

    Args:
        spreads: name of the entry -> key of metrics.json -> the spread of its runs.
        balanced: as for `comparison_table`.
    """
    columns = columns_of((key for of_entry in spreads.values() for key in of_entry), balanced=balanced)
    table = Table(
        title="Entries of several runs (seeds): their scores are averaged. Standard deviation of the runs' means.",
        caption="Intervals of differences are of the averages. They are not over seeds: hold a difference against this "
        "spread, too.",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("entry", no_wrap=True)
    table.add_column("runs", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for name, of_entry in spreads.items():
        n_runs = max((one.n for one in of_entry.values()), default=0)
        cells = (ABSENT if c.key not in of_entry else f"{of_entry[c.key].deviation:.3f}" for c in columns)
        table.add_row(Text(name), str(n_runs), *cells)
    return table


SPREAD_COLUMNS = ("run", "metric", "n_runs", "mean", "standard_deviation", "lowest", "highest")
"""of seeds.csv: of the runs' means over sessions"""


def spread_text(spreads: Mapping[str, Mapping[str, Spread]]) -> str:
    """The text of seeds.csv: one row per entry and metric. The arguments are those of `spread_table`."""
    rows = [(name, key, *one) for name, of_entry in spreads.items() for key, one in of_entry.items()]
    return table_text(SPREAD_COLUMNS, rows)


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
    *("reference", "run", "metric", "n_animals", "n_sessions", "n_neurons", "reference_mean", "run_mean"),
    *("difference", "low", "high", "interval_over", "sessions_won", "sessions_lost", "share"),
)
"""of comparison.csv: `low` and `high` are the ends of the interval of `difference`, and `interval_over` says what is
resampled or drawn from; `share` is of the ceiling"""


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
            counted = (paired.n_animals, len(paired.sessions), paired.n_neurons)
            share = share_of_ceiling(paired) if reference == ceiling else None
            won = (paired.over, paired.wins, paired.losses, share)
            rows.append([reference, run, key, *counted, *numbers, *won])
    return table_text(PAIRED_COLUMNS, rows)


def _print(table: Table, file: TextIO | None) -> None:
    console = Console(file=file or sys.stdout)
    if not console.is_terminal:
        console.width = PLAIN_WIDTH
        table.box = box.MARKDOWN
    console.print(table)


def _count(n: int | None) -> str:
    return ABSENT if n is None else str(n)


def _cell(means: Mapping[str, float], column: Column) -> str:
    if column.key not in means:
        return ABSENT
    chance = f" ({means[column.chance]:.2f})" if column.chance is not None and column.chance in means else ""
    return f"{means[column.key]:.2f}{chance}"


def _caption(runs: Mapping[str, Metrics]) -> str | None:
    if len({frozenset(metrics["sessions"]) for metrics in runs.values()}) > 1:
        return "These runs were tested on different sessions: do not compare their means."
    return None

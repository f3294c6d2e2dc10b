"""`neuromtm table`: every tested run of a folder, with what differs between the runs and its scores."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from neuromtm.errors import UserError
from neuromtm.evaluation.amounts import read_settings
from neuromtm.evaluation.results import METRICS_FILE, Metrics, read_metrics
from neuromtm.evaluation.sweep import GRID_FILE, GridRun, read_grid
from neuromtm.files import keep_previous, require_file, table_text, write_whole
from neuromtm.metrics.keys import columns_of
from neuromtm.report.options import SETTINGS, Option, options_of, varied
from neuromtm.report.tables import ABSENT, print_tables

OF_GRID = ("stage", "objective", "n_sessions", "seed", "animal")
"""columns of a sweep's grid that the table begins with"""
MOST_PRINTED = 8
"""so many of the options that differ are printed; the file has all"""
LONGEST_PRINTED = 40
"""letters of the longest value that is printed: a list of callbacks would push the scores off the screen"""


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Print and write one row per tested run.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of runs, at any depth; e.g. that of a sweep")
    parser.add_argument("--out", metavar="FILE", type=Path, help="CSV file to write (default: table.csv in the folder)")
    options = parser.parse_args(arguments)
    require_file("--out", options.out, suffix=".csv")
    if not options.folder.is_dir():
        raise UserError(f"{options.folder}: no such folder.")
    grid = {one.run: one for one in read_grid(options.folder)} if (options.folder / GRID_FILE).exists() else {}
    metrics, unreadable = _tested(options.folder)
    waiting = [run for run, one in grid.items() if run not in metrics and one.stage != "pretrain"]
    if not metrics:
        why = "; ".join(unreadable) or f"none holds a {METRICS_FILE}. Test them first, see neuromtm test --help"
        raise UserError(f"{options.folder}: no tested run in it: {why}.")
    settings = {run: options_of(options.folder / run) for run in metrics}
    of_grid = {run: _of_grid(grid.get(run)) for run in metrics} if grid else {}
    rows = {run: of_grid.get(run, {}) | settings[run] for run in metrics}
    names = [*(OF_GRID if grid else ()), *(differing := varied(settings.values()))]
    short = [
        name
        for name in differing
        if all(len(str(_text(row[name]))) <= LONGEST_PRINTED for row in rows.values() if name in row)
    ][:MOST_PRINTED]
    print_tables([_printed(rows, [name for name in names if name not in differing or name in short], metrics)])
    keys = list(dict.fromkeys(key for of_run in metrics.values() for key in of_run["mean"]))
    lines = [
        [run, *(_text(rows[run].get(name)) for name in names), len(found["sessions"]), *map(found["mean"].get, keys)]
        for run, found in metrics.items()
    ]
    if unprinted := [name for name in differing if name not in short]:
        print(f"{len(unprinted)} more options differ: {', '.join(unprinted)}.")
    path = options.out or options.folder / "table.csv"
    keep_previous(path)
    write_whole(path, table_text(["run", *names, "n_test_sessions", *keys], lines))
    for problem in unreadable:
        print(f"Not in the table: {problem}")
    if waiting:
        print(f"{len(waiting)} of {len(grid)} runs of {GRID_FILE} are not tested yet, e.g. {waiting[0]}.")
    print(f"Table: {path} ({len(metrics)} runs)")


def _tested(folder: Path) -> tuple[dict[str, Metrics], list[str]]:
    """Run directory, relative to the folder -> its results; and what is wrong with the results of others."""
    metrics, unreadable = {}, []
    for path in sorted(folder.rglob(METRICS_FILE)):
        try:
            found = read_metrics(path)
            for name in SETTINGS:  # a row without its options would be taken for one of the others
                read_settings(path.parent / name)
            metrics[path.parent.relative_to(folder).as_posix()] = found
        except UserError as error:
            unreadable.append(str(error))
    return metrics, unreadable


def _of_grid(one: GridRun | None) -> dict[str, Option]:
    return {} if one is None else {name: getattr(one, name) for name in OF_GRID}


def _text(value: Option | None) -> Option | None:
    return str(value).lower() if isinstance(value, bool) else value


def _printed(rows: dict[str, dict[str, Option]], names: Sequence[str], metrics: dict[str, Metrics]) -> Table:
    columns = columns_of(key for found in metrics.values() for key in found["mean"])
    columns = [column for column in columns if any(column.key in found["mean"] for found in metrics.values())]
    table = Table(title="Tested runs: what differs between them, and means over test sessions.", title_justify="left")
    table.add_column("run", no_wrap=True)
    for name in names:
        table.add_column(Text(name), overflow="fold")
    for column in columns:
        table.add_column(column.title, justify="right", no_wrap=True)
    for run, found in metrics.items():
        settings = [ABSENT if rows[run].get(name) in (None, "") else str(_text(rows[run][name])) for name in names]
        scores = [f"{found['mean'][c.key]:.3f}" if c.key in found["mean"] else ABSENT for c in columns]
        table.add_row(Text(run), *map(Text, settings), *scores)
    return table

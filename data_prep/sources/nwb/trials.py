"""The tables of intervals of an NWB file, and the trials that one of them holds."""

from collections.abc import Mapping
from dataclasses import fields

import numpy as np

from data_prep.recording import TrialTable
from data_prep.sources.nwb.fields import Expression
from data_prep.sources.nwb.hdf5 import NwbFile
from data_prep.sources.nwb.tables import NwbTable
from neuromtm.errors import SourceError

INTERVALS, TRIALS, SPLIT = "intervals", "trials", "split"
FIELDS = tuple(f.name for f in fields(TrialTable) if f.name not in ("columns", "split"))
"""what `--field` can name"""
NO_SPLIT = ("none", "nan")
"""the text of a trial that is in no split, besides the empty one"""


def interval_tables(nwb: NwbFile) -> list[str]:
    """The names of all tables of intervals, sorted."""
    found = nwb.group(INTERVALS)
    return [] if found is None else sorted(found)


def trials_of_table(nwb: NwbFile, name: str, *, mapped: Mapping[str, Expression], split: str) -> tuple[TrialTable, str]:
    """The trials of a table of intervals, and a note on the columns that are left out.

    Every column of numbers or texts is kept under its own name; one with some numbers in a row as `NAME[0]`, `NAME[1]`.

    Args:
        nwb: the open file.
        name: of the table.
        mapped: field of `TrialTable` -> where its values are.
        split: column with the splits of the source; there need not be one.

    Raises:
        SourceError: if there is no such table or column; the message lists those there.
    """
    if nwb.group(f"{INTERVALS}/{name}") is None:
        there = ", ".join(interval_tables(nwb)) or "none"
        raise SourceError(
            f"has no table of intervals {name}. There are: {there}. Name one by --trials-table, or give --continuous."
        )
    table = NwbTable(nwb, f"{INTERVALS}/{name}")
    columns: dict[str, np.ndarray] = {}
    for column in table.names_of("numbers", "texts", "parts"):
        if table.kind(column) == "parts":
            columns |= {f"{column}[{part}]": values for part, values in enumerate(table.numbers(column).T)}
        else:
            columns[column] = table.values(column)
    given = columns.pop(split, None) if split in table.names_of("texts") else None
    left_out = [column for column in table.names if table.kind(column) in ("ragged", "references", "other")]
    fields_there = {field: expression.numbers(table) for field, expression in mapped.items()}
    for field in {"choice", "feedback_type"} & {*fields_there}:
        _require_signs(field, fields_there[field], mapped[field])
    trials = TrialTable(
        columns=columns,
        split=None if given is None else np.where(np.isin(np.char.lower(given), NO_SPLIT), "", given),
        **fields_there,
    )
    notes = []
    if left_out:
        notes.append(f"columns of {name} that are no single number or text are left out: {', '.join(left_out)}")
    if split in columns and split != SPLIT:
        raise SourceError(f"--split-column {split}: it holds numbers. The splits are the texts train, val and test.")
    if split in columns:
        notes.append(f"the column {split} of {name} holds numbers, so it gives no splits; write train, val and test")
    return trials, "; ".join(notes)


def _require_signs(field: str, values: np.ndarray, column: Expression) -> None:
    known = np.unique(values[np.isfinite(values)])
    if len(wrong := np.setdiff1d(known, (-1, 0, 1))):
        raise SourceError(
            f"--field {field}={column} has the value {wrong[0]:g}, but it must be -1 or +1, and 0 where it is unknown. "
            f"Say what each value stands for, e.g. --field {field}={column.column}:{wrong[0]:g}=1."
        )


def describe_table(nwb: NwbFile, name: str) -> list[str]:
    """Lines on a table of intervals and each of its columns with its range."""
    table = NwbTable(nwb, f"{INTERVALS}/{name}")
    lines = [f"table     {name}: {table.n_rows} rows"]
    return lines + [f"  column  {column}: {range_text(table, column)}" for column in table.names]


def range_text(table: NwbTable, column: str) -> str:
    """What a column holds, in words."""
    kind = table.kind(column)
    if kind == "numbers":
        return span(table.numbers(column))
    if kind == "texts":
        names, times = np.unique(table.texts(column), return_counts=True)
        if len(names) > 8:
            return f"{len(names)} different texts, e.g. {names[0] or 'an empty one'}"
        return ", ".join(f"{name or '(empty)'} {n}" for name, n in zip(names, times, strict=True))
    if kind == "parts":
        return ", ".join(f"[{part}] {span(values)}" for part, values in enumerate(table.numbers(column).T))
    return {"ragged": "several values a row", "references": "references"}.get(kind, "not read")


def span(values: np.ndarray) -> str:
    """The range of numbers in words."""
    known = values[np.isfinite(values)]
    if not len(known):
        return "no number"
    missing = values.size - len(known)
    return f"{known.min():.10g} to {known.max():.10g}" + (f", missing in {missing}" if missing else "")

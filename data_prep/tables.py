"""Read a user's tables: CSV files of any program, with commas, semicolons or tabs between the fields."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from data_prep.texts import near_name
from neuromtm.errors import SourceError
from neuromtm.regular_files import regular_text

SEPARATORS = (",", ";", "\t")
NOTHING = ("", "nan", "na", "n/a", "none", "null", "nat", "<na>")
"""cells without a value, in lower case"""
BOOLEANS = {"true": "1", "false": "0"}
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")


def read_text_table(
    path: Path, *, needs: Sequence[str] = (), known: Sequence[str] = (), may_be_empty: bool = False
) -> dict[str, list[str]]:
    """Column -> the text of its cells, as they are in the file.

    Args:
        path: of a CSV file with a line of names; UTF-8, with or without a byte order mark.
        needs: columns that must be there.
        known: further columns that mean something; a name that is nearly one of them, or of `needs`, is refused.
        may_be_empty: whether a table without rows is one, too.

    Raises:
        SourceError: if the file is no such table; one sentence.
    """
    try:
        text = regular_text(path, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SourceError(f"{path.name}: is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except OSError as error:
        raise SourceError(f"{path.name}: cannot be read ({error.strerror}).") from error
    first = text.partition("\n")[0]
    separator = max(SEPARATORS, key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except csv.Error as error:
        raise SourceError(f"{path.name}: is no CSV table ({error}).") from error
    if len(rows) < (1 if may_be_empty else 2):
        raise SourceError(f"{path.name}: has no rows under a line of column names.")
    names = [name.strip() for name in rows[0]]
    if "" in names or len(set(names)) != len(names):
        raise SourceError(f"{path.name}: its columns are {', '.join(map(repr, names))}. Give each a name of its own.")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(names):
            raise SourceError(f"{path.name}: row {number} has {len(row)} fields, but there are {len(names)} columns.")
    if near := near_name(names, (*needs, *known)):
        raise SourceError(f"{path.name}: has {near[0]!r}; did you mean {near[1]!r}? Otherwise give it another name.")
    if missing := [name for name in needs if name not in names]:
        raise SourceError(f"{path.name}: has no column {', '.join(missing)}. It has: {', '.join(names)}.")
    return {name: [cell.strip() for cell in cells] for name, *cells in zip(names, *rows[1:], strict=True)}


def as_values(table: str, name: str, cells: Sequence[str]) -> np.ndarray:
    """A column as float64, NaN where it is empty; as text if it is no column of numbers.

    Args:
        table: name of the file, for the message.
        name: of the column.
        cells: text of each row.

    Raises:
        SourceError: if only some cells are numbers, or decimals have commas.
    """
    numbers = [np.nan if cell.lower() in NOTHING else _number(cell) for cell in cells]
    bad = [(row, cell) for row, (cell, number) in enumerate(zip(cells, numbers, strict=True), 2) if number is None]
    if not bad:
        return np.array(numbers, np.float64)
    if all(DECIMAL_COMMA.fullmatch(cell) for _, cell in bad):
        raise SourceError(f"{table}: the column {name} has decimal commas. Write points, e.g. 1.5.")
    if len(bad) < sum(number is not None and not np.isnan(number) for number in numbers):
        row, cell = bad[0]
        raise SourceError(f"{table}: row {row}, column {name}: {cell!r} is not a number, as most others are.")
    return np.array(cells, dtype=str)


def as_numbers(table: str, columns: Mapping[str, Sequence[str]], name: str) -> np.ndarray:
    """A column that must be of numbers, float64.

    Raises:
        SourceError: if it is text.
    """
    values = as_values(table, name, columns[name])
    if values.dtype.kind != "f":
        raise SourceError(f"{table}: the column {name} is not of numbers, e.g. {str(values[0])!r}.")
    return values


def as_booleans(table: str, columns: Mapping[str, Sequence[str]], name: str) -> np.ndarray:
    """A column that must be true or false in every row, bool.

    Raises:
        SourceError: if a cell is neither.
    """
    numbers = [_number(cell) for cell in columns[name]]
    for row, (cell, number) in enumerate(zip(columns[name], numbers, strict=True), 2):
        if number not in (0, 1):
            raise SourceError(f"{table}: row {row}, {name} must be true or false (or 1 or 0), not {cell!r}.")
    return np.array(numbers) == 1


def _number(cell: str) -> float | None:
    if "_" in cell:  # Python takes 1_000 for a number
        return None
    try:
        return float(BOOLEANS.get(cell.lower(), cell))
    except ValueError:
        return None

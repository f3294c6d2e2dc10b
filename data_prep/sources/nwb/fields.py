"""What the user says of columns: `COLUMN`, which of its rows, and what its values stand for."""

import re
from dataclasses import dataclass

import numpy as np

from data_prep.sources.nwb.tables import NwbTable
from neuromtm.errors import ConfigError, SourceError

FORM = "COLUMN[OTHER=VALUE]*FACTOR:VALUE=NUMBER,..."
MOST_NAMED = 8


@dataclass(frozen=True, kw_only=True)
class Expression:
    """A column of numbers, made of a column of a table.

    `contrast[side=left]*0.01` is the column `contrast` times 0.01 in the rows whose `side` is `left`, and NaN in all
    others; `choice:left=-1,right=1` is -1 and 1 where the column `choice` says left and right.
    """

    column: str
    where: tuple[str, str] | None = None
    factor: float = 1.0
    meaning: tuple[tuple[str, float], ...] = ()
    text: str = ""
    """as the user gave it"""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str, *, option: str) -> "Expression":
        """Read an expression.

        Args:
            text: as the user gave it.
            option: for the message.

        Raises:
            ConfigError: if it has another form.
        """
        head, colon, tail = text.partition(":")
        found = re.fullmatch(r"([^\[\]*=]+(?:\[\d+\])?)(?:\[([^=\]]+)=([^\]]*)\])?(?:\*([^*]+))?", head)
        try:
            if found is None:
                raise ValueError
            meaning = tuple(_pair(part) for part in tail.split(",")) if colon else ()
            factor = float(found[4]) if found[4] else 1.0
        except ValueError as error:
            raise ConfigError(f"{option} {text}: must be {FORM}; all but COLUMN may be left out.") from error
        where = (found[2].strip(), found[3].strip()) if found[2] else None
        return cls(column=found[1].strip(), where=where, factor=factor, meaning=meaning, text=text)

    def numbers(self, table: NwbTable) -> np.ndarray:
        """(row,) float64.

        Raises:
            SourceError: if the table lacks a column, or a text has no number.
        """
        values = part_of(table, self.column)
        values = self._meant(values, table) if self.meaning else values
        if values.dtype.kind != "f":
            raise SourceError(
                f"the column {self.column} of {table.path} holds texts ({_some(values)}). Say which number each stands "
                f"for, e.g. {self.column}:{values[0]}=1"
            )
        values = values * self.factor
        if self.where is None:
            return values
        other = table.values(self.where[0])
        here = _is(other, self.where[1])
        if not here.any():
            raise SourceError(
                f"no row of {table.path} has {self.where[1]} in the column {self.where[0]}. It has: {_some(other)}."
            )
        return np.where(here, values, np.nan)

    def _meant(self, values: np.ndarray, table: NwbTable) -> np.ndarray:
        numbers, known = np.full(len(values), np.nan), np.zeros(len(values), bool)
        for key, number in self.meaning:
            here = _is(values, key)
            numbers[here], known[here] = number, True
        missing = np.isnan(values) if values.dtype.kind == "f" else values == ""
        if (left := values[~known & ~missing]).size:
            raise SourceError(
                f"the column {self.column} of {table.path} also has {_some(left)}. Say what each value stands for."
            )
        return numbers


def part_of(table: NwbTable, name: str) -> np.ndarray:
    """(row,) values of a column, or of one part of it: `position[1]` is the second number of each row.

    Raises:
        SourceError: if there is none.
    """
    found = re.fullmatch(r"(.+)\[(\d+)\]", name)
    if name in table.columns or found is None or found[1] not in table.columns:
        return table.values(name)
    if table.kind(found[1]) != "parts":
        raise SourceError(f"the column {found[1]} of {table.path} has no parts.")
    parts = table.numbers(found[1])
    if int(found[2]) >= parts.shape[1]:
        raise SourceError(f"the column {found[1]} of {table.path} has {parts.shape[1]} parts, counted from 0.")
    return parts[:, int(found[2])]


def _pair(text: str) -> tuple[str, float]:
    key, equals, number = text.partition("=")
    if not equals:
        raise ValueError
    return key.strip(), float(number)


def _is(values: np.ndarray, key: str) -> np.ndarray:
    """(row,) bool: whether a value is the one that the user wrote."""
    if values.dtype.kind != "f":
        return values == key
    word = {"true": "1", "false": "0"}.get(key.lower(), key)
    try:
        return values == float(word)
    except ValueError:
        return np.zeros(len(values), bool)


def _some(values: np.ndarray) -> str:
    different = np.unique(values)
    shown = ", ".join(f"{v:g}" if values.dtype.kind == "f" else str(v) for v in different[:MOST_NAMED])
    return shown + (", ..." if len(different) > MOST_NAMED else "")

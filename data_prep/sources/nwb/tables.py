"""The tables of an NWB file: columns of equal length, some of them ragged."""

from typing import Literal, NamedTuple

import h5py
import numpy as np

from data_prep.sources.nwb.hdf5 import NwbFile, holds_text, is_numeric
from neuromtm.errors import SourceError

MOST_PARTS = 16
"""a column with more numbers a row is no property of a trial or neuron, e.g. a waveform"""

Kind = Literal["numbers", "texts", "parts", "ragged", "references", "other"]
"""what a column holds in a row: a number, a text, some numbers, as many values as it likes, a reference to an object"""


class Ragged(NamedTuple):
    """A column with as many values a row as it likes."""

    values: np.ndarray
    """(value, ...) of all rows, one after the other"""
    sizes: np.ndarray
    """(row,) number of values of each row"""

    @property
    def row(self) -> np.ndarray:
        """(value,) number of the row of each value."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


class NwbTable:
    """A table of the file.

    Args:
        nwb: the open file.
        path: of the table.

    Raises:
        SourceError: if the file has no such table, or the table has no rows.
    """

    def __init__(self, nwb: NwbFile, path: str):
        self.nwb, self.path = nwb, path
        group = nwb.group(path)
        if group is None:
            raise SourceError(f"has no {path}.")
        self.columns = {
            name: node for name in _names(nwb, group) if (node := nwb.dataset(f"{path}/{name}")) is not None
        }
        ids = nwb.dataset(f"{path}/id")
        if ids is not None:
            self.ids = nwb.numbers(ids).ravel()
        else:
            self.ids = np.arange(max((node.shape[0] for node in self.columns.values() if node.shape), default=0))
        if not len(self.ids):
            raise SourceError(f"{path} has no rows.")

    @property
    def n_rows(self) -> int:
        return len(self.ids)

    @property
    def names(self) -> list[str]:
        return list(self.columns)

    def kind(self, name: str) -> Kind:
        """What a column holds."""
        node = self.columns[name]
        if self.nwb.dataset(f"{self.path}/{name}_index") is not None:
            return "ragged"
        if h5py.check_ref_dtype(node.dtype) is h5py.Reference:
            return "references"
        width = int(np.prod(node.shape[1:])) if node.shape else 0
        if holds_text(node) and width == 1:
            return "texts"
        if is_numeric(node) and width == 1:
            return "numbers"
        if is_numeric(node) and len(node.shape) == 2 and 1 < width <= MOST_PARTS:
            return "parts"
        return "other"

    def names_of(self, *kinds: Kind) -> list[str]:
        """The columns of some kinds, in their order."""
        return [name for name in self.columns if self.kind(name) in kinds]

    def numbers(self, name: str) -> np.ndarray:
        """(row,) float64 values of a column of numbers, or (row, part) of one of parts.

        Raises:
            SourceError: if the column holds something else.
        """
        if not is_numeric(self.columns[name]):
            raise SourceError(f"the column {name} of {self.path} holds no numbers.")
        values = np.asarray(self.nwb.numbers(self.columns[name]), np.float64)
        self._require_rows(name, len(values))
        return values if self.kind(name) == "parts" else values.reshape(len(values))

    def texts(self, name: str) -> np.ndarray:
        """(row,) str values of a column of texts."""
        values = np.char.strip(self.nwb.texts(self.columns[name]))
        self._require_rows(name, len(values))
        return values.reshape(len(values))

    def values(self, name: str) -> np.ndarray:
        """(row,) values of a column of numbers or of texts.

        Raises:
            SourceError: if the column holds something else, or the table has no such column.
        """
        self.require(name)
        kind = self.kind(name)
        if kind not in ("numbers", "texts"):
            raise SourceError(f"the column {name} of {self.path} has no single number or text in a row.")
        return self.numbers(name) if kind == "numbers" else self.texts(name)

    def require(self, name: str) -> None:
        """Refuse the name of a column that is not there.

        Raises:
            SourceError: that lists those there.
        """
        if name not in self.columns:
            raise SourceError(f"{self.path} has no column {name}. It has: {', '.join(self.names) or 'none'}.")

    def require_rows(self, name: str) -> None:
        """Refuse a column that has not one row for each row of the table.

        Raises:
            SourceError: naming both numbers.
        """
        if self.kind(name) != "ragged":
            self._require_rows(name, next(iter(self.columns[name].shape or ()), 0))

    def ragged(self, name: str) -> Ragged:
        """A ragged column.

        Raises:
            SourceError: if the index of the rows does not fit the values.
        """
        node, index = self.columns[name], self.nwb.dataset(f"{self.path}/{name}_index")
        what = f"{self.path}/{name}_index"
        if index is None:
            raise SourceError(f"has no {what}, so nothing tells which values belong to which row.")
        ends = self.nwb.numbers(index).ravel()
        if ends.dtype.kind not in "iu":
            raise SourceError(f"{what} must be whole numbers.")
        self._require_rows(f"{name}_index", len(ends))
        n_values = node.shape[0] if node.shape else 0
        ends = ends.astype(np.int64)
        sizes = np.diff(ends, prepend=0)
        if (ends < 0).any() or (ends > n_values).any():
            wrong = ends[(ends < 0) | (ends > n_values)][0]
            raise SourceError(f"{what} is out of range: it points to value {wrong} of {n_values}.")
        if (sizes < 0).any():
            raise SourceError(f"{what} decreases at row {int(np.flatnonzero(sizes < 0)[0])}: it must increase.")
        if ends[-1] != n_values:
            raise SourceError(
                f"{what} ends at {ends[-1]}, so {n_values - ends[-1]} of {n_values} values are of no row."
            )
        return Ragged(self.nwb.numbers(node), sizes)

    def referred(self, name: str) -> list[h5py.Group | h5py.Dataset]:
        """(row,) objects that a column of references leads to."""
        references = self.nwb.numbers(self.columns[name]).ravel()
        self._require_rows(name, len(references))
        return [self.nwb.target(reference, f"{self.path}/{name}") for reference in references]

    def _require_rows(self, name: str, n_values: int) -> None:
        if n_values != self.n_rows:
            raise SourceError(f"{self.path}/{name} has {n_values} values, but the table has {self.n_rows} rows.")


def _names(nwb: NwbFile, group: h5py.Group) -> list[str]:
    """The columns in the order that the table says, then those that it does not name; without the indices of rows."""
    said = np.atleast_1d(nwb.attribute(group, "colnames", ())).tolist()
    said = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in said]
    there = {*group}
    ordered = [*dict.fromkeys(name for name in said if name in there), *sorted(there - {*said})]
    return [name for name in ordered if name != "id" and not (name.endswith("_index") and name[:-6] in there)]

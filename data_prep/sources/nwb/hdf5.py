"""Read an NWB 2 file by h5py. Nothing is read that lies in another file, and every fault is one sentence."""

import math
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.errors import SourceError
from neuromtm.regular_files import require_regular

Node = h5py.Group | h5py.Dataset

HARD, SOFT, EXTERNAL = 0, 1, 64
"""kinds of links, HDF5's own numbers of them"""
MOST_LINKS = 16
"""links that lead to links, until they are taken for a circle"""
MANY = 10_000_000
"""values for which the memory is asked before they are read"""
NUMBERS_BYTES = 40
"""of a spike or sample while it is read, sorted and copied"""
FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
"""what h5py raises on a damaged file"""


@contextmanager
def open_nwb(path: Path) -> Generator["NwbFile"]:
    """Open a file, and put its path before every message of the block.

    Raises:
        SourceError: if the file is damaged, no HDF5 file, or no NWB file of version 2.
    """
    try:
        with h5py.File(require_regular(path), "r", locking=False) as file:
            _require_version_2(file)
            yield NwbFile(file)
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    except OSError as error:  # of the opening: the block's own reads raise a SourceError
        raise SourceError(f"{path}: {_why_not(path, error)}") from error


def _why_not(path: Path, error: OSError) -> str:
    if "truncated" in str(error):
        return "is cut off: the file is shorter than it says. Download or copy it again."
    if error.errno is None and not h5py.is_hdf5(path):
        return "is no HDF5 file, so no NWB file (those that are stored as Zarr are not read)."
    return f"cannot be opened ({error.strerror or error})."


def _require_version_2(file: h5py.File) -> None:
    version = file.attrs.get("nwb_version")
    if version is None and "nwb_version" in file:
        raise SourceError("is of NWB 1. Convert it to NWB 2, or look for a newer version of its dandiset.")
    if version is None:
        raise SourceError("has no nwb_version: it is HDF5, but no NWB file.")
    version = version.decode(errors="replace") if isinstance(version, bytes) else str(version)
    if not re.fullmatch(r"(NWB-)?2\.\d+(\.\d+.*)?", version):
        raise SourceError(f"is of NWB {version}. Only the releases of NWB 2 are read (2.0.0 and later): convert it.")


class NwbFile:
    """An open file. Paths are given from its root, without a slash first."""

    def __init__(self, file: h5py.File):
        self.file = file

    def find(self, path: str) -> Node | None:
        """The group or dataset of a path; None if there is none.

        Raises:
            SourceError: if it lies in another file, or cannot be opened.
        """
        return self._walk(self.file, path, links_left=MOST_LINKS)

    def group(self, path: str) -> h5py.Group | None:
        """As `find`, but only a group."""
        found = self.find(path)
        return found if isinstance(found, h5py.Group) else None

    def dataset(self, path: str) -> h5py.Dataset | None:
        """As `find`, but only a dataset."""
        found = self.find(path)
        return found if isinstance(found, h5py.Dataset) else None

    def groups_below(self, path: str) -> Iterator[tuple[str, h5py.Group]]:
        """Path and group of every group below one, each once: links are not followed."""
        top = self.group(path)
        if top is None:
            return
        waiting = [(path, top)]
        while waiting:
            place, group = waiting.pop()
            if place != path:
                yield place, group
            links = group.id.links
            for name in sorted(group, reverse=True):
                if links.get_info(name.encode()).type == HARD and self._is_group(group, name):
                    waiting.append((f"{place}/{name}", group[name]))

    def numbers(self, node: h5py.Dataset, column: int | None = None) -> np.ndarray:
        """The values of a dataset, or one of its columns, as they are stored.

        Raises:
            SourceError: if they cannot be read.
        """
        if node.shape is None:
            return np.empty(0)
        require_values_fit(node, node.size if column is None else node.shape[0])
        try:
            return np.asarray(node[...] if column is None else node[:, column])
        except FAULTS as error:
            raise _unreadable(_name(node), error) from error

    def first(self, node: h5py.Dataset, n_rows: int) -> np.ndarray:
        """The values of the first rows of a dataset.

        Raises:
            SourceError: if they cannot be read.
        """
        try:
            return np.asarray(node[:n_rows])
        except FAULTS as error:
            raise _unreadable(_name(node), error) from error

    def texts(self, node: h5py.Dataset) -> np.ndarray:
        """The texts of a dataset, as str.

        Raises:
            SourceError: if they cannot be read.
        """
        if node.shape is None:
            return np.empty(0, dtype="U1")
        require_values_fit(node, node.size)
        try:
            return np.asarray(node.asstr(errors="replace")[...], dtype=str)
        except FAULTS as error:
            raise _unreadable(_name(node), error) from error

    def text(self, path: str) -> str:
        """A text that stands alone, e.g. a name; empty if the file has none."""
        node = self.dataset(path)
        if node is None or not holds_text(node):
            return ""
        found = self.texts(node).ravel()
        return str(found[0]).strip() if len(found) else ""

    def attribute(self, node: Node, name: str, default: Any = None) -> Any:
        """An attribute of a group or dataset; texts are str.

        Raises:
            SourceError: if it cannot be read.
        """
        try:
            value = node.attrs.get(name, default)
        except FAULTS as error:
            raise _unreadable(f"the attribute {name} of {_name(node)}", error) from error
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    def target(self, reference: h5py.Reference, where: str) -> Node:
        """What a reference to an object of the file leads to.

        Args:
            reference: as it is stored.
            where: what holds it, for the message.

        Raises:
            SourceError: if it leads nowhere.
        """
        try:
            found = self.file[reference] if reference else None
        except FAULTS:
            found = None
        # an object that was deleted opens, but has no name any more
        if found is None or found.name is None:
            raise SourceError(f"{where} refers to an object that is not in the file. The file is damaged.")
        _require_inside(found, _name(found))
        return found

    def _walk(self, start: h5py.Group, path: str, *, links_left: int) -> Node | None:
        node: Node = start
        for name in filter(lambda part: part not in ("", "."), path.split("/")):
            if not isinstance(node, h5py.Group):
                return None
            found = self._member(node, name, links_left)
            if found is None:
                return None
            node = found
        return node

    def _member(self, group: h5py.Group, name: str, links_left: int) -> Node | None:
        links, key = group.id.links, name.encode()
        if not links.exists(key):
            return None
        where = f"{_name(group)}/{name}".lstrip("/")
        kind = links.get_info(key).type
        if kind == HARD:
            return self._open(group, name)
        if kind != SOFT:
            target = links.get_val(key)[0].decode(errors="replace") if kind == EXTERNAL else "elsewhere"
            raise SourceError(f"{where} is a link to another file ({target}). Copy what it holds into this file.")
        target = links.get_val(key).decode(errors="replace")
        begin = self.file if target.startswith("/") else group
        found = self._walk(begin, target, links_left=links_left - 1) if links_left else None
        if found is None:
            raise SourceError(f"{where} is a link to {target}, which is not in the file. The file is damaged.")
        return found

    def _is_group(self, group: h5py.Group, name: str) -> bool:
        try:
            return group.get(name, getclass=True) is h5py.Group
        except FAULTS as error:
            raise _unreadable(f"{_name(group)}/{name}", error) from error

    def _open(self, group: h5py.Group, name: str) -> Node:
        where = f"{_name(group)}/{name}".lstrip("/")
        try:
            found = group[name]
        except FAULTS as error:
            raise _unreadable(where, error) from error
        _require_inside(found, where)
        return found


def _require_inside(node: Node, where: str) -> None:
    """Refuse a dataset that is a view of other files, or lies in one."""
    try:
        outside = isinstance(node, h5py.Dataset) and (
            node.external or (node.is_virtual and any(s.file_name != "." for s in node.virtual_sources()))
        )
    except FAULTS as error:
        raise _unreadable(where, error) from error
    if outside:
        raise SourceError(f"{where} has its values in another file. Copy them into this file.")


def require_values_fit(node: h5py.Dataset, n_entries: int) -> None:
    """Refuse values that do not fit into memory, before any is read.

    Args:
        node: the dataset.
        n_entries: entries that will be read.

    Raises:
        SourceError: if they would not.
    """
    chunk_bytes = math.prod(node.chunks or ()) * node.dtype.itemsize  # a chunk is read whole
    if n_entries <= MANY and chunk_bytes <= MANY * NUMBERS_BYTES:
        return
    free, needed = free_host_memory(), max(NUMBERS_BYTES * n_entries, chunk_bytes)
    if needed > free:
        raise SourceError(
            f"{_name(node)} has {n_entries} values, which take {size_text(needed)} of memory to read, but "
            f"{size_text(free)} are free."
        )


def holds_text(node: h5py.Dataset) -> bool:
    """Whether a dataset holds texts."""
    return h5py.check_string_dtype(node.dtype) is not None


def is_numeric(node: h5py.Dataset) -> bool:
    """Whether a dataset holds numbers, or true and false."""
    return node.dtype.kind in "iufb"


def _name(node: Node) -> str:
    return (node.name or "an object without a name").lstrip("/")


def _unreadable(what: str, error: Exception) -> SourceError:
    reason = "there is not enough memory" if isinstance(error, MemoryError) else str(error).strip("'\"")
    return SourceError(f"{what} cannot be read ({reason}). The file may be damaged.")

"""HDF5 files that are written to a disk that may be full, or that come from anybody."""

import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py

MOST_EXPANSION = 1100
"""times that the best compression of HDF5 makes values smaller"""
HARD_LINK = 0
"""HDF5's own number of a name that is no link"""
SMALL_BYTES, LARGEST_CHUNK_BYTES = 2**20, 2**30


@contextmanager
def new_hdf5(path: Path) -> Generator["h5py.File"]:
    """Give a new HDF5 file to write into. A disk that is full is one error, at the end.

    The HDF5 library cannot close a file that it cannot write: it crashes. So it is told that all is well, and what the
    system said is raised after it has closed the file.

    Args:
        path: it is overwritten.

    Raises:
        OSError: if the file could not be written.
    """
    import h5py

    with path.open("w+b", buffering=0) as raw:
        kept = _KeepsTheError(raw.fileno())
        try:
            with h5py.File(kept, "w", locking=False) as file:
                yield file
        except Exception as error:
            if kept.error is not None:  # what was not written could not be read again
                raise kept.error from error
            raise
        if kept.error is not None:
            raise kept.error


class _KeepsTheError:
    """What h5py needs of an open file. After the first error it writes nothing more."""

    def __init__(self, descriptor: int):
        self.error: OSError | None = None
        self._descriptor, self._place, self._size = descriptor, 0, 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        return self._place

    def write(self, data: memoryview) -> int:
        n_bytes, done = len(data), 0
        while self.error is None and done < n_bytes:
            try:
                done += os.pwrite(self._descriptor, data[done:], self._place + done)
            except OSError as error:
                self.error = error
        self._place += n_bytes
        self._size = max(self._size, self._place)
        return n_bytes

    def read(self, n_bytes: int) -> bytes:
        found = os.pread(self._descriptor, n_bytes, self._place)
        self._place += n_bytes
        return found.ljust(n_bytes, b"\0")  # that was never written

    def readinto(self, buffer: memoryview) -> int:
        buffer[:] = self.read(len(buffer))
        return len(buffer)

    def truncate(self, size: int) -> int:
        if self.error is None:
            try:
                os.ftruncate(self._descriptor, size)
            except OSError as error:
                self.error = error
        self._size = size
        return size

    def flush(self) -> None:
        pass


def require_plain(file: "h5py.File") -> None:
    """Refuse a small HDF5 file of which a part lies elsewhere, or says that it is far larger than what is there.

    Args:
        file: all its groups and datasets are looked at.

    Raises:
        ValueError: naming the part.
    """
    import h5py

    def look(group: "h5py.h5g.GroupID", before: str) -> None:
        for name in group:
            path = f"{before}{name.decode()}"
            require_no_link(group, name, path)
            item = h5py.h5o.open(group, name)  # ty: ignore[missing-attribute]  # a submodule without stubs
            if isinstance(item, h5py.h5g.GroupID):
                look(item, f"{path}/")
            elif isinstance(item, h5py.h5d.DatasetID):
                require_own_values(item, path)

    look(h5py.h5g.open(file.id, b"/"), "")


def require_no_link(group: "h5py.h5g.GroupID", name: bytes, path: str) -> None:
    """Refuse a name that leads to another place, e.g. to another file.

    Raises:
        ValueError: naming its path.
    """
    if group.links.get_info(name).type != HARD_LINK:
        raise ValueError(f"{path} is a link to another place, which is not followed")


def require_own_values(dataset: "h5py.h5d.DatasetID", path: str) -> None:
    """Refuse what lies in another file, and what would take far more memory than the file has bytes.

    Raises:
        ValueError: naming its path.
    """
    import h5py

    known = dataset.get_create_plist()
    if known.get_external_count() or known.get_layout() == h5py.h5d.VIRTUAL:
        raise ValueError(f"{path} has its values elsewhere, which are not read")
    item_bytes, stored_bytes = dataset.dtype.itemsize, dataset.get_storage_size()
    declared_bytes = math.prod(dataset.shape) * item_bytes
    if declared_bytes > MOST_EXPANSION * stored_bytes + SMALL_BYTES:
        raise ValueError(
            f"{path} says that it has {declared_bytes:,} bytes of values, of which the file has {stored_bytes:,}"
        )
    if known.get_layout() == h5py.h5d.CHUNKED and math.prod(known.get_chunk()) * item_bytes > LARGEST_CHUNK_BYTES:
        raise ValueError(f"{path} has chunks of more than {LARGEST_CHUNK_BYTES:,} bytes")

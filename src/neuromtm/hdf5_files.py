"""HDF5 files that are written to a disk that may be full."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import h5py


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

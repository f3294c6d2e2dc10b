"""Read a session of BrainWideBench: an HDF5 file in the layout of `temporaldata`. Nothing is taken from other files."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.errors import SourceError
from neuromtm.regular_files import require_regular

FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError)
"""what h5py raises on a damaged file"""
LITTLE_BYTES = 10**8
"""for which the memory is not asked"""


class SessionFile:
    """An open file of the benchmark.

    Args:
        path: of the file.
        file: as h5py opened it.
    """

    def __init__(self, path: Path, file: h5py.File):
        self.path, self.file = path, file

    def __contains__(self, place: str) -> bool:
        return self._find(place) is not None

    def _find(self, place: str) -> h5py.Group | h5py.Dataset | None:
        """What is at a path of names; None if nothing is.

        Raises:
            SourceError: if a link on the way leads elsewhere: a benchmark's file has none, and one of another file
                would be read without a word.
        """
        found = self.file
        for name in place.split("/"):
            link = found.get(name, getlink=True) if isinstance(found, h5py.Group) else None
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise SourceError(f"{self.path}: {place} is a link to another place, which is not followed.")
            try:
                found = found[name]
                outside = isinstance(found, h5py.Dataset) and (found.external or found.is_virtual)
            except FAULTS as error:
                raise self._unreadable(place, error) from error
            if outside:
                raise SourceError(f"{self.path}: {place} has its values in another place, which is not followed.")
        return found

    def _unreadable(self, place: str, error: Exception) -> SourceError:
        return SourceError(f"{self.path}: {place} cannot be read, perhaps the file is damaged ({error}).")

    def _require_plain(self, found: h5py.Dataset, place: str) -> None:
        chunk_bytes = math.prod(found.chunks or ()) * found.dtype.itemsize  # a chunk is read whole
        needed, free = max((found.size or 0) * found.dtype.itemsize, chunk_bytes), free_host_memory()
        if needed > LITTLE_BYTES and needed > free:
            raise SourceError(
                f"{self.path}: {place} takes {size_text(needed)} of memory to read, but {size_text(free)} are free."
            )

    def values(self, place: str, *, n: int | None = None) -> np.ndarray:
        """(value,) all values of a data set; texts as str.

        Args:
            place: of the data set.
            n: how many there must be; None for any number.

        Raises:
            SourceError: if there is no such data set, or it has another shape.
        """
        found = self._find(place)
        if not isinstance(found, h5py.Dataset):
            raise SourceError(f"{self.path}: has no {place}. Is it a session of BrainWideBench, and whole?")
        if found.shape is None or len(found.shape) != 1 or n not in (None, found.shape[0]):
            expected = "one value after the other" if n is None else f"{n} values"
            raise SourceError(f"{self.path}: {place} has the shape {found.shape}, not {expected}.")
        self._require_plain(found, place)
        try:
            values = found[()]
        except FAULTS as error:
            raise self._unreadable(place, error) from error
        if values.dtype.kind in "SO":
            texts = [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in values]
            values = np.array(texts, dtype=str)
        return values

    def texts(self, place: str, *, n: int | None = None) -> np.ndarray:
        """(value,) all values of a data set of texts; arguments and errors as of `values`.

        Raises:
            SourceError: if it holds no texts.
        """
        values = self.values(place, n=n)
        if values.dtype.kind != "U":
            raise SourceError(f"{self.path}: {place} holds {values.dtype}, not texts.")
        return values

    def numbers(self, place: str, *, n: int | None = None) -> np.ndarray:
        """(value,) all values of a data set, as float64; arguments and errors as of `values`.

        Raises:
            SourceError: if it holds no numbers.
        """
        values = self.values(place, n=n)
        if values.dtype.kind not in "iufb":
            raise SourceError(f"{self.path}: {place} holds {values.dtype}, not numbers.")
        return values.astype(np.float64)

    def number(self, place: str) -> float | None:
        """A single number: an attribute of its group, or a data set; None if there is none.

        Raises:
            SourceError: if it is no number.
        """
        if not (value := self.text(place)):
            return None
        try:
            return float(value)
        except ValueError as error:
            raise SourceError(f"{self.path}: {place} is {value!r}, not a number.") from error

    def text(self, place: str) -> str:
        """A single text: an attribute of its group, or a data set; empty if there is none."""
        group, _, name = place.rpartition("/")
        holder = self._find(group) if group else self.file
        value = None if holder is None else holder.attrs.get(name)
        if value is None:
            found = self._find(place)
            if isinstance(found, h5py.Dataset):
                self._require_plain(found, place)
            value = found[()] if isinstance(found, h5py.Dataset) and found.shape == () else ""
        try:
            text = value.decode() if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError as error:
            raise SourceError(f"{self.path}: {place} is no UTF-8 text.") from error
        if np.ndim(value) or isinstance(value, h5py.Empty | h5py.Reference):
            raise SourceError(f"{self.path}: {place} is {text[:40]}, not one text or number.")
        return text

    def intervals(self, place: str) -> np.ndarray:
        """(interval, 2) starts and ends in seconds; no rows if there are none."""
        if place not in self:
            return np.empty((0, 2))
        start_s = self.numbers(f"{place}/start")
        return np.stack([start_s, self.numbers(f"{place}/end", n=len(start_s))], axis=1)

    def sample_times(self, group: str, n_samples: int) -> tuple[float, float]:
        """Time of the first sample of a regular trace, and the time between two samples.

        Args:
            group: of the trace.
            n_samples: number of its samples.

        Raises:
            SourceError: if the file says neither, or the samples are not at regular times.
        """
        if f"{group}/timestamps" in self:
            times_s = self.numbers(f"{group}/timestamps")
            steps_s = np.diff(times_s)
            if len(times_s) != n_samples or not len(steps_s) or not np.ptp(steps_s) <= 1e-6:
                raise SourceError(f"{self.path}: {group}/timestamps are not those of {n_samples} regular samples.")
            return float(times_s[0]), float((times_s[-1] - times_s[0]) / len(steps_s))
        rate_hz = self.number(f"{group}/sampling_rate")
        domain_s = self.intervals(f"{group}/domain")
        if rate_hz is None or not len(domain_s):
            raise SourceError(f"{self.path}: {group} has neither timestamps nor a sampling_rate and a domain.")
        if not rate_hz > 0:
            raise SourceError(f"{self.path}: {group} has a sampling_rate of {rate_hz:g}.")
        return float(domain_s[0, 0]), 1 / rate_hz


@contextmanager
def open_session(path: Path) -> Generator[SessionFile]:
    """Open a file of the benchmark for reading.

    Raises:
        SourceError: if it is missing, no HDF5 file, or damaged.
    """
    try:
        with h5py.File(require_regular(path), "r", locking=False) as file:
            yield SessionFile(path, file)
    except OSError as error:
        raise SourceError(f"{path}: cannot be read as HDF5, perhaps it is cut short ({error}).") from error

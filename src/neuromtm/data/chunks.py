"""Read trials by their place in the file, without HDF5 but with its checksums.

HDF5 takes a trial through several layers of a general library. Here the place of every trial is asked of HDF5 once, and
the bytes are read from there. A shard of another layout is read by HDF5 as before.
"""

import math
import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import monotonic
from typing import NamedTuple

import h5py
import numpy as np
import torch

from neuromtm.data.seal import trial_sums
from neuromtm.data.shard_access import machine_problem, most_open_files
from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import open_shard, open_shard_file
from neuromtm.errors import ShardError

LOOKED_AT_EVERY_S = 1.0
"""So often at most, a mapped file is looked at: it may have been written to since."""
CHECKSUM_BYTES = 4
BYTES_AT_ONCE = 2**20
"""Trials are read and checked in blocks of so many bytes, which stay in a processor's cache meanwhile."""
WORDS_IN_A_ROW = 256
MODULUS = 65535
LARGEST_BYTES = 2**22
"""Of a longer trial the sums would not be exact in double precision."""
UNDEFINED = 2**64 - 1
"""HDF5's address of a chunk that was never written"""


class _Grid(NamedTuple):
    """How the 16-bit words of a chunk are laid out for its two sums: (group, row, column)."""

    shape: tuple[int, int, int]
    n_bytes: int
    """with the zeros after the end"""
    weights: np.ndarray
    """(group x column, 2) of the sums over rows: 1, and the words from the group's first row on, modulo 65535"""
    row_weights: np.ndarray
    """(row x column) of the sums over groups: the words before the row in its group, modulo 65535"""


@cache
def _grid(n_bytes: int) -> _Grid:
    n_words = -(-n_bytes // 2)
    n_columns = min(WORDS_IN_A_ROW, n_words)
    n_rows = -(-n_words // n_columns)
    in_group = int(np.ceil(np.sqrt(n_rows)))
    shape = (-(-n_rows // in_group), in_group, n_columns)
    group, column = np.meshgrid(np.arange(shape[0]), np.arange(n_columns), indexing="ij")
    to_end = n_words - (group * in_group * n_columns + column)
    weights = np.stack([np.ones(to_end.size), to_end.ravel() % MODULUS], axis=1).astype(np.float64)
    row_weights = np.repeat(np.arange(in_group) * n_columns % MODULUS, n_columns).astype(np.float64)
    return _Grid(shape, 2 * math.prod(shape), weights, row_weights)


def room_for(n_bytes: int) -> int:
    """Bytes that a chunk takes in the array for `fletcher32`: its own, its checksum, and zeros."""
    return -(-max(_grid(n_bytes).n_bytes, n_bytes + CHECKSUM_BYTES) // 8) * 8


def fletcher32(chunks: np.ndarray, n_bytes: int) -> np.ndarray:
    """HDF5's checksum of several chunks.

    It is made of the sum of the chunk's big-endian 16-bit words, and of the sum of all partial sums, both modulo
    65535; an odd last byte is the high half of a word (H5_checksum_fletcher32 in HDF5's H5checksum.c). With n words,
    the sum of partial sums is the sum of the words weighted by n, n - 1, ..., 1. Here the words are summed over the
    rows and over the groups of a grid first, so that few products are left. To swap the bytes of each word only swaps
    those of the sums: modulo 65535 that is a product with 256.

    Args:
        chunks: (chunk, byte) uint8, each followed by zeros up to `room_for(n_bytes)`.
        n_bytes: bytes of a chunk, at most `LARGEST_BYTES`.

    Returns:
        (chunk,) uint32.
    """
    grid = _grid(n_bytes)
    words = chunks[:, : grid.n_bytes].view("<u2")
    if grid.shape[:2] == (1, 1):  # short: nothing to sum first
        sums = words.astype(np.float64) @ grid.weights
    else:
        largest = 257 * int(chunks[:, : grid.n_bytes].max(initial=0)) * max(grid.shape[:2])
        words = words if largest <= 0xFFFF else words.astype(np.uint32)
        words = words.reshape(len(chunks), *grid.shape)
        over_rows = np.add.reduce(words, axis=2, dtype=words.dtype).reshape(len(chunks), -1)
        over_groups = np.add.reduce(words, axis=1, dtype=words.dtype).reshape(len(chunks), -1)
        sums = over_rows.astype(np.float64) @ grid.weights  # whole numbers below 2^53, so exact
        sums[:, 1] -= over_groups.astype(np.float64) @ grid.row_weights
    # 65535 stands for 0, except where all words are 0
    folded = np.where(sums[:, :1] > 0, (sums.astype(np.int64) - 1) % MODULUS + 1, 0).astype(np.uint32)
    swapped = (folded >> 8) | ((folded & 0xFF) << 8)
    return (swapped[:, 1] << 16) | swapped[:, 0]


class DamagedTrial(Exception):
    """A trial whose bytes do not fit its checksum, or are not there. The caller knows the file's name."""


@dataclass(frozen=True)
class TrialChunks:
    """Where the trials of a dataset lie in its file."""

    offsets: np.ndarray
    """(trial,) int64 place of each trial's first byte"""
    shape: tuple[int, ...]
    """of a trial"""
    dtype: np.dtype
    checked: np.ndarray
    """(trial,) bool, whether this process has found the trial's checksum right in a mapped file"""
    sums: np.ndarray | None = None
    """(trial,) uint32 checksums by the shard's seal; None if it has no seal"""

    @property
    def n_bytes(self) -> int:
        """Bytes of a trial, without its checksum."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def of(cls, dataset: h5py.Dataset, *, sums: np.ndarray | None = None) -> "TrialChunks | None":
        """Ask HDF5 for the places; None if the dataset is not one whole checksummed trial a chunk.

        Args:
            dataset: of an open shard.
            sums: by its seal.
        """
        known = dataset.id.get_create_plist()
        n_trials, trial = (dataset.shape[0], dataset.shape[1:]) if dataset.ndim else (0, ())
        if dataset.chunks != (1, *trial) or dataset.file.userblock_size:
            return None
        if known.get_nfilters() != 1 or known.get_filter(0)[0] != h5py.h5z.FILTER_FLETCHER32:
            return None
        if not dataset.dtype.isnative or dataset.dtype != dataset.dtype.newbyteorder("<"):
            return None
        found = [dataset.id.get_chunk_info(i) for i in range(dataset.id.get_num_chunks())]
        chunks = cls(np.full(n_trials, -1), trial, dataset.dtype, np.zeros(n_trials, bool), sums)
        for chunk in found:
            if chunk.filter_mask or chunk.size != chunks.n_bytes + CHECKSUM_BYTES or chunk.byte_offset == UNDEFINED:
                return None
            chunks.offsets[chunk.chunk_offset[0]] = chunk.byte_offset
        return chunks if (chunks.offsets >= 0).all() and n_trials and chunks.n_bytes <= LARGEST_BYTES else None

    def read(self, file: "int | np.ndarray", trials: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
        """Read some trials.

        Args:
            file: a file descriptor, from which every trial is read and checked; or all bytes of a mapped file, whose
                trials are checked when this process reads them first.
            trials: (trial,) numbers.
            columns: positions on the last axis to keep; None keeps all.

        Raises:
            DamagedTrial: if a checksum is wrong, or the file ends before.
        """
        if not isinstance(file, int) and self.checked[trials].all():
            return self._kept(self._copied(file, trials), columns)
        width = len(columns) if columns is not None else self.shape[-1]
        values = np.empty((len(trials), *self.shape[:-1], width), self.dtype)
        at_once = max(1, BYTES_AT_ONCE // room_for(self.n_bytes))
        block = np.empty((min(at_once, len(trials)), room_for(self.n_bytes)), np.uint8)
        block[:, self.n_bytes :] = 0
        for start in range(0, len(trials), at_once):
            own = trials[start : start + at_once]
            values[start : start + at_once] = self._kept(self._checked(file, own, block[: len(own)]), columns)
        if not isinstance(file, int):
            self.checked[trials] = True
        return values

    def _checked(self, file: "int | np.ndarray", trials: np.ndarray, block: np.ndarray) -> np.ndarray:
        n_bytes, stored_bytes = self.n_bytes, self.n_bytes + CHECKSUM_BYTES
        for row, trial, offset in zip(block, trials.tolist(), self.offsets[trials].tolist(), strict=True):
            if isinstance(file, int):
                n_read = os.preadv(file, [row[:stored_bytes]], offset)
            else:
                there = file[offset : offset + stored_bytes]
                row[: len(there)], n_read = there, len(there)
            if n_read != stored_bytes:
                raise DamagedTrial(f"trial {trial} is cut short")
        stored = block[:, n_bytes:stored_bytes].copy().view("<u4")[:, 0]
        block[:, n_bytes:stored_bytes] = 0
        found = fletcher32(block, n_bytes)
        # zeros in the place of a trial and of its checksum agree with each other, but not with the seal
        sealed = stored if self.sums is None else self.sums[trials]
        wrong = np.flatnonzero((found != stored) | (found != sealed))
        if len(wrong):
            raise DamagedTrial(f"the checksum of trial {trials[wrong[0]]} is wrong")
        return block[:, :n_bytes]

    def _copied(self, file: np.ndarray, trials: np.ndarray) -> np.ndarray:
        n_bytes = self.n_bytes
        found = np.empty((len(trials), n_bytes), np.uint8)
        for row, offset in zip(found, self.offsets[trials].tolist(), strict=True):
            row[:] = file[offset : offset + n_bytes]
        return found

    def _kept(self, found: np.ndarray, columns: np.ndarray | None) -> np.ndarray:
        found = found.view(self.dtype).reshape(len(found), *self.shape)
        return found if columns is None else found.take(columns, axis=-1)


Version = tuple[int, int, int]


def version_of(found: os.stat_result) -> Version:
    """What changes if another file takes the place of this one."""
    return found.st_ino, found.st_size, found.st_mtime_ns


class ShardReader:
    """Reads trials of the large arrays of shards. No more than `most_open_files` stay open.

    Args:
        paths: eid -> shard.
        mapped: map the files into memory. All processes of a machine then share one copy, which the system keeps for as
            long as it has room. Otherwise each read goes to the file.
        versions: eid -> `version_of` the shard when its header was read; another file in its place is refused. By
            default that of the first read.
    """

    def __init__(
        self, paths: Mapping[str, Path], *, mapped: bool = False, versions: Mapping[str, Version] | None = None
    ):
        self.paths, self.mapped = dict(paths), mapped
        self._chunks: dict[tuple[str, str], TrialChunks | None] = {}
        self._versions: dict[str, Version] = dict(versions or {})
        self._indexed: set[str] = set()
        self._maps: dict[str, np.ndarray] = {}
        self._looked_at_s: dict[str, float] = {}
        self._open: OrderedDict[str, int] = OrderedDict()
        self._slow: OrderedDict[str, h5py.File] = OrderedDict()
        self._process = os.getpid()

    def read(self, eid: str, name: str, trials: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Read some trials of a dataset, and of these the columns asked for.

        Raises:
            ShardError: if the shard is gone, or damaged there.
        """
        # an HDF5 file that was opened before a fork must not be read in the child process
        if self._process != os.getpid():
            self._slow, self._process = OrderedDict(), os.getpid()
        try:
            chunks = self._chunks_of(eid, name)
            if chunks is None:
                values = read_trials(self._hdf5(eid)[name], trials)
                return values if columns is None else values.take(columns, axis=-1)
            return chunks.read(self._map(eid) if self.mapped else self._descriptor(eid), trials, columns)
        except FileNotFoundError as error:
            raise ShardError(f"{self.paths[eid]}: no such shard. Prepare it again.") from error
        except (DamagedTrial, OSError) as error:
            if (hindrance := machine_problem(error)) is not None:
                raise ShardError(f"{self.paths[eid]}: {hindrance}") from error
            raise ShardError(
                f"{self.paths[eid]}: {name} is damaged ({error}). Delete it and prepare it again."
            ) from error

    def _chunks_of(self, eid: str, name: str) -> TrialChunks | None:
        if eid not in self._indexed:
            with open_shard(self.paths[eid]) as file:
                sums = trial_sums(self.paths[eid])
                for found in ("spikes/counts", *(f"behavior/{trace}" for trace in file.get("behavior", ()))):
                    self._chunks[eid, found] = TrialChunks.of(file[found], sums=sums.get(found))
                self.require_unchanged(eid)
            self._indexed.add(eid)
        return self._chunks[eid, name]

    def _map(self, eid: str) -> np.ndarray:
        path = self.paths[eid]
        if eid not in self._maps:
            self.require_unchanged(eid)
            # private, so that nothing can change the file; pages that nobody writes are shared. It keeps no file open.
            mapped = torch.from_file(os.fspath(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
            self._maps[eid] = mapped.numpy()
            self._looked_at_s[eid] = monotonic()
        elif monotonic() >= self._looked_at_s[eid] + LOOKED_AT_EVERY_S:
            self._looked_at_s[eid] = monotonic()
            # another file of this name does no harm: the one that is mapped stays as it is
            if path.exists() and (found := path.stat()).st_ino == self._versions[eid][0]:
                self._require_version(eid, found)
        return self._maps[eid]

    def _descriptor(self, eid: str) -> int:
        if eid not in self._open:
            while len(self._open) >= most_open_files():
                os.close(self._open.popitem(last=False)[1])
            self._open[eid] = os.open(self.paths[eid], os.O_RDONLY | os.O_CLOEXEC)
        self._require_version(eid, os.fstat(self._open[eid]))  # it may have been written to since
        self._open.move_to_end(eid)
        return self._open[eid]

    def require_unchanged(self, eid: str) -> None:
        """Refuse a shard that is another one than when this run opened it first.

        Raises:
            ShardError: if it is.
        """
        self._require_version(eid, self.paths[eid].stat())

    def _require_version(self, eid: str, found: os.stat_result) -> None:
        # the header and the places of the trials are those of the file that was opened first
        if version_of(found) != self._versions.setdefault(eid, version_of(found)):
            raise ShardError(f"{self.paths[eid]}: the file has changed since this run opened it. Start the run again.")

    def _hdf5(self, eid: str) -> h5py.File:
        if eid not in self._slow:
            while len(self._slow) >= most_open_files():
                self._slow.popitem(last=False)[1].close()
            self._slow[eid] = open_shard_file(self.paths[eid])
            self.require_unchanged(eid)
        self._slow.move_to_end(eid)
        return self._slow[eid]

    def close(self) -> None:
        """Close this process's files; a later read opens them again."""
        self._maps.clear()
        while self._open:
            os.close(self._open.popitem()[1])
        while self._slow:
            self._slow.popitem()[1].close()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_open": OrderedDict(), "_slow": OrderedDict(), "_maps": {}}

    def __del__(self):
        for descriptor in self._open.values():
            os.close(descriptor)

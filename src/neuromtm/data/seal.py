"""The seal of a shard: digests of all bytes that HDF5 does not check, behind the end of the HDF5 file.

HDF5 keeps a checksum of each trial of the large arrays and of nothing else: a wrong bit in a region, a label or a split
would be read as it is, and one in HDF5's own tables can end the process. The seal is compared before HDF5 opens a file.

| bytes at the end of the file | |
| --- | --- |
| text | JSON. `parts`: name -> `extents` [[first byte, byte after the last], ...] and their `sha256`. `trials`: |
| | dataset -> the checksums of its trials as HDF5 stores them: 4 bytes each, little-endian, hexadecimal digits |
| 32 | SHA-256 of the text |
| 8 | length of the text, little-endian |
| 8 | `MAGIC` |

HDF5's own checksum of zeros is zero: it takes a trial that was overwritten by zeros for a good one.
A part is a dataset without checksums, by its path, or `STRUCTURE`: all that is no values of a dataset. HDF5 does not
look behind its own end, and cuts the seal off when it opens a file for writing. A shard without a seal, as older
versions wrote them, is opened as it is; `python -m data_prep upgrade` seals it.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from neuromtm.data.shard_layout import PRINCIPAL_AXES
from neuromtm.errors import ShardError
from neuromtm.regular_files import require_regular

MAGIC = b"NMTMSEAL"
FOOTER_BYTES = 32 + 8 + len(MAGIC)
SUM_BYTES = 4
"""of HDF5's checksum, at the end of a trial"""
STRUCTURE = "structure"
LATER = (PRINCIPAL_AXES,)
"""Parts that are compared only when they are read: they are larger than all others together."""
HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
END_ADDRESS = {0: 40, 1: 44, 2: 28, 3: 28}
"""version of an HDF5 file's first block -> place of the address where the file ends, with addresses of 8 bytes"""
BYTES_AT_ONCE = 2**20

Extents = list[tuple[int, int]]


class _Part(NamedTuple):
    extents: Extents
    sha256: str


class _Seal(NamedTuple):
    parts: Mapping[str, _Part]
    sums: Mapping[str, np.ndarray]


class _Values(NamedTuple):
    """Where the values of the datasets lie."""

    checked: Extents
    """those that HDF5 checks"""
    others: dict[str, Extents]
    """by the path of their dataset"""
    sums: dict[str, np.ndarray]
    """dataset -> (trial,) places of the checksums of its trials"""


def add_seal(path: Path) -> None:
    """Append the seal to an HDF5 file that nobody has opened for writing.

    Args:
        path: a shard without a seal.
    """
    with h5py.File(path, "r", locking=False) as file:
        values = _values(file)
    n_bytes = path.stat().st_size
    extents = {name: found for name, found in values.others.items() if found}
    extents[STRUCTURE] = _between([*values.checked, *itertools.chain(*values.others.values())], n_bytes)
    descriptor = os.open(require_regular(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = {name: _Part(found, _digest(descriptor, found))._asdict() for name, found in sorted(extents.items())}
        sums = {
            name: b"".join(os.pread(descriptor, SUM_BYTES, place) for place in places.tolist()).hex()
            for name, places in sorted(values.sums.items())
        }
    finally:
        os.close(descriptor)
    text = json.dumps({"parts": parts, "trials": sums}, separators=(",", ":")).encode()
    with path.open("ab") as file:
        file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + MAGIC)


def is_sealed(path: Path) -> bool:
    """Whether a shard ends in a seal. It is not compared."""
    with require_regular(path).open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.read() == MAGIC


def require_seal(path: Path, *, parts: Collection[str] | None = None) -> None:
    """Compare the bytes of a shard with its seal, if it has one.

    Args:
        path: the shard.
        parts: names of those to compare; by default all but those that are compared `LATER`.

    Raises:
        ShardError: naming the damaged part, or if the seal itself is damaged or cut off.
        OSError: if the file cannot be read.
    """
    descriptor = os.open(require_regular(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        for name, part in _read(descriptor, path).parts.items():
            wanted = name not in LATER if parts is None else name in parts
            if wanted and _digest(descriptor, part.extents) != part.sha256:
                what = "its structure (attributes, or HDF5's own tables)" if name == STRUCTURE else name
                raise ShardError(
                    f"{path}: {what} is damaged: the bytes are not those that were written. Delete it and prepare it "
                    "again."
                )
    finally:
        os.close(descriptor)


def trial_sums(path: Path) -> Mapping[str, np.ndarray]:
    """The checksums of trials by the seal of a shard: dataset -> (trial,) uint32. None of a shard without a seal.

    Raises:
        ShardError: if the seal is damaged or cut off.
        OSError: if the file cannot be read.
    """
    descriptor = os.open(require_regular(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(descriptor, path).sums
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: Path) -> _Seal:
    """The seal; an empty one if there is none."""
    size = os.fstat(descriptor).st_size
    footer = os.pread(descriptor, FOOTER_BYTES, max(0, size - FOOTER_BYTES))
    if not footer.endswith(MAGIC):
        if size > _end_of_hdf5(os.pread(descriptor, 64, 0), size):
            raise ShardError(f"{path}: its end is damaged or it was cut short. Delete it and prepare it again.")
        return _Seal({}, {})
    n_text = int.from_bytes(footer[32:40], "little")
    start = size - FOOTER_BYTES - n_text
    text = os.pread(descriptor, n_text, start) if start >= 0 else b""
    if hashlib.sha256(text).digest() != footer[:32]:
        raise ShardError(f"{path}: the checksums at its end are damaged. Delete it and prepare it again.")
    try:
        table = json.loads(text)
        parts = {str(name): _Part(part["extents"], part["sha256"]) for name, part in table["parts"].items()}
        sums = {str(name): np.frombuffer(bytes.fromhex(found), "<u4") for name, found in table["trials"].items()}
        if not all(0 <= first < after <= start for part in parts.values() for first, after in part.extents):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ShardError(f"{path}: the checksums at its end are none of neuromtm. Prepare it again.") from error
    return _Seal(parts, sums)


def _end_of_hdf5(head: bytes, size: int) -> int:
    """Where an HDF5 file ends by its first block; its size if it does not begin as we write it."""
    place = END_ADDRESS.get(head[8]) if head.startswith(HDF5_SIGNATURE) and len(head) == 64 else None
    return size if place is None else int.from_bytes(head[place : place + 8], "little")


def _values(file: h5py.File) -> _Values:
    values = _Values([], {}, {})

    def look(path: str, dataset: object) -> None:
        if not isinstance(dataset, h5py.Dataset):
            return
        extents: dict[object, tuple[int, int]] = {}  # place of the chunk in the dataset -> extent
        if dataset.chunks is not None:
            dataset.id.chunk_iter(
                lambda chunk: extents.update({chunk.chunk_offset: (chunk.byte_offset, chunk.byte_offset + chunk.size)})
            )
        elif (offset := dataset.id.get_offset()) is not None:
            extents[0] = offset, offset + dataset.id.get_storage_size()
        if not dataset.fletcher32:
            values.others[path] = sorted(extents.values())
            return
        values.checked.extend(extents.values())
        is_plain = dataset.id.get_create_plist().get_nfilters() == 1
        if is_plain and dataset.chunks == (1, *dataset.shape[1:]) and len(extents) == len(dataset):
            values.sums[path] = np.array([after - SUM_BYTES for _, (_, after) in sorted(extents.items())])

    file.visititems(look)
    return values


def _between(extents: Extents, end: int) -> Extents:
    """The bytes before `end` that are in none of the extents."""
    found, place = [], 0
    for first, after in [*sorted(extents), (end, end)]:
        if first > place:
            found.append((place, first))
        place = max(place, after)
    return found


def _digest(descriptor: int, extents: Extents) -> str:
    digest = hashlib.sha256()
    for first, after in extents:
        for start in range(first, after, BYTES_AT_ONCE):
            digest.update(os.pread(descriptor, min(BYTES_AT_ONCE, after - start), start))
    return digest.hexdigest()

"""The seal of a shard: digests of all bytes that HDF5 does not check, behind the end of the HDF5 file.

HDF5 keeps a checksum of each trial of the large arrays and of nothing else: a wrong bit in a region, a label or a split
would be read as it is, and one in HDF5's own tables can end the process. The seal is compared before HDF5 opens a file.

| bytes at the end of the file | |
| --- | --- |
| text | JSON, `parts`: name -> `extents` [[first byte, byte after the last], ...] and their `sha256` |
| 32 | SHA-256 of the text |
| 8 | length of the text, little-endian |
| 8 | `MAGIC` |

A part is a dataset without checksums, by its path, or `STRUCTURE`: all that is no values of a dataset. HDF5 does not
look behind its own end, and cuts the seal off when it opens a file for writing. A shard without a seal, as older
versions wrote them, is opened as it is; `python -m data_prep upgrade` seals it.
"""

import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import h5py

from neuromtm.data.shard_layout import PRINCIPAL_AXES
from neuromtm.errors import ShardError

MAGIC = b"NMTMSEAL"
FOOTER_BYTES = 32 + 8 + len(MAGIC)
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


def add_seal(path: Path) -> None:
    """Append the seal to an HDF5 file that nobody has opened for writing.

    Args:
        path: a shard without a seal.
    """
    with h5py.File(path, "r", locking=False) as file:
        checked, own = _values(file)
    n_bytes = path.stat().st_size
    extents = {name: found for name, found in own.items() if found}
    extents[STRUCTURE] = _between(checked + [extent for found in own.values() for extent in found], n_bytes)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = {name: _Part(found, _digest(descriptor, found))._asdict() for name, found in sorted(extents.items())}
    finally:
        os.close(descriptor)
    text = json.dumps({"parts": parts}, separators=(",", ":")).encode()
    with path.open("ab") as file:
        file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + MAGIC)


def is_sealed(path: Path) -> bool:
    """Whether a shard ends in a seal. It is not compared."""
    with path.open("rb") as file:
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
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        seal = _read(descriptor, path)
        for name, part in seal.items():
            wanted = name not in LATER if parts is None else name in parts
            if wanted and _digest(descriptor, part.extents) != part.sha256:
                what = "its structure (attributes, or HDF5's own tables)" if name == STRUCTURE else name
                raise ShardError(
                    f"{path}: {what} is damaged: the bytes are not those that were written. Delete it and prepare it "
                    "again."
                )
    finally:
        os.close(descriptor)


def _read(descriptor: int, path: Path) -> Mapping[str, _Part]:
    """The parts by the seal; none if there is no seal."""
    size = os.fstat(descriptor).st_size
    footer = os.pread(descriptor, FOOTER_BYTES, max(0, size - FOOTER_BYTES))
    if not footer.endswith(MAGIC):
        if size > _end_of_hdf5(os.pread(descriptor, 64, 0), size):
            raise ShardError(f"{path}: its end is damaged or it was cut short. Delete it and prepare it again.")
        return {}
    n_text = int.from_bytes(footer[32:40], "little")
    start = size - FOOTER_BYTES - n_text
    text = os.pread(descriptor, n_text, start) if start >= 0 else b""
    if hashlib.sha256(text).digest() != footer[:32]:
        raise ShardError(f"{path}: the checksums at its end are damaged. Delete it and prepare it again.")
    try:
        parts = {str(name): _Part(part["extents"], part["sha256"]) for name, part in json.loads(text)["parts"].items()}
        if not all(0 <= first < after <= start for part in parts.values() for first, after in part.extents):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ShardError(f"{path}: the checksums at its end are none of neuromtm. Prepare it again.") from error
    return parts


def _end_of_hdf5(head: bytes, size: int) -> int:
    """Where an HDF5 file ends by its first block; its size if it does not begin as we write it."""
    place = END_ADDRESS.get(head[8]) if head.startswith(HDF5_SIGNATURE) and len(head) == 64 else None
    return size if place is None else int.from_bytes(head[place : place + 8], "little")


def _values(file: h5py.File) -> tuple[Extents, dict[str, Extents]]:
    """Where values lie: those that HDF5 checks itself, and the others by the path of their dataset."""
    checked: Extents = []
    own: dict[str, Extents] = {}

    def look(path: str, dataset: object) -> None:
        if not isinstance(dataset, h5py.Dataset):
            return
        extents: Extents = []
        if dataset.chunks is not None:
            dataset.id.chunk_iter(lambda chunk: extents.append((chunk.byte_offset, chunk.byte_offset + chunk.size)))
        elif (offset := dataset.id.get_offset()) is not None:
            extents.append((offset, offset + dataset.id.get_storage_size()))
        if dataset.fletcher32:
            checked.extend(extents)
        else:
            own[path] = sorted(extents)

    file.visititems(look)
    return checked, own


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

"""Which files of a session are read, found in ONE-api's table of its datasets before anything is fetched."""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from data_prep.sources.ibl.behaviors import BEHAVIORS
from data_prep.sources.ibl.recording import ReadOptions
from data_prep.sources.ibl.sortings import choose_sortings
from neuromtm.files import hash_of

OF_SORTING: tuple[tuple[str, tuple[str, ...] | None], ...] = (
    ("spikes", ("times", "clusters")),
    ("clusters", ("channels", "depths", "metrics", "uuids")),
)
LOCATIONS = ("channels", ("brainLocationIds_ccf_2017",))
"""in the folder of the sorting, or in that of the probe"""


class WantedObject(NamedTuple):
    """What one call of `load_object` asks for."""

    name: str
    collection: str
    attributes: tuple[str, ...] | None


class FileRecord(NamedTuple):
    """A file as the database lists it."""

    dataset_id: str
    path: str
    """relative to the folder of the session"""
    size: int
    """bytes; 0 if unknown"""
    md5: str
    """empty if unknown"""


def records_of(table: Any, wanted: WantedObject, *, revision: str | None) -> list[FileRecord]:
    """The files that ONE-api would load for an object: of each the default revision, or the last one up to `revision`.

    Args:
        table: the datasets of one session, as `list_datasets(details=True)` gives them.
        wanted: the object.
        revision: as for `load_object`.
    """
    from one.alf.exceptions import ALFWarning
    from one.util import filter_datasets

    parts: dict[str, Any] = {"object": wanted.name}
    if wanted.attributes is not None:
        parts["attribute"] = list(wanted.attributes)
    with warnings.catch_warnings():
        # these say that the default revision, or the newest one, is taken, as it should be
        warnings.simplefilter("ignore", ALFWarning)
        found = filter_datasets(table, parts, wanted.collection, revision, assert_unique=False, wildcards=True)
    return [_record(index, row) for index, row in found.iterrows()]


def _record(index: Any, row: Any) -> FileRecord:
    size, md5 = row["file_size"], row["hash"]
    return FileRecord(
        str(index[-1] if isinstance(index, tuple) else index),
        str(row["rel_path"]),
        int(size) if isinstance(size, int) or (hasattr(size, "item") and size == size) else 0,
        md5 if isinstance(md5, str) and re.fullmatch("[0-9a-f]{32}", md5) else "",
    )


def wanted_objects(
    collections: Iterable[str], how: ReadOptions, has: Callable[[WantedObject], bool]
) -> list[WantedObject]:
    """The objects of a session that are read.

    Args:
        collections: folders with spikes.
        how: what is read.
        has: whether the session has an object.
    """
    of_behaviors = [wanted for name in how.behaviors for wanted in BEHAVIORS[name].objects]
    wanted = [WantedObject("trials", "alf", None)]
    wanted += [WantedObject(name, "alf", attributes) for name, attributes in dict.fromkeys(of_behaviors)]
    for probe, collection in choose_sortings(collections, sorter=how.sorter).items():
        wanted += [WantedObject(name, collection, attributes) for name, attributes in OF_SORTING]
        places = [WantedObject(LOCATIONS[0], place, LOCATIONS[1]) for place in (collection, f"alf/{probe}")]
        wanted += [place for place in places if has(place)][:1]
    return [one_of_them for one_of_them in wanted if has(one_of_them)]


def digest_of(records: Iterable[FileRecord]) -> str:
    """The same as long as the database lists the same files with the same content."""
    return hash_of(sorted((record.path, record.md5 or str(record.size)) for record in records))[:16]


def revisions_of(records: Iterable[FileRecord]) -> str:
    """The revisions of files in words, e.g. `none, 2024-05-06`."""
    found = {match[1] if (match := re.search("#([^#/]+)#/", record.path)) else "none" for record in records}
    return ", ".join(sorted(found, key=lambda name: (name != "none", name)))


def total_size(records: Sequence[FileRecord]) -> int:
    """Bytes of all files whose size is known."""
    return sum(record.size for record in records)

"""Which spike sorting of a probe is read, and how a shard names it."""

import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from neuromtm.errors import SourceError

PREFERRED_SORTERS = ("iblsorter", "pykilosort", "ks2_matlab")
"""the most preferred comes first"""
OWN_FOLDER = "ks2_matlab"
"""the sorter of spikes that lie in the probe's own folder, without a folder of the sorter"""


def choose_sortings(collections: Iterable[str], *, sorter: str | None = None) -> dict[str, str]:
    """Choose one spike sorting for each probe.

    Args:
        collections: folders with spikes, e.g. `alf/probe00` and `alf/probe00/pykilosort`.
        sorter: the one to take; None: the most preferred one that the probe has, or else the last one by name.

    Returns:
        probe -> folder, sorted by the name of the probe.

    Raises:
        SourceError: if a probe has no sorting by the sorter that is asked for.
    """
    found: dict[str, dict[str, str]] = {}
    for collection in collections:
        if match := re.fullmatch(r"alf/(probe[^/]*)(?:/([^/#]+))?", collection):
            found.setdefault(match[1], {})[match[2] or OWN_FOLDER] = collection
    chosen = {}
    for probe, by_sorter in sorted(found.items()):
        if sorter is not None and sorter not in by_sorter:
            raise SourceError(f"{probe} has no sorting by {sorter}. It has: {', '.join(sorted(by_sorter))}.")
        best = next((name for name in PREFERRED_SORTERS if name in by_sorter), max(by_sorter))
        chosen[probe] = by_sorter[sorter or best]
    return chosen


def sorter_of(collection: str) -> str:
    """The sorter that wrote a folder with spikes."""
    return collection.split("/")[2] if collection.count("/") > 1 else OWN_FOLDER


def revision_of_spikes(datasets: Any, collection: str, *, revision: str | None = None) -> str:
    """The revision of the spikes that ONE-api reads, e.g. `2024-05-06`; empty if they have none.

    Args:
        datasets: table of a session's files, as `list_datasets(details=True)` of ONE-api gives it.
        collection: folder of the sorting.
        revision: the last revision to take; None: the default one.
    """
    from one.alf.exceptions import ALFWarning
    from one.util import filter_datasets

    if not len(datasets):
        return ""
    with warnings.catch_warnings():
        # this warning says which revision is taken: the default or the newest one, as it should be
        warnings.simplefilter("ignore", ALFWarning)
        found = filter_datasets(datasets, "spikes.times*", collection, revision, assert_unique=False, wildcards=True)
    names = {match[1] for path in found["rel_path"] if (match := re.search("#([^#/]+)#", str(path)))}
    return ", ".join(sorted(names))


def sorting_attributes(sortings: Mapping[str, str], datasets: Any, *, revision: str | None = None) -> dict[str, str]:
    """What a shard says of the sorting of each probe: `sorter.PROBE`, `collection.PROBE`, `revision.PROBE`.

    Args:
        sortings: probe -> folder.
        datasets: as for `revision_of_spikes`.
        revision: as for `revision_of_spikes`.
    """
    said = {}
    for probe, collection in sortings.items():
        said[f"sorter.{probe}"] = sorter_of(collection)
        said[f"collection.{probe}"] = collection
        said[f"revision.{probe}"] = revision_of_spikes(datasets, collection, revision=revision) or "none"
    return said

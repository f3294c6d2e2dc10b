"""A session of a local folder as `read_session` sees it, in place of ONE-api: the chosen probes and revision."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_prep.recording import Recording
from data_prep.sources.ibl.queries import Tables
from data_prep.sources.ibl.recording import AS_THE_PAPER, ReadOptions
from neuromtm.errors import SourceError
from neuromtm.regular_files import A_PIPE, is_pipe


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is read of a session."""

    probes: tuple[str, ...] | None = None
    """None: all that have spikes"""
    how: ReadOptions = AS_THE_PAPER
    tag: str | None = None
    """of a data release, whose tables are then those of ONE-api; None: the database itself is asked"""

    @property
    def tables(self) -> Tables:
        """Where ONE-api looks for the files of a session of the database."""
        return "remote" if self.tag is None else "local"


class LocalFiles:
    """A session of a local folder.

    Args:
        one: an open ONE-api object, local.
        eid: the session's name in ONE.
        selection: what to read.
    """

    mode = "local"

    def __init__(self, one: Any, eid: str, selection: Selection):
        self._one = one
        self._eid = eid
        self._selection = selection

    def list_collections(self, eid: str, **filters: Any) -> list[str]:
        """As ONE-api does, without those of other probes."""
        return of_probes(self._one.list_collections(eid, **filters), self._selection.probes)

    def list_datasets(self, eid: str, *, details: bool = True) -> Any:
        """As ONE-api does, without the files of other probes."""
        return files_of_probes(self._one.list_datasets(eid, details=details), self._selection.probes)

    def load_object(self, eid: str, name: str, **wanted: Any) -> Mapping[str, Any]:
        """As ONE-api does, of the chosen revision."""
        return self._one.load_object(eid, name, revision=self._selection.how.revision, **wanted)

    def read(self, reading: Callable[[Any], Recording]) -> Recording:
        """Read the session.

        Raises:
            SourceError: also if one of its files is a pipe or a device, which ONE-api would wait for.
        """
        folder = self._one.eid2path(self._eid)
        for file in sorted(Path(folder).glob("alf/**/*")) if folder else ():
            if is_pipe(file):
                raise SourceError(f"{file}: {A_PIPE}. Download it again.")
        return reading(self)

    def largest_probe_bytes(self) -> int | None:
        """Of the spikes of any sorting of a probe; None if there are none."""
        sizes: dict[Path, int] = {}
        folder = self._one.eid2path(self._eid)
        for name in ("times", "clusters"):
            for file in Path(folder).glob(f"alf/**/spikes.{name}*.npy") if folder else ():
                sizes[file.parent] = sizes.get(file.parent, 0) + file.stat().st_size
        return max(sizes.values(), default=None)

    def remark(self, attributes: Mapping[str, str]) -> str:
        """Nothing: a local folder is the user's own, and may change."""
        return ""

    def finish(self) -> None:
        """Nothing: files of a local folder are never removed."""


def of_probes(collections: Sequence[Any], probes: tuple[str, ...] | None) -> list[str]:
    """The folders of some probes.

    Args:
        collections: folders of a session, e.g. `alf/probe00/pykilosort`.
        probes: their names; None for all.
    """
    names = [str(collection) for collection in collections]
    return names if probes is None else [name for name in names if {*PurePosixPath(name).parts} & {*probes}]


def files_of_probes(table: Any, probes: tuple[str, ...] | None) -> Any:
    """The files of a session without those of other probes.

    Args:
        table: the datasets of one session, as `list_datasets(details=True)` gives them.
        probes: their names; None for all.
    """
    if probes is None or not len(table):
        return table
    parts = [PurePosixPath(path).parts for path in map(str, table["rel_path"])]
    return table[[len(p) < 2 or not p[1].startswith("probe") or p[1] in probes for p in parts]]

"""The raw files of a session that this program fetched into the cache, and that it may drop again."""

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from data_prep.sources.ibl.wanted_files import FileRecord
from neuromtm.files import write_whole
from neuromtm.regular_files import regular_text

JOURNALS = ".fetched"
"""folder in that of the shards; a file a session lists what was fetched for it and not dropped yet"""
UNFINISHED = re.compile(r"\.[0-9A-Fa-f]{8}")
"""what boto3 adds to the name of a file that it is fetching"""


class RawFiles:
    """Remembers which files were not there before. Only these are ever removed.

    With a journal they are remembered over a kill, too: the next run of the same command drops them.

    Args:
        folder: of the session in the cache.
        root: of the cache; folders below it that become empty are removed.
        journal: file that lists them, one a line, as long as they are there; None: the files are kept.
    """

    def __init__(self, *, folder: Path, root: Path, journal: Path | None):
        self._folder = folder
        self._root = root
        self._journal = journal
        self._own: dict[str, str] = {}
        self._recall()

    def _recall(self) -> None:
        if self._journal is not None and self._journal.exists():
            for line in regular_text(self._journal).splitlines():
                dataset_id, _, path = line.partition(" ")
                self._own[path] = dataset_id

    def begin(self, records: Iterable[FileRecord]) -> None:
        """Note the files that are about to be fetched and are not there.

        Args:
            records: the files.
        """
        absent = {r.path: r.dataset_id for r in records if not os.path.lexists(self._folder / r.path)}
        if absent.keys() - self._own.keys():
            self._own |= absent
            if self._journal is not None:
                write_whole(self._journal, "".join(f"{own} {path}\n" for path, own in sorted(self._own.items())))

    def sweep(self, records: Iterable[FileRecord]) -> None:
        """Remove what an interrupted fetch left beside a file. ONE-api would take it for the whole file.

        Args:
            records: the files.
        """
        for record in records:
            (self._folder / _with_id(record.path, record.dataset_id)).unlink(missing_ok=True)

    def discard(self, records: Iterable[FileRecord]) -> None:
        """Remove files that were fetched and are damaged. Those that were there before are left.

        Args:
            records: the files.
        """
        for record in records:
            if record.path in self._own:
                self._remove(record.path)

    def drop(self) -> None:
        """Remove all that was fetched, if there is a journal."""
        if self._journal is None:
            return
        self._recall()  # another process may have fetched them
        for path in self._own:
            self._remove(path)
        self._own.clear()
        self._journal.unlink(missing_ok=True)
        _remove_empty(self._journal.parent)

    def _remove(self, name: str) -> None:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:  # the journal is a file, and may have been changed
            return
        path = self._folder / relative
        path.unlink(missing_ok=True)
        (self._folder / _with_id(name, self._own[name])).unlink(missing_ok=True)
        if path.parent.is_dir():
            for beside in path.parent.iterdir():
                if beside.name.startswith(path.name) and UNFINISHED.fullmatch(beside.name[len(path.name) :]):
                    beside.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == self._root or not folder.is_relative_to(self._root):
                break
            if not _remove_empty(folder):
                break


def journals(out: Path) -> Path:
    """The folder of the journals.

    Args:
        out: folder of the shards.
    """
    return out / JOURNALS


def forget_journals(out: Path) -> None:
    """Let all files of earlier runs be the user's own: a run without a cap keeps them.

    Args:
        out: folder of the shards.
    """
    folder = journals(out)
    if folder.is_dir():
        for journal in folder.glob("*.txt"):
            journal.unlink(missing_ok=True)
        _remove_empty(folder)


def _with_id(path: str, dataset_id: str) -> str:
    """The name that ONE-api gives a file while it fetches it by HTTP."""
    stem, dot, suffix = path.rpartition(".")
    return f"{stem}.{dataset_id}{dot}{suffix}"


def _remove_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:  # it holds something, or is not there
        return False
    return True

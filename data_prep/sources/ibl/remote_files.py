"""A session of the database as `read_session` sees it, in place of ONE-api: its files are fetched and checked."""

import errno
import os
import shutil
import socket
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from data_prep.recording import Recording
from data_prep.sources.ibl.local_files import Selection, files_of_probes, of_probes
from data_prep.sources.ibl.patience import NOT_FOUND, DamagedFile, Patience, reason_of_failure, status_of
from data_prep.sources.ibl.raw_files import RawFiles
from data_prep.sources.ibl.release import take_tables_of
from data_prep.sources.ibl.wanted_files import (
    FileRecord,
    WantedObject,
    digest_of,
    records_of,
    revisions_of,
    total_size,
    wanted_objects,
)
from neuromtm.data.host_memory import size_text
from neuromtm.errors import ConfigError, SourceError

STALLED_S = 60.0
"""a connection that brings nothing for so long has failed"""
GB = 1e9


class RemoteFiles:
    """A session of the database. What the cache lacks is fetched, and checked against the size and the hash listed.

    Args:
        one: an open ONE-api object, remote.
        eid: the session's name in ONE.
        folder: of the session in the cache.
        selection: what to read.
        patience: for the network.
        raw: remembers what was fetched, and drops it.
    """

    mode = "remote"

    def __init__(self, one: Any, eid: str, *, folder: Path, selection: Selection, patience: Patience, raw: RawFiles):
        self._one = one
        self._eid = eid
        self._folder = folder
        self._selection = selection
        self._patience = patience
        self._raw = raw
        self._whole: set[str] = set()
        self._not_there: set[str] = set()
        self._failures: list[str] = []
        self._fetched_bytes = 0
        self._fetching_s = 0.0
        self.bytes_after = 0
        """what is still to be fetched after this session, for the time that is left"""

    # ---- as ONE-api ----

    def list_collections(self, eid: str, **filters: Any) -> list[str]:
        """As ONE-api does, without those of other probes."""
        tables = self._selection.tables
        found = self._asked(lambda: self._one.list_collections(eid, query_type=tables, **filters), "list of files")
        return of_probes(found, self._selection.probes)

    def list_datasets(self, eid: str, *, details: bool = True) -> Any:
        """As ONE-api does with details, without the files of other probes."""
        return self._table

    def load_object(
        self,
        eid: str,
        name: str,
        *,
        collection: str,
        attribute: Sequence[str] | None = None,
        check_hash: bool = True,
    ) -> Mapping[str, Any]:
        """As ONE-api does, of the chosen revision.

        Args:
            eid: of this session.
            name: of the object.
            collection: its folder.
            attribute: names; None for all.
            check_hash: always; the argument is that of ONE-api.

        Raises:
            ALFObjectNotFound: if the database lists no such file.
            SourceError: if none can be fetched.
        """
        from one.alf.exceptions import ALFObjectNotFound
        from one.alf.io import load_object

        wanted = WantedObject(name, collection, None if attribute is None else tuple(attribute))
        records = self._records(wanted)
        if not records:
            raise ALFObjectNotFound(name)
        self._fetch(wanted, records)
        there = [self._folder / record.path for record in records if record.path not in self._not_there]
        if not there:
            raise SourceError(f"{name} in {collection}: listed in the database, but not on the server (404).")
        return load_object(there, wildcards=True)

    # ---- before and after ----

    @cached_property
    def plan(self) -> list[FileRecord]:
        """The files that are read.

        Raises:
            SourceError: if the database cannot be asked.
        """
        return [record for wanted in self._wanted for record in self._records(wanted)]

    def bytes_to_fetch(self) -> int:
        """Of the files that the cache lacks, as far as the database gives their sizes."""
        return total_size([record for record in self.plan if not self._looks_whole(record)])

    def largest_probe_bytes(self) -> int | None:
        """Of the spikes that are read of a probe; None as long as the database was not asked for its files."""
        if "plan" not in self.__dict__:
            return None
        sizes: dict[str, int] = {}
        for record in self.plan:
            folder, _, name = record.path.rpartition("/")
            if name.startswith("spikes."):
                sizes[folder] = sizes.get(folder, 0) + record.size
        return max(sizes.values(), default=None)

    def read(self, reading: Callable[[Any], Recording]) -> Recording:
        """Fetch the files, then read them.

        Raises:
            SourceError: if a file cannot be fetched, or as the reading does.
            ConfigError: if the disk is too full.
        """
        self._failures.clear()
        self._require_space()
        for wanted in self._wanted:
            self._fetch(wanted, self._records(wanted))
        recording = reading(self)
        if self._failures:  # also where a reading does without what it could not have
            raise SourceError(self._failures[0])
        attributes = {"files": digest_of(self.plan), "file_revisions": revisions_of(self.plan)}
        return replace(
            recording,
            notes=(*recording.notes, *self._notes()),
            attributes={**recording.attributes, **attributes},
        )

    def remark(self, attributes: Mapping[str, str]) -> str:
        """A sentence, if the database lists other files now than those that a shard was made of.

        Args:
            attributes: of the shard's recording.
        """
        before = attributes.get("files")
        if before is None or self._selection.how.revision is not None:
            return ""
        try:
            if before == digest_of(self.plan):
                return ""
            now = revisions_of(self.plan)
        except SourceError as error:
            return f"not compared with the database ({error})"
        then = attributes.get("file_revisions", "unknown")
        return (
            f"its files were revised since (revisions then: {then}; now: {now}); delete the shard to prepare it again"
        )

    def finish(self) -> None:
        """Drop what was fetched, if this is asked for."""
        self._raw.drop()

    # ---- files ----

    @cached_property
    def _table(self) -> Any:
        tables = self._selection.tables
        found = self._asked(
            lambda: self._one.list_datasets(self._eid, details=True, query_type=tables), "list of files"
        )
        return files_of_probes(found, self._selection.probes)

    def _records(self, wanted: WantedObject) -> list[FileRecord]:
        return records_of(self._table, wanted, revision=self._selection.how.revision) if len(self._table) else []

    @cached_property
    def _wanted(self) -> list[WantedObject]:
        collections = self.list_collections(self._eid, filename="spikes.times*")
        return wanted_objects(collections, self._selection.how, lambda wanted: bool(self._records(wanted)))

    def _looks_whole(self, record: FileRecord) -> bool:
        path = self._folder / record.path
        return path.is_file() and (not record.size or path.stat().st_size == record.size)

    def _is_whole(self, record: FileRecord) -> bool:
        if not self._looks_whole(record):
            return False
        if record.path not in self._whole:
            if record.md5 and _md5(self._folder / record.path) != record.md5:
                return False
            self._whole.add(record.path)
        return True

    def _fetch(self, wanted: WantedObject, records: list[FileRecord]) -> None:
        """Fetch the files that are missing or damaged.

        Raises:
            SourceError: if the server does not give one; not if it does not have it.
        """
        lacking = [r for r in records if r.path not in self._not_there and not self._is_whole(r)]
        if not lacking:
            return
        self._raw.begin(lacking)
        began_s = time.monotonic()
        try:
            self._fetch_all(wanted, lacking)
        finally:
            self._fetching_s += time.monotonic() - began_s
            self._fetched_bytes += sum((self._folder / r.path).stat().st_size for r in lacking if self._is_whole(r))

    def _fetch_all(self, wanted: WantedObject, lacking: list[FileRecord]) -> None:
        filters = {} if wanted.attributes is None else {"attribute": list(wanted.attributes)}

        def at_once() -> None:
            self._raw.sweep(lacking)
            # ONE-api replaces a file of another size anyway, and one of another content only if it compares hashes;
            # that takes it long, for it clears 256 MB for each file
            check_hash = any(os.path.lexists(self._folder / record.path) for record in lacking)
            self._one.load_object(
                self._eid,
                wanted.name,
                collection=wanted.collection,
                revision=self._selection.how.revision,
                query_type=self._selection.tables,
                download_only=True,
                check_hash=check_hash,
                **filters,
            )
            self._require_whole(lacking)

        try:
            self._patient(at_once)
        except Exception as error:
            if not _is_absence(error):
                self._give_up(wanted, lacking, error)
        else:
            return
        for record in lacking:  # find out which one it is
            self._fetch_one(wanted, record)

    def _fetch_one(self, wanted: WantedObject, record: FileRecord) -> None:
        def alone() -> None:
            self._raw.sweep([record])
            there = os.path.lexists(self._folder / record.path)
            self._one.load_dataset_from_id(record.dataset_id, download_only=True, check_hash=there)
            self._require_whole([record])

        try:
            self._patient(alone)
        except Exception as error:
            if not _is_absence(error):
                self._give_up(wanted, [record], error)
            self._not_there.add(record.path)

    def _require_whole(self, records: list[FileRecord]) -> None:
        if damaged := [record for record in records if not self._is_whole(record)]:
            shown = ", ".join(self._difference(record) for record in damaged)
            raise DamagedFile(f"{shown}: fetched {self._patience.retries + 1} times, and refused each time")

    def _difference(self, record: FileRecord) -> str:
        path = self._folder / record.path
        if not path.is_file():
            return f"{record.path} (not there)"
        size = path.stat().st_size
        listed = f"{record.size} bytes" if record.size and size != record.size else f"the hash {record.md5}"
        found = f"{size} bytes" if record.size and size != record.size else _md5(path)
        return f"{record.path} (the database lists {listed}, the file has {found})"

    def _give_up(self, wanted: WantedObject, lacking: list[FileRecord], error: Exception) -> None:
        """Always raises."""
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ConfigError(_disk_full(self._folder)) from error
        self._raw.discard([record for record in lacking if not self._is_whole(record)])
        what = f"{wanted.name} in {wanted.collection}"
        damaged = isinstance(error, DamagedFile)
        failure = f"{error}." if damaged else f"{what} cannot be fetched: {reason_of_failure(error)}."
        self._failures.append(failure)
        raise SourceError(failure) from error

    def _require_space(self) -> None:
        needed, free = self.bytes_to_fetch(), free_bytes(self._folder)
        if needed > free:
            raise ConfigError(
                f"{_disk_full(self._folder)} This session needs {size_text(needed)}, and {size_text(free)} are free."
            )

    def _patient(self, call: Callable[[], Any]) -> Any:
        from one.alf.exceptions import ALFWarning

        with _stalls_end(), warnings.catch_warnings():
            # these say that the default revision, or the newest one, is taken, as it should be
            warnings.simplefilter("ignore", ALFWarning)
            if self._selection.tag is not None:  # another process has opened its own
                take_tables_of(self._one, self._selection.tag, patience=self._patience)
            return self._patience(call)

    def _asked(self, call: Callable[[], Any], what: str) -> Any:
        try:
            return self._patient(call)
        except Exception as error:
            if type(error).__module__.startswith("one."):
                raise
            self._failures.append(f"{what} cannot be had: {reason_of_failure(error)}.")
            raise SourceError(self._failures[-1]) from error

    def _notes(self) -> list[str]:
        if not self._fetched_bytes:
            return []
        rate = self._fetched_bytes / max(self._fetching_s, 1e-3)
        note = f"fetched {size_text(self._fetched_bytes)} at {rate / 1e6:.1f} MB/s"
        if self.bytes_after:
            note += f", {size_text(self.bytes_after)} and about {_duration(self.bytes_after / rate)} left"
        return [note]


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not be there yet."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _disk_full(folder: Path) -> str:
    return f"{folder}: the disk is full. Free some of it, or give --max-raw-gb, and run the same command again."


def _is_absence(error: Exception) -> bool:
    from one.alf.exceptions import ALFObjectNotFound

    return status_of(error) == NOT_FOUND or isinstance(error, ALFObjectNotFound)


def _md5(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{max(seconds / 60, 1):.0f} min"


@contextmanager
def _stalls_end() -> Generator[None]:
    """ONE-api gives its connections no timeout: one that brings nothing would be waited for without end."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALLED_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

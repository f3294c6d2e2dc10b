"""Fill a folder with shards.

Good shards that exist are kept. A session that cannot be prepared is skipped, and the reason is given. The work of
other processes in the same folder is not harmed.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from data_prep.memory_plan import Measured, Running, estimated_need, fits_beside
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import Recording
from data_prep.windows import in_words
from data_prep.workers import Returned, Workers
from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.data.manifest import ManifestWriter, Role, SessionEntry
from neuromtm.data.shards import Shard, read_header, shard_name, shard_problems, write_shard
from neuromtm.data.upgrade_journal import UPGRADE_JOURNAL
from neuromtm.errors import ConfigError, ShardError, SourceError, printable
from neuromtm.files import remove_left_behind, sha256

Status = Literal["prepared", "upgraded", "already done", "skipped"]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Job:
    """One session to prepare. Its recording is read only if the folder has no good shard of it yet."""

    eid: str
    role: Role
    load: Callable[[], Recording]
    """to prepare several sessions at a time, it must be of functions and data that can be pickled"""
    spike_bytes: int | None = None
    """memory of the spikes that are read at a time, e.g. of a probe, as the source can tell; None if it cannot"""
    remark: Callable[[Mapping[str, str]], str] | None = None
    """what to say of a session that is done already, by the attributes of its recording, e.g. that it was revised"""
    finish: Callable[[], None] = _nothing
    """called when the session is done with, prepared or not; not after an interruption"""


@dataclass(frozen=True)
class Plan:
    """What a source makes of the options of its command: the sessions, and how they are prepared."""

    jobs: list[Job]
    options: PrepareOptions
    """window, bins, filters and splits"""
    source_options: dict[str, Any] = field(default_factory=dict)
    """the source's own options, stored with the shards"""


@dataclass(frozen=True)
class Outcome:
    """What happened to a session."""

    eid: str
    status: Status
    note: str

    def __str__(self) -> str:
        return printable(f"{self.eid}: {self.status}" + (f": {self.note}" if self.note else ""))


def prepare_sessions(
    jobs: Iterable[Job],
    *,
    out: Path,
    options: PrepareOptions,
    source_options: dict[str, Any],
    overwrite: bool = False,
    n_jobs: int = 1,
) -> Iterable[Outcome]:
    """Prepare the sessions, and yield what happened to each.

    Shards and manifest do not depend on the number of jobs. With one, the sessions are prepared in this process, in
    their order. With several, each is prepared in a process of its own, as many at a time as fit into memory, and they
    come as they end. A session of which it is known that it cannot fit is skipped.

    Args:
        jobs: the sessions.
        out: folder of the shards and their manifest; it is made if it is missing.
        options: window, bins, filters and splits.
        source_options: the source's own options; the shards store them.
        overwrite: replace shards that were prepared with other options.
        n_jobs: most sessions that are prepared at a time.

    Raises:
        ConfigError: if a shard was prepared with other options and `overwrite` is off, if `out` is a file, if an eid
            cannot be a file name, or if a job cannot be sent to another process.
        ManifestError: if the folder's manifest cannot be read.
    """
    require_no_file(out)
    if (out / UPGRADE_JOURNAL).exists():  # some good shards are not listed, and would be taken for damaged ones
        raise ConfigError(
            f"--out {out}: an upgrade of this folder goes on or was interrupted. Let it end, by "
            f"python -m data_prep upgrade {out}, then prepare more sessions."
        )
    preparation = json.loads(json.dumps(options.as_json() | source_options))
    out.mkdir(parents=True, exist_ok=True)
    remove_left_behind(out)  # of a preparation that was killed
    with ManifestWriter(out) as manifest:
        folder = _Folder(out, options, preparation, overwrite, manifest)
        yield from _one_by_one(jobs, folder) if n_jobs == 1 else _side_by_side(jobs, folder, n_jobs)


def require_no_file(out: Path) -> None:
    """Refuse a place that can be no folder.

    Args:
        out: where to write.

    Raises:
        ConfigError: if it is a file, or it or a folder above it is a link that leads nowhere.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder.")
    for place in (out, *out.parents):
        if place.is_symlink() and not place.exists():
            raise ConfigError(f"--out {out}: {place} is a link that leads nowhere. Name a folder.")


class _Folder(NamedTuple):
    """Where shards are written, and how."""

    out: Path
    options: PrepareOptions
    preparation: dict[str, Any]
    overwrite: bool
    manifest: ManifestWriter

    def path(self, job: Job) -> Path:
        return self.out / shard_name(job.eid)


class _Made(NamedTuple):
    """What became of a session, without its shard."""

    problem: str
    """why there is no shard; empty if there is"""
    content: str = ""
    notes: tuple[str, ...] = ()


def _one_by_one(jobs: Iterable[Job], folder: _Folder) -> Iterator[Outcome]:
    for job in jobs:
        found = _found(job, folder)
        if isinstance(found, str):
            need = estimated_need(job.spike_bytes, ())
            made = _too_large(need) or _make(job, folder.path(job), folder.options, folder.preparation)
            found = _outcome(job, made, folder, replaces=found)
        yield found


def _side_by_side(jobs: Iterable[Job], folder: _Folder, n_jobs: int) -> Iterator[Outcome]:
    plan = _MemoryPlan()
    waiting: dict[str, tuple[Job, str]] = {}

    def ended(returned: Returned) -> Outcome:
        job, replaces = waiting.pop(returned.name)
        plan.end(job, returned.peak_bytes)
        made = _Made(returned.problem) if returned.problem else returned.value
        return _outcome(job, made, folder, replaces=replaces)

    with Workers(n_jobs) as workers:
        for job in jobs:
            while job.eid in waiting:  # named twice
                yield from map(ended, workers.wait())
            found = _found(job, folder)
            if isinstance(found, Outcome):
                yield found
                continue
            while workers.n_busy and (workers.n_busy == n_jobs or not plan.has_room(job, workers)):
                yield from map(ended, workers.wait())
            if too_large := _too_large(plan.need(job)):
                yield _outcome(job, too_large, folder, replaces=found)
                continue
            waiting[job.eid] = job, found
            plan.begin(job)
            make = partial(_make, job, folder.path(job), folder.options, folder.preparation)
            workers.start(job.eid, make)
        while workers.n_busy:
            yield from map(ended, workers.wait())


class _MemoryPlan:
    """What the sessions that run need, and what those that ended took."""

    def __init__(self) -> None:
        self._free_at_start = free_host_memory()
        self._measured: list[Measured] = []
        self._needs: dict[str, int] = {}

    def need(self, job: Job) -> int | None:
        return estimated_need(job.spike_bytes, self._measured)

    def has_room(self, job: Job, workers: Workers) -> bool:
        running = [Running(need, workers.used_bytes(eid)) for eid, need in self._needs.items()]
        free_now = free_host_memory()
        return fits_beside(self.need(job), running, free_at_start=self._free_at_start, free_now=free_now)

    def begin(self, job: Job) -> None:
        # a session of which nothing is known has all the memory until it ends
        need = self.need(job)
        self._needs[job.eid] = self._free_at_start if need is None else need

    def end(self, job: Job, peak_bytes: int) -> None:
        del self._needs[job.eid]
        if peak_bytes:
            self._measured.append(Measured(job.spike_bytes, peak_bytes))


def _too_large(need_bytes: int | None) -> _Made | None:
    free = free_host_memory()
    if need_bytes is None or need_bytes <= free:
        return None
    return _Made(
        f"its preparation would take about {size_text(need_bytes)} of memory, but {size_text(free)} are free. Free "
        "some, or prepare it on a larger machine.",
    )


def _found(job: Job, folder: _Folder) -> Outcome | str:
    """The outcome, if there is a good shard. If not, the session is to be prepared: what its shard will replace."""
    path = folder.path(job)
    if not path.exists():
        return ""
    listed = folder.manifest.find(job.eid)
    problems = _state(path, folder.preparation, overwrite=folder.overwrite, listed=listed)
    if problems is not None:
        return problems
    job.finish()
    return _already_done(path, job, listed, folder.manifest)


def _make(job: Job, path: Path, options: PrepareOptions, preparation: dict[str, Any]) -> _Made:
    """Read a session and write its shard."""
    try:
        prepared = prepare(job.load(), options=options, preparation=preparation)
        _write(path, prepared.shard)
    except (SourceError, ShardError) as error:
        job.finish()
        return _Made(str(error))
    job.finish()
    header = prepared.shard.header
    left_out = prepared.n_table_trials - header.n_trials
    return _Made(
        "",
        f"{header.n_trials} {'windows' if options.continuous else 'trials'}"
        + (f" ({left_out} removed: {in_words(prepared.removed_trials)})" if left_out else "")
        + f", {header.n_neurons} of {prepared.n_source_neurons} neurons in {len(header.info.region_names)} regions",
        prepared.notes,
    )


def _write(path: Path, shard: Shard) -> None:
    try:
        write_shard(path, shard)
    except ValueError as error:  # of the HDF5 library, or of an encoding
        raise ShardError(f"a shard cannot hold a text or a value of this session ({error}).") from error


def _outcome(job: Job, made: _Made, folder: _Folder, *, replaces: str) -> Outcome:
    if made.problem:
        return Outcome(job.eid, "skipped", made.problem)
    folder.manifest.add(folder.path(job), job.role)
    return Outcome(job.eid, "prepared", "; ".join(filter(None, (f"{made.content}, {job.role}", *made.notes, replaces))))


def _state(path: Path, preparation: dict, *, overwrite: bool, listed: SessionEntry | None) -> str | None:
    """None if the shard is good and was prepared with the same options; else why it is prepared again."""
    # the checksum comes first: the HDF5 library can crash on damaged files
    if listed and sha256(path) != listed.sha256:
        return "replaces a damaged shard"
    try:
        found = read_header(path)
    except ShardError:
        return "replaces a damaged shard"
    if found.preparation != preparation:
        if not overwrite:
            names = sorted(
                name
                for name in {*found.preparation, *preparation}
                if found.preparation.get(name) != preparation.get(name)
            )
            raise ConfigError(
                f"{path}: was prepared with other values of {', '.join(names)}. Choose another --out, or replace the "
                "shard with --overwrite."
            )
        return "replaces a shard that was prepared with other options"
    return None if listed or not shard_problems(path) else "replaces a damaged shard"


def _already_done(path: Path, job: Job, listed: SessionEntry | None, manifest: ManifestWriter) -> Outcome:
    notes = [job.remark(read_header(path).attributes)] if job.remark else []
    if listed is None or listed.role != job.role:
        manifest.add(path, job.role)
        notes.insert(0, "added to the manifest" if listed is None else f"role is now {job.role}")
    return Outcome(job.eid, "already done", "; ".join(filter(None, notes)))

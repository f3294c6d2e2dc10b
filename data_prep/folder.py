"""Fill a folder with shards.

Good shards that exist are kept. A session that cannot be prepared is skipped, and the reason is given. The work of
other processes in the same folder is not harmed.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import Recording
from data_prep.windows import in_words
from neuromtm.data.manifest import UPGRADE_JOURNAL, ManifestWriter, Role, SessionEntry
from neuromtm.data.shards import read_header, shard_name, shard_problems, write_shard
from neuromtm.errors import ConfigError, ShardError, SourceError
from neuromtm.files import sha256

Status = Literal["prepared", "upgraded", "already done", "skipped"]


@dataclass(frozen=True)
class Job:
    """One session to prepare. Its recording is read only if the folder has no good shard of it yet."""

    eid: str
    role: Role
    load: Callable[[], Recording]
    remark: Callable[[Mapping[str, str]], str] | None = None
    """what to say of a session that is done already, by the attributes of its recording, e.g. that it was revised"""
    finish: Callable[[], None] = lambda: None
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
        return f"{self.eid}: {self.status}" + (f": {self.note}" if self.note else "")


def prepare_sessions(
    jobs: Iterable[Job],
    *,
    out: Path,
    options: PrepareOptions,
    source_options: dict[str, Any],
    overwrite: bool = False,
) -> Iterable[Outcome]:
    """Prepare the sessions one after the other, and yield what happened to each.

    Args:
        jobs: the sessions.
        out: folder of the shards and their manifest; it is made if it is missing.
        options: window, bins, filters and splits.
        source_options: the source's own options; the shards store them.
        overwrite: replace shards that were prepared with other options.

    Raises:
        ConfigError: if a shard was prepared with other options and `overwrite` is off, if `out` is a file, or if an eid
            cannot be a file name.
        ManifestError: if the folder's manifest cannot be read.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is a file; name a folder.")
    if (out / UPGRADE_JOURNAL).exists():  # some good shards are not listed, and would be taken for damaged ones
        raise ConfigError(
            f"--out {out}: an upgrade of this folder goes on or was interrupted. Let it end, by "
            f"python -m data_prep upgrade {out}, then prepare more sessions."
        )
    preparation = json.loads(json.dumps(options.as_json() | source_options))
    with ManifestWriter(out) as manifest:
        for job in jobs:
            yield _prepare_one(job, out, options, preparation, overwrite=overwrite, manifest=manifest)


def _prepare_one(
    job: Job,
    out: Path,
    options: PrepareOptions,
    preparation: dict[str, Any],
    *,
    overwrite: bool,
    manifest: ManifestWriter,
) -> Outcome:
    path = out / shard_name(job.eid)
    replaces = ""
    if path.exists():
        listed = manifest.find(job.eid)
        problems = _state(path, preparation, overwrite=overwrite, listed=listed)
        if problems is None:
            job.finish()
            return _already_done(path, job, listed, manifest)
        replaces = problems
    try:
        prepared = prepare(job.load(), options=options, preparation=preparation)
        write_shard(path, prepared.shard)
    except (SourceError, ShardError) as error:
        job.finish()
        return Outcome(job.eid, "skipped", str(error))
    job.finish()
    manifest.add(path, job.role)
    header = prepared.shard.header
    left_out = prepared.n_table_trials - header.n_trials
    return Outcome(
        job.eid,
        "prepared",
        f"{header.n_trials} {'windows' if options.continuous else 'trials'}"
        + (f" ({left_out} removed: {in_words(prepared.removed_trials)})" if left_out else "")
        + f", {header.n_neurons} of {prepared.n_source_neurons} neurons in "
        + f"{len(header.info.region_names)} regions, {job.role}"
        + "".join(f"; {note}" for note in (*prepared.notes, replaces) if note),
    )


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

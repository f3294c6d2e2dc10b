"""`manifest.json`: the list of what is in a folder of shards."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from math import inf
from pathlib import Path
from time import monotonic
from typing import Any, Literal, get_args

from neuromtm.data.shard_access import place_problem
from neuromtm.data.shard_layout import CONTROL, eid_problem
from neuromtm.data.shards import ShardHeader, read_header, shard_problems
from neuromtm.data.upgrade_journal import upgraded_but_unlisted
from neuromtm.errors import DataError, ManifestError, ShardError
from neuromtm.files import hash_of, locked, sha256, write_whole
from neuromtm.regular_files import regular_text

FILE_NAME = "manifest.json"
FORMAT = "neuromtm-manifest"
FORMAT_VERSION = 1
DIGEST = "sessions_sha256"
"""checksum of all entries, without regard to spaces; manifests of older versions have none"""
MEND = "Delete it and prepare the folder again; good shards are kept."
MOST_NAMED = 20
"""sessions or animals that a message names"""
Role = Literal["pretrain", "heldout"]
ChosenRole = Literal[Role, "all"]
"""which sessions a command takes"""


@dataclass(frozen=True)
class SessionEntry:
    """One session's entry in the manifest."""

    eid: str
    file: str
    """name relative to the manifest's folder"""
    sha256: str
    subject: str
    lab: str
    role: Role
    n_trials: int
    n_bins: int
    n_neurons: int
    bin_size_s: float
    regions: dict[str, int]
    """acronym -> number of neurons"""
    behaviors: list[str]
    splits: dict[str, int]
    """split -> number of trials"""


def describe(path: Path, role: Role) -> SessionEntry:
    """The manifest entry of a shard.

    Raises:
        ShardError: if the shard cannot be read.
    """
    header: ShardHeader = read_header(path)
    names = sorted(set(header.neurons.region))
    return SessionEntry(
        eid=header.eid,
        file=path.name,
        sha256=sha256(path),
        subject=header.subject,
        lab=header.lab,
        role=role,
        n_trials=header.n_trials,
        n_bins=header.n_bins,
        n_neurons=header.n_neurons,
        bin_size_s=header.bin_size_s,
        regions={name: int((header.neurons.region == name).sum()) for name in names},
        behaviors=list(header.behaviors),
        splits={name: len(trials) for name, trials in header.splits.items()},
    )


def add_session(folder: Path, entry: SessionEntry) -> None:
    """Add or replace one session's entry. Several processes may do this at the same time.

    Raises:
        ManifestError: if the entry, or the manifest that is there, is not readable; nothing is written then.
    """
    with locked(folder):
        _add(folder, [entry])


def add_shard(path: Path, role: Role) -> None:
    """Add or replace the entry of a shard that was just written. Several processes may do this at the same time.

    The shard is described while the folder is locked. If another process replaces the shard in the meantime, the last
    process to add its entry describes the shard that is there. To add many shards, use `ManifestWriter`.

    Raises:
        ManifestError: as in `add_session`.
        ShardError: if the shard cannot be read.
    """
    with locked(path.parent):
        _add(path.parent, [describe(path, role)])


class ManifestWriter:
    """Adds many shards to a folder's manifest. Several processes may do this at the same time.

    The manifest is a whole file that lists every session, so writing it for each of them would take longer and longer.
    It is written every few seconds, and when the block ends, by an error or an interruption, too. If the process is
    killed, the shards of the last seconds are whole but not listed.

    Args:
        folder: of the shards.
        every_s: the manifest is written so often at most, and less often where writing takes long.
        holds_lock: whether the caller holds the folder's lock (`neuromtm.files.locked`) all the time.

    Raises:
        ManifestError: at the start of the block, if there is a manifest that cannot be read.
    """

    def __init__(self, folder: Path, *, every_s: float = 10.0, holds_lock: bool = False):
        self.folder, self.every_s, self.holds_lock = Path(folder), every_s, holds_lock
        self._waiting: dict[str, tuple[Path, Role]] = {}  # file name -> shard
        self._next_s = monotonic() + every_s
        self._read: tuple[tuple[int, int, int] | None, dict[str, SessionEntry]] = (None, {})

    def __enter__(self) -> "ManifestWriter":
        self._entries()  # a manifest that cannot be read is an error before any work, not after it
        return self

    def __exit__(self, *_: object) -> None:
        self.write()

    def find(self, eid: str) -> SessionEntry | None:
        """One session's entry as the manifest lists it; a shard that waits to be listed is listed first.

        Raises:
            ManifestError: if there is a manifest that cannot be read.
        """
        if any(path.stem == eid for path, _ in self._waiting.values()):
            self.write()
        return self._entries().get(eid)

    def add(self, path: Path, role: Role) -> None:
        """List a shard of the folder before long.

        Raises:
            ManifestError, ShardError: as `write` does, which this may call.
        """
        self._waiting[path.name] = path, role
        if monotonic() >= self._next_s:
            self.write()

    def write(self) -> None:
        """List all shards that wait. Each is described while the folder is locked, see `add_shard`.

        Raises:
            ManifestError: if an entry, or the manifest that is there, is not readable.
            ShardError: if a shard cannot be read. The others are listed first.
        """
        waiting, self._waiting = self._waiting, {}
        if not waiting:
            return
        started_s = monotonic()
        entries, errors = [], []
        with nullcontext() if self.holds_lock else locked(self.folder):
            for path, role in waiting.values():
                try:
                    entries.append(describe(path, role))
                except ShardError as error:
                    errors.append(error)
            _add(self.folder, entries)
        ended_s = monotonic()
        self._next_s = ended_s + max(self.every_s, 20 * (ended_s - started_s))
        if errors:
            raise errors[0]

    def _entries(self) -> dict[str, SessionEntry]:
        """The manifest's entries; it is read again only if it is another file than last time."""
        path = self.folder / FILE_NAME
        if not path.exists():
            return {}
        found = path.stat()
        identity = found.st_ino, found.st_mtime_ns, found.st_size
        if self._read[0] != identity:
            self._read = identity, {entry.eid: entry for entry in _entries(path)}
        return self._read[1]


def _add(folder: Path, added: Sequence[SessionEntry]) -> None:
    problems = [problem for entry in added for problem in _field_problems(entry, f"session {entry.eid!r}")]
    if problems:
        raise ManifestError(f"{folder / FILE_NAME}: not written, as no reader would take it: {'; '.join(problems)}.")
    entries = {e.eid: e for e in _entries(folder / FILE_NAME)} if (folder / FILE_NAME).exists() else {}
    entries |= {entry.eid: entry for entry in added}
    sessions = [vars(entries[eid]) for eid in sorted(entries)]
    manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, DIGEST: hash_of(sessions), "sessions": sessions}
    write_whole(folder / FILE_NAME, json.dumps(manifest, indent=1) + "\n")


def find_entry(folder: Path, eid: str) -> SessionEntry | None:
    """One session's entry; None if the folder has no manifest yet, or if the manifest does not list the session.

    Raises:
        ManifestError: if there is a manifest that cannot be read.
    """
    path = Path(folder) / FILE_NAME
    return next((entry for entry in _entries(path) if entry.eid == eid), None) if path.exists() else None


def read_manifest(folder: Path) -> list[SessionEntry]:
    """The sessions of a folder, sorted by eid.

    Raises:
        ManifestError: if the folder or its manifest is missing, unreadable, of another version or empty,
            or names a session twice.
    """
    folder = Path(folder)
    path = folder / FILE_NAME
    if not folder.is_dir() or not path.exists():
        what = f"no {FILE_NAME} in it, so it is not a data folder" if folder.is_dir() else "no such folder"
        raise ManifestError(f"{folder}: {what}. Prepare data first, e.g. python -m data_prep simulate --out {folder}")
    entries = _entries(path)
    if not entries:
        raise ManifestError(
            f"{path}: lists no session. Prepare data first, e.g. python -m data_prep simulate --out {folder}"
        )
    return sorted(entries, key=lambda entry: entry.eid)


def choose_sessions(
    folder: Path,
    *,
    eids: Sequence[str] | None,
    role: ChosenRole,
    subjects: Sequence[str] | None = None,
) -> list[SessionEntry]:
    """Some sessions of a folder: those named, in that order, or else those of a role, sorted by eid.

    Args:
        folder: with a manifest.
        eids: the sessions; each is taken once.
        role: which, where `eids` is None.
        subjects: only sessions of these animals, where `eids` is None; by default of all.

    Raises:
        ManifestError: if the folder holds no data.
        DataError: if an eid or a subject is not there, none is named, or no session has the role.
    """
    entries = {entry.eid: entry for entry in read_manifest(folder)}
    if eids is not None:
        unknown = [eid for eid in eids if eid not in entries]
        if unknown or not eids:
            raise DataError(
                f"{folder}: no session {_some([repr(eid) for eid in unknown]) or 'is named'}. There are: "
                f"{_some(list(entries))}."
            )
        return [entries[eid] for eid in dict.fromkeys(eids)]
    chosen = [entry for entry in entries.values() if role in ("all", entry.role)]
    if not chosen:
        raise DataError(
            f"{folder}: no session of the role {role!r}; there are "
            f"{', '.join(sorted({entry.role for entry in entries.values()}))}. Choose another role, or name sessions."
        )
    return chosen if subjects is None else _of_subjects(folder, chosen, subjects, role)


def _of_subjects(folder: Path, chosen: list[SessionEntry], subjects: Sequence[str], role: str) -> list[SessionEntry]:
    there, wanted = {entry.subject for entry in chosen}, set(subjects)
    unknown = [name for name in dict.fromkeys(subjects) if name not in there]
    if unknown or not subjects:
        raise DataError(
            f"{folder}: no subject {', '.join(map(repr, unknown)) or 'is named'} among the sessions of the role "
            f"{role!r}. There are: {_some([repr(name) for name in sorted(there)])}."
        )
    return [entry for entry in chosen if entry.subject in wanted]


def _some(names: Sequence[str]) -> str:
    """Names in a sentence, which stays readable if there are thousands."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _entries(path: Path) -> list[SessionEntry]:
    try:
        manifest = json.loads(regular_text(path))
        version = manifest["format"], manifest["format_version"]
        if version != (FORMAT, FORMAT_VERSION):
            raise ManifestError(
                f"{path}: format {version[0]!r} version {version[1]!r}, but this program reads {FORMAT!r} version "
                f"{FORMAT_VERSION}. Prepare the folder again with this version."
            )
        entries = [SessionEntry(**session) for session in manifest["sessions"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ManifestError(f"{path}: not a readable manifest ({error}). {MEND}") from error
    problems = [problem for n, entry in enumerate(entries, 1) for problem in _field_problems(entry, f"session {n}")]
    if problems:
        raise ManifestError(f"{path}: not a readable manifest ({'; '.join(problems)}). {MEND}")
    if twice := sorted(eid for eid, times in Counter(entry.eid for entry in entries).items() if times > 1):
        raise ManifestError(f"{path}: lists {', '.join(map(repr, twice))} more than once. {MEND}")
    if entries and DIGEST in manifest and manifest[DIGEST] != hash_of(manifest["sessions"]):
        raise ManifestError(f"{path}: its entries are not those that were written: damaged, or changed by hand. {MEND}")
    return entries


def _field_problems(entry: SessionEntry, named: str) -> list[str]:
    return [
        f"{name} of {named} is {getattr(entry, name)!r}, not {wanted}"
        for name, (is_good, wanted) in FIELDS.items()
        if not is_good(getattr(entry, name))
    ]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and CONTROL.search(value) is None


def _is_file_name(value: Any) -> bool:
    # a name with a folder in it would lead to a file outside this folder
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\\0")


def _is_role(value: Any) -> bool:
    return isinstance(value, str) and value in get_args(Role)


def _is_number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < inf


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_number, value.values()))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "eid": (lambda value: eid_problem(value) is None, "the name of a session, which names files"),
    "file": (_is_file_name, "the name of a file in this folder"),
    "sha256": (_is_text, "text"),
    "subject": (_is_text, "text"),
    "lab": (_is_text, "text"),
    "role": (_is_role, f"one of {', '.join(get_args(Role))}"),
    "n_trials": (_is_number, "a number of trials"),
    "n_bins": (_is_number, "a number of bins"),
    "n_neurons": (_is_number, "a number of neurons"),
    "bin_size_s": (_is_duration, "a number of seconds"),
    "regions": (_are_numbers, "a number of neurons for each region"),
    "behaviors": (_are_names, "a list of names"),
    "splits": (_are_numbers, "a number of trials for each split"),
}
"""field of an entry -> the check of its value, and in words what the value must be"""


def folder_problems(folder: Path) -> dict[str, list[str]]:
    """File name -> all its problems: it is damaged, missing, changed since it was listed, or not in the manifest.

    Raises:
        ManifestError: if there is no readable manifest to check against.
    """
    entries = read_manifest(folder)
    new = upgraded_but_unlisted(folder)
    problems = {entry.file: found for entry in entries if (found := _entry_problems(Path(folder), entry, new))}
    listed = {entry.file for entry in entries}
    for path in sorted(Path(folder).glob("*.h5")):
        if path.name not in listed:
            problems[path.name] = [f"{path}: not in the manifest. Run the preparation again, which adds it."]
    return problems


def _entry_problems(folder: Path, entry: SessionEntry, upgraded: Mapping[str, str]) -> list[str]:
    path = folder / entry.file
    if path.exists() and (elsewhere := place_problem(path)) is not None:
        return [f"{path}: {elsewhere}"]
    # the checksum comes first: the HDF5 library can crash on damaged files, so such a file is not even opened
    digest = sha256(path) if path.exists() else entry.sha256
    if digest != entry.sha256 and digest == upgraded.get(entry.file):
        return [
            f"{path}: a whole new shard of an upgrade that goes on or was interrupted. Run python -m data_prep upgrade "
            f"{folder} again, which lists it."
        ]
    if digest != entry.sha256:
        return [
            f"{path}: its bytes are not the ones the manifest lists; it is damaged, cut short or was replaced. "
            "Delete it and prepare it again."
        ]
    found = shard_problems(path)
    if not found and describe(path, entry.role) != entry:
        found = [f"{path}: its content is not what the manifest says. Prepare it again."]
    return found

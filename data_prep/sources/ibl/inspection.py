"""What `ibl --inspect` prints of each session. Local files are read; of the database only lists of files are."""

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from data_prep.inspection import inspection_text
from data_prep.options import PrepareOptions
from data_prep.recording import WHISKER, Recording
from data_prep.sources.ibl.behaviors import BEHAVIORS
from data_prep.sources.ibl.local_files import LocalFiles
from data_prep.sources.ibl.recording import ReadOptions, read_session
from data_prep.sources.ibl.remote_files import RemoteFiles
from data_prep.sources.ibl.sessions import SessionName
from data_prep.sources.ibl.sortings import choose_sortings, revision_of_spikes, sorter_of
from data_prep.windows import cut_windows, in_words
from neuromtm.errors import SourceError

OBJECT = re.compile(r"(?:_[^_.]+_)?([^_.]+)\.([^.]+)\.")
"""object and attribute in the name of a file, e.g. `_ibl_leftCamera.times.npy`"""
REGIONS = "channels.brainLocationIds_ccf_2017"
GB = 1e9


def inspect_sessions(
    sessions: Iterable[tuple[SessionName, LocalFiles | RemoteFiles]], *, how: ReadOptions, arguments: Sequence[object]
) -> str:
    """What is in each session, and one command that would prepare them.

    Args:
        sessions: names of each, and its files. The database is asked for lists of files alone.
        how: what is read; its behaviours do not matter, as all are looked for.
        arguments: of the command that would prepare them.
    """
    parts = []
    for session, one in sessions:
        try:
            if isinstance(one, LocalFiles):
                parts.append(_of_local_files(one, session, how))
            else:
                parts.append(_of_listed_files(one, session, how))
        except SourceError as error:
            parts.append(f"session   {session.path_eid}: cannot be prepared: {error}")
    command = shlex.join(["python", "-m", "data_prep", "ibl", *map(str, arguments), "--out", "data/ibl"])
    return "\n\n".join([*parts, command])


def _of_local_files(one: LocalFiles, session: SessionName, how: ReadOptions) -> str:
    recording = read_session(
        one,
        session.one_eid,
        eid=session.path_eid,
        subject=session.subject,
        lab=session.lab,
        how=replace(how, behaviors=tuple(BEHAVIORS)),
    )
    datasets = one.list_datasets(session.one_eid, details=True)
    probes = _probe_lines(datasets, _folders(datasets), how)
    return "\n".join([inspection_text(replace(recording, attributes={})), *probes, _kept(recording)])


def _kept(recording: Recording) -> str:
    """The trials that the paper's filter leaves."""
    whisker = {name: trace for name, trace in recording.traces.items() if name == WHISKER}
    n_trials = recording.trials.n_trials if recording.trials is not None else 0
    try:
        windows = cut_windows(replace(recording, traces=whisker), PrepareOptions())
    except SourceError as error:
        return f"kept      too few trials by the paper's filter: {error}"
    removed = f", removed: {in_words(windows.removed)}" if windows.removed else ""
    return f"kept      {len(windows.index)} of {n_trials} trials by the paper's filter{removed}"


def _of_listed_files(one: RemoteFiles, session: SessionName, how: ReadOptions) -> str:
    return "\n".join(listing_lines(one.list_datasets(session.one_eid), session, how))


def listing_lines(datasets: Any, session: SessionName, how: ReadOptions) -> Iterator[str]:
    """What the list of a session's files says, one line a thing.

    Args:
        datasets: table of its files, as `list_datasets(details=True)` of ONE-api gives it.
        session: its names.
        how: what is read.

    Raises:
        SourceError: if it has no spikes, or not those of the sorter that is asked for.
    """
    folders = _folders(datasets)
    probes, of_session = _probe_lines(datasets, folders, how), folders.get("alf", set())
    yield f"session   {session.path_eid} (animal {session.subject}, lab {session.lab or 'unknown'}, {session.one_eid})"
    yield from probes
    if not {"trials.table", "trials.stimOn_times"} & of_session:
        yield "WARNING   no table of trials in alf, so the session is skipped"
    there = [name for name, b in BEHAVIORS.items() if any(f"{o}.{needed[0]}" in of_session for o, needed in b.objects)]
    yield f"traces    {', '.join(there) or 'none'}"
    yield "unread    units, regions, events and trials: their files are not fetched to look at them"


def _folders(datasets: Any) -> dict[str, set[str]]:
    """Folder -> objects and attributes that it has, e.g. `spikes.times`; a revision is part of its folder."""
    folders: dict[str, set[str]] = {}
    for path in map(str, datasets["rel_path"] if len(datasets) else ()):
        folder, _, name = re.sub("#[^#/]*#/", "", path).rpartition("/")
        if match := OBJECT.match(name):
            folders.setdefault(folder, set()).add(f"{match[1]}.{match[2]}")
    return folders


def _probe_lines(datasets: Any, folders: Mapping[str, set[str]], how: ReadOptions) -> list[str]:
    """The sortings of each probe, and which one is read."""
    with_spikes = sorted(folder for folder, names in folders.items() if "spikes.times" in names)
    sortings = choose_sortings(with_spikes, sorter=how.sorter)
    if not sortings:
        raise SourceError("no spikes: no probe has spikes.times.")
    lines = []
    for probe, folder in sortings.items():
        revision = revision_of_spikes(datasets, folder, revision=how.revision) or "none"
        others = [sorter_of(other) for other in with_spikes if other.split("/")[1] == probe and other != folder]
        also = f"; also sorted by {', '.join(others)}" if others else ""
        lines.append(f"sorting   {probe}: {sorter_of(folder)}, revision {revision}{_size(datasets, folder)}{also}")
        if not any(REGIONS in folders.get(place, ()) for place in (folder, f"alf/{probe}")):
            lines.append(f"WARNING   {probe}: no {REGIONS}, so the session is skipped")
    return lines


def _size(datasets: Any, folder: str) -> str:
    """What the spikes of a sorting take, of all its revisions."""
    if "file_size" not in datasets:
        return ""
    of_spikes = datasets["rel_path"].str.match(rf"{re.escape(folder)}/(?:#[^#/]*#/)?spikes\.(?:times|clusters)\.")
    return f", spikes {datasets['file_size'][of_spikes].sum() / GB:.3f} GB"

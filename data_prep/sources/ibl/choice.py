"""Which sessions to prepare: those that are named, those of a list, those that a search or a release tag finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_prep.sources.ibl.patience import Patience
from data_prep.sources.ibl.queries import Tables, search_sessions
from data_prep.sources.ibl.release import take_tables_of
from data_prep.sources.ibl.session_lists import ListName, listed_sessions
from data_prep.sources.ibl.sessions import SessionName, find_known, find_sessions
from neuromtm.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the user says of the sessions.

    A search and a tag narrow down a list or names; without these they choose by themselves.
    """

    names: Sequence[str] = ()
    """eids or names of sessions"""
    listed: ListName | None = None
    query: Mapping[str, Any] = field(default_factory=dict)
    """of ONE-api's search"""
    tag: str | None = None
    """of a data release; only the files of the release are read"""


@dataclass(frozen=True, kw_only=True)
class ChosenSessions:
    """What was found."""

    sessions: list[SessionName]
    probes: Mapping[str, tuple[str, ...] | None] = field(default_factory=dict)
    """eid in ONE -> the probes to read; one that is not there is read whole"""
    unknown: Sequence[str] = ()
    """listed, and not in the database"""
    notes: Sequence[str] = ()


def find_chosen(one: Any, choice: Choice, *, patience: Patience) -> ChosenSessions:
    """Find the sessions to prepare.

    Args:
        one: an open ONE-api object.
        choice: what the user says.
        patience: for the network.

    Raises:
        ConfigError: if there is no such session, term or tag, or the database cannot be asked.
    """
    if choice.tag is not None:
        take_tables_of(one, choice.tag, patience=patience)
    tables: Tables = "local" if one.mode == "local" or choice.tag is not None else "remote"
    searches = bool(choice.query) or choice.tag is not None
    searched = search_sessions(one, choice.query, tables=tables, patience=patience) if searches else None
    if searched == []:
        raise ConfigError(f"{_shown(choice)}: no session is found.")
    if choice.listed is not None:
        return _of_list(one, choice, searched, patience)
    if choice.names or searched is None:
        sessions = find_sessions(one, tuple(choice.names), patience=patience)
    elif one.mode == "local":
        sessions = find_sessions(one, tuple(searched))
    else:
        sessions, _ = find_known(one, searched, patience=patience)
    kept = [session for session in sessions if searched is None or session.one_eid in {*searched}]
    return ChosenSessions(sessions=_not_none(kept, choice), notes=_narrowed(len(kept), len(sessions), choice))


def _of_list(one: Any, choice: Choice, searched: Sequence[str] | None, patience: Patience) -> ChosenSessions:
    assert choice.listed is not None
    probes = listed_sessions(choice.listed)
    wanted = [eid for eid in probes if searched is None or eid in {*searched}]
    notes = _narrowed(len(wanted), len(probes), choice)
    if one.mode == "local":
        sessions = [session for session in find_sessions(one, ()) if session.one_eid in {*wanted}]
        if not sessions:
            raise ConfigError(
                f"--list {choice.listed}: {one.cache_dir} has none of its sessions, or knows them by other eids, as "
                "tables do that were built on this computer. Name them by --eids-file."
            )
        notes = [f"{len(sessions)} of the {len(wanted)} sessions of --list {choice.listed} are in {one.cache_dir}."]
        return ChosenSessions(sessions=sessions, probes=probes, notes=notes)
    sessions, unknown = find_known(one, wanted, patience=patience)
    return ChosenSessions(sessions=_not_none(sessions, choice), probes=probes, unknown=unknown, notes=notes)


def _not_none(sessions: list[SessionName], choice: Choice) -> list[SessionName]:
    if not sessions:
        raise ConfigError(f"{_shown(choice)}: none of these sessions is found.")
    return sessions


def _narrowed(n_kept: int, n_all: int, choice: Choice) -> list[str]:
    return [f"{_shown(choice)}: {n_kept} of {n_all} sessions."] if n_kept < n_all else []


def _shown(choice: Choice) -> str:
    parts = [
        f"--list {choice.listed}" if choice.listed else "",
        "--eids" if choice.names else "",
        "--query " + " ".join(map(str, choice.query)) if choice.query else "",
        f"--tag {choice.tag}" if choice.tag else "",
    ]
    return " ".join(filter(None, parts)) or "repeated-site sessions"

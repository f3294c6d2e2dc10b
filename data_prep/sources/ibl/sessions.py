"""Choose the sessions of the International Brain Laboratory, the place to read them from, and their names."""

import copyreg
import importlib.util
import logging
import os
import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from data_prep.folder import Job
from data_prep.recording import Recording
from data_prep.sources.ibl.local_files import LocalFiles, Selection
from data_prep.sources.ibl.patience import Patience, reason_of_failure, status_of
from data_prep.sources.ibl.recording import AS_THE_PAPER, ReadOptions, read_session
from data_prep.sources.ibl.remote_files import RemoteFiles
from data_prep.sources.ibl.repeated_site import HELDOUT_EIDS, PRETRAIN_EIDS
from neuromtm.data.manifest import Role
from neuromtm.errors import ConfigError, SourceError
from neuromtm.regular_files import regular_text, require_regular

Mode = Literal["remote", "local"]
Identity = Literal["one", "path"]

CREDENTIALS = (
    "set ALYX_TOKEN (ONE-api 3.6 or newer), or ALYX_LOGIN and ALYX_PWD, in the environment, or log in once with "
    'python -c "from one.api import ONE; ONE.setup(); ONE()". Accounts: openalyx.internationalbrainlab.org/signup'
)


@dataclass(frozen=True)
class SessionName:
    """One session and its names."""

    one_eid: str
    """eid in this ONE; it changes when the tables of a local folder are built again"""
    path_eid: str
    """`<lab>_<subject>_<date>_<number>`, the same wherever the session is stored"""
    subject: str
    lab: str
    place: str = ""
    """folder of the session below that of the cache"""


def open_one(*, mode: Mode, cache_dir: Path | None) -> Any:
    """Open ONE-api.

    Args:
        mode: `local` reads a folder without the network; `remote` downloads what is missing.
        cache_dir: the folder to read, or to download to.

    Raises:
        ConfigError: if ONE-api is not installed, HOME cannot be written, the folder has no tables of ONE-api,
            credentials are missing, or the database does not answer.
    """
    if missing := [name for name in ("one", "iblatlas", "pandas") if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"reading IBL data needs {', '.join(missing)}: pip install 'neuromtm[ibl]'")
    _check_home()
    logging.getLogger("one").setLevel(logging.CRITICAL)  # what fails is said by this program
    one = _open_local(cache_dir) if mode == "local" else _open_remote(cache_dir)
    # another process opens its own: tables, files and connections are not shared
    copyreg.pickle(type(one), partial(_by_its_place, cache_dir=cache_dir))
    return one


def _by_its_place(one: Any, *, cache_dir: Path | None) -> tuple[Callable[..., Any], tuple[Mode, Path | None]]:
    return _opened_once, (one.mode, cache_dir)


@cache
def _opened_once(mode: Mode, cache_dir: Path | None) -> Any:
    return open_one(mode=mode, cache_dir=cache_dir)


def find_sessions(one: Any, names: tuple[str, ...], *, patience: Patience | None = None) -> list[SessionName]:
    """Find sessions by either of their names.

    Args:
        one: an open ONE-api object.
        names: eids in ONE, or names of the form `<lab>_<subject>_<date>_<number>`. If it is empty: all sessions of a
            local folder, or the repeated-site sessions of the remote database.
        patience: for the network.

    Raises:
        ConfigError: if sessions are not there; the message names all of them.
    """
    if one.mode == "local":
        sessions = sorted((_describe(one, str(eid)) for eid in one.search()), key=lambda session: session.path_eid)
        if not sessions:
            raise ConfigError(f"--cache-dir {one.cache_dir}: its tables list no session.")
        by_name = {s.one_eid: s for s in sessions} | {s.path_eid: s for s in sessions}
        if unknown := [name for name in names if name not in by_name]:
            raise ConfigError(
                f"--eids or --eids-file: not in {one.cache_dir}: {', '.join(unknown)}. Sessions in this folder: "
                f"{', '.join(s.path_eid for s in sessions[:5])}{' ...' if len(sessions) > 5 else ''}."
            )
        return list(dict.fromkeys(by_name[name] for name in names)) or sessions
    found, unknown = find_known(one, names or (*PRETRAIN_EIDS, *HELDOUT_EIDS), patience=patience)
    if unknown:
        raise ConfigError(
            f"--eids or --eids-file: not in the database, or not open to this account: {', '.join(unknown)}."
        )
    return found


def find_known(
    one: Any, names: Sequence[str], *, patience: Patience | None = None
) -> tuple[list[SessionName], list[str]]:
    """Find those of some sessions that are there, by either of their names.

    Args:
        one: an open ONE-api object.
        names: as for `find_sessions`.
        patience: for the network.

    Returns:
        The sessions, and the names of those that are not there.

    Raises:
        ConfigError: if the database does not answer.
    """
    found, unknown = {}, []
    for name in names:
        session = _find_by_name(one, name, patience or Patience(retries=0))
        if session is None:
            unknown.append(name)
        else:
            found[session.one_eid] = session
    return list(found.values()), unknown


def make_jobs(
    one: Any,
    sessions: list[SessionName],
    *,
    identity: Identity,
    heldout_eids: tuple[str, ...] | None = None,
    heldout_subjects: tuple[str, ...] = (),
    how: ReadOptions = AS_THE_PAPER,
    files: Callable[[SessionName], LocalFiles | RemoteFiles] | None = None,
) -> list[Job]:
    """Make one job for each session.

    Args:
        one: an open ONE-api object.
        sessions: the sessions to prepare.
        identity: which of its two names a session gets in its shard.
        heldout_eids: sessions to keep out of pretraining, by either name; None means the five of the paper.
        heldout_subjects: animals to keep out of pretraining.
        how: what is read of a session.
        files: gives the files of a session; if it is not given, all those of a local folder.
    """
    kept_away = {*(HELDOUT_EIDS if heldout_eids is None else heldout_eids)}

    def job(session: SessionName) -> Job:
        away = session.subject in heldout_subjects or not kept_away.isdisjoint((session.one_eid, session.path_eid))
        role: Role = "heldout" if away else "pretrain"
        eid = name_in_shard(session, identity)
        own = files(session) if files else LocalFiles(one, session.one_eid, Selection())
        names = {"eid": eid, "subject": session.subject, "lab": session.lab}
        read = partial(read_session, one_eid=session.one_eid, how=how, **names)
        return Job(
            eid,
            role,
            partial(own.read, read),
            spike_bytes=own.largest_probe_bytes(),
            remark=own.remark,
            finish=own.finish,
        )

    return [job(session) for session in sessions]


def name_in_shard(session: SessionName, identity: Identity) -> str:
    """The name that a session gets in its shard."""
    return session.one_eid if identity == "one" else session.path_eid


def job_of_unknown(name: str) -> Job:
    """A job that says of a listed session that it is not there.

    Args:
        name: of the session.
    """
    return Job(name, "pretrain", _refuse_unknown)


def _refuse_unknown() -> Recording:
    raise SourceError("not in the database, or not open to this account.")


def unmatched_heldout(
    sessions: list[SessionName], *, heldout_eids: tuple[str, ...] | None, heldout_subjects: tuple[str, ...]
) -> list[str]:
    """Sentences about held-out names that fit no session.

    Such a name is not an error: it may be mistyped, or its session may be prepared in another run.
    """
    names = {name for s in sessions for name in (s.one_eid, s.path_eid)}
    subjects = {s.subject for s in sessions}
    sentences = []
    if unknown := sorted({*(heldout_eids or ())} - names):
        sentences.append(f"--heldout-eids: not among the sessions ({len(sessions)} in all): {', '.join(unknown)}.")
    if unknown := sorted({*heldout_subjects} - subjects):
        animals = ", ".join(sorted(subjects))
        sentences.append(
            f"--heldout-subjects: not among the animals of these sessions ({animals}): {', '.join(unknown)}."
        )
    return sentences


def read_eids_file(path: Path) -> tuple[str, ...]:
    """Read the names of sessions, one on each line. Empty lines and text after a # are left out.

    Raises:
        ConfigError: if the file cannot be read or names no session.
    """
    try:
        lines = regular_text(path, encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--eids-file {path}: cannot be read ({error}).") from error
    eids = tuple(eid for line in lines if (eid := line.split("#")[0].strip()))
    if not eids:
        raise ConfigError(f"--eids-file {path}: names no session.")
    if odd := [eid for eid in eids if not eid.isprintable()]:
        raise ConfigError(f"--eids-file {path}: {odd[0]!r} is no name. Save the list as plain text, a name a line.")
    return eids


def _check_home() -> None:
    # ONE-api keeps its settings in HOME, even when it reads a local folder
    home = Path(os.path.expanduser("~"))
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise ConfigError(
            f"HOME={home} cannot be written, but ONE-api keeps its settings there. Set HOME to a folder of yours."
        ) from error


def _open_local(cache_dir: Path | None) -> Any:
    from one.api import One

    if cache_dir is None:
        raise ConfigError("--mode local needs --cache-dir, the folder with the data.")
    if not cache_dir.is_dir():
        raise ConfigError(f"--cache-dir {cache_dir}: no such folder.")
    if not (cache_dir / "sessions.pqt").exists() or not (cache_dir / "datasets.pqt").exists():
        raise ConfigError(
            f"--cache-dir {cache_dir}: sessions.pqt or datasets.pqt is missing. Index the folder first: "
            f"python -c \"from one.alf.cache import make_parquet_db; make_parquet_db('{cache_dir}')\""
        )
    for table in sorted(cache_dir.glob("*.pqt")):
        require_regular(table)
    return One(mode="local", cache_dir=cache_dir)


def _open_remote(cache_dir: Path | None) -> Any:
    import one.params
    from one.api import OneAlyx

    given = {name: os.environ.get(f"ALYX_{name.upper()}") for name in ("url", "login", "pwd", "token")}
    login: dict[str, Any] = {"base_url": given["url"]} if given["url"] else {}
    if given["token"]:
        login["token"] = given["token"]
    elif given["login"] and given["pwd"]:
        login |= {"username": given["login"], "password": given["pwd"]}
    else:
        client = given["url"] or one.params.get_default_client()
        known = one.params.get(client, silent=True).as_dict() if client else {}
        if not known.get("TOKEN") and not known.get("ALYX_PWD"):
            raise ConfigError(f"--mode remote needs an account of the database: {CREDENTIALS}")
    place = {"cache_dir": cache_dir} if cache_dir else {}
    try:
        return OneAlyx(mode="remote", silent=True, **login, **place)
    except (OSError, ValueError) as error:
        raise ConfigError(f"the database does not answer, or refuses the login ({error}): {CREDENTIALS}") from error


def _describe(one: Any, one_eid: str) -> SessionName:
    details = one.get_details(one_eid)
    lab, subject = str(details["lab"] or ""), str(details["subject"])
    date, number = str(details["date"]), f"{int(details['number']):03d}"
    path_eid = "_".join(part for part in (lab, subject, date, number) if part)
    return SessionName(one_eid, path_eid, subject, lab, "/".join((lab, "Subjects", subject, date, number)))


def _find_by_name(one: Any, name: str, patience: Patience) -> SessionName | None:
    from one.alf.exceptions import ALFError

    try:
        path_eid = re.fullmatch(r".+_(\d{4}-\d\d-\d\d)_(\d{3})", name)
        if path_eid is None:
            return patience(lambda: _describe(one, name))
        # names of labs and animals may hold underscores, so whole names are compared with the sessions of that day
        date, number = path_eid.groups()
        on_that_day = patience(lambda: [str(eid) for eid in one.search(date_range=[date, date], number=int(number))])
        described = (patience(lambda eid=eid: _describe(one, eid)) for eid in on_that_day)
        return next((session for session in described if session.path_eid == name), None)
    # ONE-api fails with one of the last three if the database does not know an eid
    except (ALFError, ValueError, TypeError, AttributeError, KeyError):
        return None
    except OSError as error:
        if status_of(error) in (403, 404):
            return None
        raise ConfigError(
            f"the database cannot be asked for {name}: {reason_of_failure(error)}. Try again later."
        ) from error

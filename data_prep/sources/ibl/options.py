"""The options of `python -m data_prep ibl`: sessions of the International Brain Laboratory."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from data_prep.folder import Job, Plan
from data_prep.options import chosen_options, recording_options
from data_prep.sources.ibl.behaviors import DEFAULT
from data_prep.sources.ibl.choice import Choice, ChosenSessions, find_chosen
from data_prep.sources.ibl.estimate import estimate, require_disk
from data_prep.sources.ibl.inspection import inspect_sessions
from data_prep.sources.ibl.local_files import LocalFiles, Selection
from data_prep.sources.ibl.patience import Patience
from data_prep.sources.ibl.queries import parse_query
from data_prep.sources.ibl.raw_files import RawFiles, forget_journals, journals
from data_prep.sources.ibl.reading import chosen_reading, reading_options
from data_prep.sources.ibl.remote_files import GB, RemoteFiles
from data_prep.sources.ibl.session_lists import FREEZE, ListName
from data_prep.sources.ibl.sessions import (
    CREDENTIALS,
    Identity,
    Mode,
    SessionName,
    job_of_unknown,
    make_jobs,
    name_in_shard,
    open_one,
    read_eids_file,
    unmatched_heldout,
)
from neuromtm.data.shards import shard_name
from neuromtm.errors import ConfigError

DESCRIPTION = (
    "Prepare sessions of the International Brain Laboratory. They are read through ONE-api. The default "
    "options are those of the paper. A trial is removed if the whisker trace does not cover its window or has "
    "a hole in it. A session without a camera keeps its trials and has no whisker trace. The remote mode needs "
    f"an account: {CREDENTIALS}. The remote mode follows the documentation of ONE-api; it has not been run "
    "against the database."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    add = parser.add_argument
    add(
        "--mode",
        choices=get_args(Mode),
        default="remote",
        help="remote: download the files that are missing; local: read a folder of this computer",
    )
    add("--cache-dir", type=Path, metavar="DIR", help="folder to read (local) or to download to (remote)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--eids",
        nargs="+",
        default=(),
        metavar="EID",
        help="sessions to prepare, each given as its eid in ONE or as <lab>_<subject>_<date>_<number>; without this "
        "option, all sessions of a local folder, or the repeated-site sessions of the remote database",
    )
    which.add_argument("--eids-file", type=Path, metavar="FILE", help="file that names the sessions, one on each line")
    which.add_argument(
        "--list",
        dest="listed",
        choices=get_args(ListName),
        help="a list of sessions that is part of the program; brain-wide-map: the freeze "
        f"{FREEZE} of the Brain-Wide Map, 699 insertions of 459 sessions, of which only these insertions are read",
    )
    add(
        "--query",
        nargs="+",
        default=(),
        metavar="KEY=VALUE",
        help="only sessions that ONE-api's search finds: subject, lab, date_range, number, task_protocol, project, "
        "dataset, and in the database also django, users and others; several values of a key with commas between them",
    )
    add("--tag", metavar="NAME", help="only sessions and files of a data release of the database, e.g. Brainwidemap")
    _download_options(parser)
    add(
        "--identity",
        choices=get_args(Identity),
        help="name of a session in its shard; one: its eid in ONE; path: <lab>_<subject>_<date>_<number>. The eid in "
        "ONE changes when the tables of a local folder are built again. The default is therefore path in local mode "
        "and one in remote mode",
    )
    add("--heldout-eids", nargs="+", metavar="EID", help="sessions not to pretrain on (default: the paper's five)")
    add("--heldout-subjects", nargs="+", default=(), metavar="NAME", help="animals not to pretrain on")
    reading_options(parser)
    recording_options(parser, align_event="stimOn_times")


def _download_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--retries",
        type=int,
        default=5,
        help="number of further tries after a timeout, a lost connection, a server in trouble or a damaged file; "
        "the pauses grow from 1 s to a minute",
    )
    parser.add_argument(
        "--max-raw-gb",
        type=float,
        metavar="G",
        help="largest number of GB of raw files to keep at a time: those of a session are dropped when it is prepared, "
        "but none that this command did not fetch itself (default: all are kept)",
    )


def plan(args: argparse.Namespace) -> Plan:
    """Find the sessions to prepare."""
    options = chosen_options(args)
    one, chosen, patience = _find(args)
    heldout = {
        "heldout_eids": None if args.heldout_eids is None else tuple(args.heldout_eids),
        "heldout_subjects": tuple(args.heldout_subjects),
    }
    for sentence in (*chosen.notes, *unmatched_heldout(chosen.sessions, **heldout)):
        print(f"neuromtm-prep: note: {sentence}", file=sys.stderr)
    identity, how = _identity(args), chosen_reading(args)
    if args.mode == "local":
        jobs = make_jobs(
            one,
            chosen.sessions,
            identity=identity,
            how=how,
            files=lambda session: LocalFiles(one, session.one_eid, _selection(session, chosen, args)),
            **heldout,
        )
    else:
        if args.max_raw_gb is None:
            forget_journals(args.out)
        files = _remote_files(one, chosen, args, identity, patience)
        jobs = make_jobs(one, chosen.sessions, identity=identity, how=how, files=lambda s: files[s.one_eid], **heldout)
        jobs = _interrupted_first(jobs, args.out)
        by_name = {name_in_shard(s, identity): files[s.one_eid] for s in chosen.sessions}
        _estimate(jobs, by_name, one, args)
        jobs = [replace(job, spike_bytes=by_name[job.eid].largest_probe_bytes()) for job in jobs]
    decides = {"freeze": FREEZE if args.listed == "brain-wide-map" else None, "tag": args.tag}
    source_options = {name: value for name, value in decides.items() if value is not None}
    return Plan([*jobs, *map(job_of_unknown, chosen.unknown)], options, source_options | chosen_reading(args).as_json())


def inspect(args: argparse.Namespace) -> str:
    """Say what is in each session, and the command that would prepare them all. Nothing is downloaded."""
    one, chosen, patience = _find(args)
    identity = _identity(args)
    if args.mode == "local":
        files = {s.one_eid: LocalFiles(one, s.one_eid, _selection(s, chosen, args)) for s in chosen.sessions}
    else:
        files = _remote_files(one, chosen, args, identity, patience)
    sessions = ((session, files[session.one_eid]) for session in chosen.sessions)
    return inspect_sessions(sessions, how=chosen_reading(args), arguments=_given(args))


def _find(args: argparse.Namespace) -> tuple[Any, ChosenSessions, Patience]:
    names = read_eids_file(args.eids_file) if args.eids_file else tuple(args.eids)
    choice = Choice(names=names, listed=args.listed, query=parse_query(args.query), tag=args.tag)
    _check(args)
    patience = Patience(retries=args.retries)
    one = open_one(mode=args.mode, cache_dir=args.cache_dir)
    return one, find_chosen(one, choice, patience=patience), patience


def _identity(args: argparse.Namespace) -> Identity:
    return args.identity or ("path" if args.mode == "local" else "one")


def _given(args: argparse.Namespace) -> list[object]:
    """What the user gave of the options that name sessions and what is read of them, for a command that prepares."""
    given: list[object] = ["--mode", args.mode]
    for name, default in (
        ("cache_dir", None),
        ("eids", ()),
        ("eids_file", None),
        ("listed", None),
        ("query", ()),
        ("tag", None),
        ("revision", None),
        ("identity", None),
        ("heldout_eids", None),
        ("heldout_subjects", ()),
        ("behaviors", DEFAULT),
        ("sorter", None),
    ):
        value, option = getattr(args, name), "list" if name == "listed" else name.replace("_", "-")
        if value != default:
            given += [f"--{option}", *(value if isinstance(value, list | tuple) else [value])]
    return given


def _check(args: argparse.Namespace) -> None:
    if args.retries < 0:
        raise ConfigError(f"--retries {args.retries}: must not be below 0.")
    if args.max_raw_gb is not None and not args.max_raw_gb > 0:
        raise ConfigError(f"--max-raw-gb {args.max_raw_gb:g}: must be above 0.")
    if args.max_raw_gb is not None and args.mode == "local":
        raise ConfigError("--max-raw-gb is for --mode remote: the files of a local folder are never removed.")


def _selection(session: SessionName, chosen: ChosenSessions, args: argparse.Namespace) -> Selection:
    probes = chosen.probes.get(session.one_eid)
    return Selection(probes=probes, how=chosen_reading(args), tag=args.tag)


def _remote_files(
    one: Any, chosen: ChosenSessions, args: argparse.Namespace, identity: Identity, patience: Patience
) -> dict[str, RemoteFiles]:
    """Eid in ONE -> the files of the session."""
    root = Path(one.cache_dir)

    def of(session: SessionName) -> RemoteFiles:
        name, folder = name_in_shard(session, identity), root / session.place
        journal = None if args.max_raw_gb is None or args.inspect else _journal(args.out, name)
        raw = RawFiles(folder=folder, root=root, journal=journal)
        selection = _selection(session, chosen, args)
        return RemoteFiles(one, session.one_eid, folder=folder, selection=selection, patience=patience, raw=raw)

    return {session.one_eid: of(session) for session in chosen.sessions}


def _journal(out: Path, name: str) -> Path:
    return journals(out) / f"{shard_name(name)}.txt"


def _interrupted_first(jobs: list[Job], out: Path) -> list[Job]:
    """What was fetched for them counts against the cap, until they are prepared."""
    return sorted(jobs, key=lambda job: not _journal(out, job.eid).exists())


def _estimate(jobs: list[Job], files: dict[str, RemoteFiles], one: Any, args: argparse.Namespace) -> None:
    done = {job.eid: (args.out / shard_name(job.eid)).exists() and not args.overwrite for job in jobs}
    found = estimate({job.eid: files[job.eid] for job in jobs}, done)
    root = Path(one.cache_dir)
    print(found.sentence(root), flush=True)
    require_disk(
        found, cache_dir=root, cap_bytes=None if args.max_raw_gb is None else args.max_raw_gb * GB, n_at_once=args.jobs
    )

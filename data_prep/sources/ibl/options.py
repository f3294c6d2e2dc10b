"""The options of `python -m data_prep ibl`: sessions of the International Brain Laboratory."""

import argparse
import sys
from pathlib import Path
from typing import Any, get_args

from data_prep.folder import Plan
from data_prep.options import chosen_options, recording_options
from data_prep.sources.ibl.behaviors import DEFAULT
from data_prep.sources.ibl.inspection import inspect_sessions
from data_prep.sources.ibl.reading import chosen_reading, reading_options
from data_prep.sources.ibl.sessions import (
    CREDENTIALS,
    Identity,
    Mode,
    SessionName,
    find_sessions,
    make_jobs,
    open_one,
    read_eids_file,
    unmatched_heldout,
)

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


def plan(args: argparse.Namespace) -> Plan:
    """Find the sessions to prepare."""
    options, how = chosen_options(args), chosen_reading(args)
    one, sessions = _find(args)
    heldout = {
        "heldout_eids": None if args.heldout_eids is None else tuple(args.heldout_eids),
        "heldout_subjects": tuple(args.heldout_subjects),
    }
    for sentence in unmatched_heldout(sessions, **heldout):
        print(f"neuromtm-prep: note: {sentence}", file=sys.stderr)
    identity = args.identity or ("path" if args.mode == "local" else "one")
    jobs = make_jobs(one, sessions, identity=identity, how=how, **heldout)
    return Plan(jobs, options, how.as_json())


def inspect(args: argparse.Namespace) -> str:
    """Say what is in each session, and the command that would prepare them all. Nothing is downloaded."""
    one, sessions = _find(args)
    return inspect_sessions(((session, one) for session in sessions), how=chosen_reading(args), arguments=_given(args))


def _find(args: argparse.Namespace) -> tuple[Any, list[SessionName]]:
    names = read_eids_file(args.eids_file) if args.eids_file else tuple(args.eids)
    one = open_one(mode=args.mode, cache_dir=args.cache_dir)
    return one, find_sessions(one, names)


def _given(args: argparse.Namespace) -> list[object]:
    """What the user gave of the options that name sessions and what is read of them, for a command that prepares."""
    given: list[object] = ["--mode", args.mode]
    for name, default in (
        ("cache_dir", None),
        ("eids", ()),
        ("eids_file", None),
        ("identity", None),
        ("heldout_eids", None),
        ("heldout_subjects", ()),
        ("behaviors", DEFAULT),
        ("sorter", None),
    ):
        value = getattr(args, name)
        if value != default:
            given += [f"--{name.replace('_', '-')}", *(value if isinstance(value, list | tuple) else [value])]
    return given

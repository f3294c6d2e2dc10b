"""The options of `python -m data_prep phy`: folders that Kilosort or Phy wrote."""

import argparse
from functools import partial
from pathlib import Path

from data_prep.folder import Job, Plan
from data_prep.heldout import heldout_options, note_unmatched, require_unique, role_of
from data_prep.inspection import inspect_folders
from data_prep.options import chosen_options, recording_options
from data_prep.recording import Recording
from data_prep.session_files import event_columns
from data_prep.sources.phy.recording import PhySession, phy_sessions, read_sortings
from data_prep.sources.phy.sorting import SPIKES
from neuromtm.errors import ConfigError

DESCRIPTION = (
    "Prepare sortings of Kilosort, curated in Phy or not. A session is a folder with spike_times.npy, or a folder "
    "whose subfolders are such folders: its probes, all on one clock. A folder of sessions prepares them all. "
    "params.py is read, and never run. Trials are a CSV file with one row a trial and times in seconds of the same "
    "clock."
)

HIGHEST_RATE_HZ = 1e10
"""at which samples would be nanoseconds or less"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    add = parser.add_argument
    add(
        "--folder",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder of a session, which may have its probes as subfolders, or folder of such folders",
    )
    add(
        "--trials",
        type=Path,
        metavar="FILE",
        help="CSV file of the trials, of one session; DIR is then a session (default: trials.csv in its folder)",
    )
    add(
        "--regions",
        type=Path,
        metavar="FILE",
        help="CSV file with the columns region and either channel or cluster, and probe where there are several "
        "(default: regions.csv in the folder of the sorting or of the session; else every region is void)",
    )
    add(
        "--groups",
        nargs="+",
        default=("good",),
        metavar="LABEL",
        help="labels of the clusters to take: good, mua, noise, unsorted, or any that was given in Phy; all takes all",
    )
    add(
        "--sample-rate-hz",
        type=float,
        metavar="RATE",
        help="samples in a second (default: the sample_rate of params.py)",
    )
    heldout_options(parser)
    recording_options(parser)


def plan(args: argparse.Namespace) -> Plan:
    """Find the sessions to prepare."""
    sessions = _sessions(args)
    options = chosen_options(args, events=event_columns(sessions[0].folder))
    note_unmatched({session.eid: session.subject for session in sessions}, args)
    jobs = [
        Job(
            session.eid,
            role_of(session.eid, session.subject, args),
            partial(_read, session, args),
            # times in seconds and numbers of neurons, both as wide as the samples in the file
            spike_bytes=2 * sum((sorting / SPIKES).stat().st_size for sorting in session.sortings),
        )
        for session in sessions
    ]
    source_options: dict[str, object] = {"groups": sorted(_groups(args))}
    if args.sample_rate_hz is not None:
        source_options["sample_rate_hz"] = args.sample_rate_hz
    return Plan(jobs, options, source_options)


def inspect(args: argparse.Namespace) -> str:
    """Say what is in each session, and the command that would prepare them all."""
    given = ["--folder", args.folder]
    for option in ("trials", "regions"):
        given += [f"--{option}", getattr(args, option)] if getattr(args, option) else []
    given += ["--groups", *args.groups] if tuple(args.groups) != ("good",) else []
    given += ["--sample-rate-hz", f"{args.sample_rate_hz:g}"] if args.sample_rate_hz is not None else []
    sessions = ((session.folder, partial(_read, session, args)) for session in _sessions(args))
    return inspect_folders("phy", given, sessions)


def _sessions(args: argparse.Namespace) -> list[PhySession]:
    if args.sample_rate_hz is not None and not 0 < args.sample_rate_hz <= HIGHEST_RATE_HZ:
        raise ConfigError(f"--sample-rate-hz {args.sample_rate_hz:g}: must be above 0 and at most {HIGHEST_RATE_HZ:g}.")
    files = {option: path for option in ("trials", "regions") if (path := getattr(args, option)) is not None}
    for option, path in files.items():
        if not path.is_file():
            raise ConfigError(f"--{option} {path}: no such file.")
    named = [f"--{option}" for option in files]
    sessions = phy_sessions(args.folder, is_session=args.trials is not None)
    if named and len(sessions) > 1:
        raise ConfigError(
            f"{' and '.join(named)}: a file of one session, but {args.folder} has {len(sessions)}. Put such a "
            "file, named trials.csv or regions.csv, into the folder of each session."
        )
    require_unique((session.eid, session.folder) for session in sessions)
    return sessions


def _read(session: PhySession, args: argparse.Namespace) -> Recording:
    return read_sortings(
        session,
        groups=_groups(args),
        sample_rate_hz=args.sample_rate_hz,
        trials_file=args.trials,
        regions_file=args.regions,
    )


def _groups(args: argparse.Namespace) -> frozenset[str]:
    return frozenset(group.lower() for group in args.groups)

"""The options of `python -m data_prep ibl`: sessions of the International Brain Laboratory."""

import argparse
import sys
from pathlib import Path
from typing import get_args

from data_prep.folder import Plan
from data_prep.options import PrepareOptions, binning_options
from data_prep.recording import EVENTS
from data_prep.sources.ibl.sessions import (
    CREDENTIALS,
    Identity,
    Mode,
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
    default = PrepareOptions()
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
    add("--align-event", choices=tuple(EVENTS), default=default.align_event, help="event at time 0 of a trial")
    binning_options(parser)
    add(
        "--reaction-time-s",
        type=float,
        nargs=2,
        default=default.reaction_time_s,
        metavar=("MIN", "MAX"),
        help="keep a trial if its first movement comes from MIN to MAX after stimulus onset, in seconds",
    )
    add(
        "--max-feedback-delay-s",
        type=float,
        default=default.max_feedback_delay_s,
        metavar="MAX",
        help="remove a trial if its feedback comes more than MAX after the go cue, in seconds",
    )
    add("--keep-unknown-choice", action="store_true", help="also keep trials whose choice is 0 (not made or unknown)")
    add(
        "--min-label",
        type=float,
        default=default.min_label,
        help="lowest quality label of a kept neuron, a fraction from 0 to 1; 0 keeps all neurons",
    )
    add(
        "--min-firing-rate-hz",
        type=float,
        default=default.min_firing_rate_hz,
        help="lowest mean firing rate of a kept neuron over the windows of the training trials, in Hz",
    )
    add(
        "--split-fractions",
        type=float,
        nargs=3,
        default=default.split_fractions,
        metavar=("TRAIN", "VAL", "TEST"),
        help="parts of a session's trials for training, validation and test: three fractions that sum to 1",
    )


def plan(args: argparse.Namespace) -> Plan:
    """Find the sessions to prepare."""
    options = PrepareOptions(
        window_s=tuple(args.window_s),
        bin_size_s=args.bin_size_s,
        align_event=args.align_event,
        reaction_time_s=tuple(args.reaction_time_s),
        max_feedback_delay_s=args.max_feedback_delay_s,
        keep_unknown_choice=args.keep_unknown_choice,
        min_label=args.min_label,
        min_firing_rate_hz=args.min_firing_rate_hz,
        split_fractions=tuple(args.split_fractions),
        seed=args.seed,
    )
    names = read_eids_file(args.eids_file) if args.eids_file else tuple(args.eids)
    one = open_one(mode=args.mode, cache_dir=args.cache_dir)
    sessions = find_sessions(one, names)
    heldout = {
        "heldout_eids": None if args.heldout_eids is None else tuple(args.heldout_eids),
        "heldout_subjects": tuple(args.heldout_subjects),
    }
    for sentence in unmatched_heldout(sessions, **heldout):
        print(f"neuromtm-prep: note: {sentence}", file=sys.stderr)
    identity = args.identity or ("path" if args.mode == "local" else "one")
    jobs = make_jobs(one, sessions, identity=identity, **heldout)
    return Plan(jobs, options)

"""Turn recordings of any source into shards: `python -m data_prep simulate|lorenz|ibl|check`."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, get_args

from data_prep.folder import Job, Outcome, prepare_sessions
from data_prep.options import PrepareOptions
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
from data_prep.sources.lorenz import LorenzOptions, lorenz_session
from data_prep.sources.simulation.recording import SimulationOptions, simulate_session
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.errors import ConfigError, UserError

PREPARE_EXIT_CODES = (
    "Exit code: 0 if every session is prepared, 1 if some sessions were skipped (the reason is printed), 2 if an "
    "option or a file is wrong. After an interruption, run the same command again: it prepares what is still missing."
)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 if all went well, 1 if sessions were skipped or files are bad, 2 if an option or a file of the
        user is wrong.
    """
    options = parser().parse_args(args)
    try:
        return options.run(options)
    except UserError as error:
        print(f"neuromtm-prep: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(
            f"neuromtm-prep: {error.filename}: cannot be read or written ({error.strerror}). Name another folder.",
            file=sys.stderr,
        )
        return 2


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of an option, unless the default is None, False, 0 or an empty tuple."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, (), False) else action.help


def parser() -> argparse.ArgumentParser:
    """Build the parser of all commands and their options."""
    parser = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, epilog: str) -> argparse.ArgumentParser:
        added = commands.add_parser(
            name,
            help=text.split(".")[0],
            description=text,
            epilog=epilog,
            allow_abbrev=False,
            formatter_class=_Help,
        )
        added.set_defaults(run=run)
        return added

    _simulate_options(
        command(
            "simulate",
            _simulate,
            "Simulate sessions of several animals with a known truth. All animals have the same brain; their neurons "
            "differ.",
            PREPARE_EXIT_CODES,
        )
    )
    _lorenz_options(
        command(
            "lorenz",
            _lorenz,
            "Simulate neurons driven by the Lorenz system. This is a classic test for models of dynamics: "
            "`neuromtm rates` compares the predicted rates with the true rates.",
            PREPARE_EXIT_CODES,
        )
    )
    _ibl_options(
        command(
            "ibl",
            _ibl,
            "Prepare sessions of the International Brain Laboratory. They are read through ONE-api. The default "
            "options are those of the paper. A trial is removed if the whisker trace does not cover its window or has "
            "a hole in it. A session without a camera keeps its trials and has no whisker trace. The remote mode needs "
            f"an account: {CREDENTIALS}. The remote mode follows the documentation of ONE-api; it has not been run "
            "against the database.",
            PREPARE_EXIT_CODES,
        )
    )
    check = command(
        "check",
        _check,
        "Check every shard of a folder, and the manifest of the folder. Every bad file is named.",
        "Exit code: 0 if all files are good, 1 if some are bad, 2 if the folder has no manifest that can be used.",
    )
    check.add_argument("folder", type=Path, metavar="DIR", help="folder of shards")
    return parser


def _simulate_options(parser: argparse.ArgumentParser) -> None:
    default = SimulationOptions()
    _out_options(parser)
    parser.add_argument(
        "--format",
        choices=("shards", "alf"),
        default="shards",
        help="what to write: shards, or files as the International Brain Laboratory stores them (without true rates)",
    )
    parser.add_argument(
        "--n-sessions", type=int, default=default.n_sessions, help="number of sessions, each of a different animal"
    )
    parser.add_argument(
        "--n-heldout", type=int, default=default.n_heldout, help="number of held-out sessions; they are the last ones"
    )
    parser.add_argument(
        "--n-neurons", type=int, default=default.n_neurons, help="number of neurons in a session, on average"
    )
    parser.add_argument("--n-trials", type=int, default=default.n_trials, help="number of good trials in a session")
    parser.add_argument("--n-regions", type=int, default=default.n_regions, help="number of brain regions, 3 to 12")
    _binning_options(parser)


def _lorenz_options(parser: argparse.ArgumentParser) -> None:
    default, add = LorenzOptions(), parser.add_argument
    _out_options(parser)
    add(
        "--n-sessions",
        type=int,
        default=default.n_sessions,
        help="number of sessions; all have the same starting points, but different neurons",
    )
    add("--n-neurons", type=int, default=default.n_neurons, help="number of neurons in a session")
    add("--n-conditions", type=int, default=default.n_conditions, help="number of starting points on the attractor")
    add("--n-trials", type=int, default=default.n_trials, help="number of trials from each starting point")
    add(
        "--base-rate-hz",
        type=float,
        default=default.base_rate_hz,
        help="firing rate of every neuron when all variables are at their mean, in Hz",
    )
    add("--duration-s", type=float, default=1.0, help="length of a trial, in seconds")
    add("--bin-size-s", type=float, default=0.01, help="width of a bin, in seconds")


def _ibl_options(parser: argparse.ArgumentParser) -> None:
    default = PrepareOptions()
    add = parser.add_argument
    _out_options(parser)
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
    _binning_options(parser)
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
        help="lowest mean firing rate of a kept neuron over the windows of the kept trials, in Hz",
    )
    add(
        "--split-fractions",
        type=float,
        nargs=3,
        default=default.split_fractions,
        metavar=("TRAIN", "VAL", "TEST"),
        help="parts of a session's trials for training, validation and test: three fractions that sum to 1",
    )


def _out_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace shards that were prepared with other options")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers, a whole number")


def _binning_options(parser: argparse.ArgumentParser) -> None:
    default = PrepareOptions()
    parser.add_argument(
        "--window-s",
        type=float,
        nargs=2,
        default=default.window_s,
        metavar=("START", "END"),
        help="start and end of a trial relative to its event, in seconds",
    )
    parser.add_argument("--bin-size-s", type=float, default=default.bin_size_s, help="width of a bin, in seconds")


def _simulate(args: argparse.Namespace) -> int:
    simulation = SimulationOptions(
        n_sessions=args.n_sessions,
        n_heldout=args.n_heldout,
        n_neurons=args.n_neurons,
        n_trials=args.n_trials,
        n_regions=args.n_regions,
        seed=args.seed,
    )
    options = PrepareOptions(window_s=tuple(args.window_s), bin_size_s=args.bin_size_s, seed=args.seed)
    jobs = [
        Job(
            simulation.eid(number),
            simulation.role(number),
            lambda number=number: simulate_session(number, simulation=simulation, options=options),
        )
        for number in range(simulation.n_sessions)
    ]
    if args.format == "shards":
        return _prepare(jobs, args, options, simulation.as_json())
    if args.overwrite:
        raise ConfigError("--overwrite replaces shards only. Delete the old files, or choose another --out.")
    from data_prep.sources.ibl.alf_tree import write_tree

    outcomes = write_tree(jobs, out=args.out, options=options.as_json() | simulation.as_json())
    code = _follow(outcomes, len(jobs), args.out)
    print(f"To make shards of these files: python -m data_prep ibl --mode local --cache-dir {args.out} --out DIR")
    return code


def _lorenz(args: argparse.Namespace) -> int:
    simulation = LorenzOptions(
        n_sessions=args.n_sessions,
        n_neurons=args.n_neurons,
        n_conditions=args.n_conditions,
        n_trials=args.n_trials,
        base_rate_hz=args.base_rate_hz,
        seed=args.seed,
    )
    options = PrepareOptions(window_s=(0.0, args.duration_s), bin_size_s=args.bin_size_s, seed=args.seed)
    jobs = [
        Job(
            simulation.eid(number),
            "pretrain",
            lambda number=number: lorenz_session(number, simulation=simulation, options=options),
        )
        for number in range(simulation.n_sessions)
    ]
    return _prepare(jobs, args, options, simulation.as_json())


def _ibl(args: argparse.Namespace) -> int:
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
    return _prepare(jobs, args, options, {})


def _check(args: argparse.Namespace) -> int:
    problems = folder_problems(args.folder)
    for found in problems.values():
        for problem in found:
            print(f"neuromtm-prep: {problem}", file=sys.stderr)
    print(f"{args.folder}: {len(read_manifest(args.folder))} sessions, {len(problems)} bad files")
    return 1 if problems else 0


def _prepare(jobs: list[Job], args: argparse.Namespace, options: PrepareOptions, source: dict[str, Any]) -> int:
    outcomes = prepare_sessions(jobs, out=args.out, options=options, source_options=source, overwrite=args.overwrite)
    return _follow(outcomes, len(jobs), args.out)


def _follow(outcomes: Iterable[Outcome], total: int, out: Path) -> int:
    """Show the progress, print what happened to each session, and return the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("sessions"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    tally = {"prepared": 0, "already done": 0, "skipped": 0}
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total)
        for outcome in outcomes:
            tally[outcome.status] += 1
            progress.advance(task)
            print(outcome, flush=True)
    print(f"{out}: " + ", ".join(f"{n} {status}" for status, n in tally.items()))
    return 1 if tally["skipped"] else 0

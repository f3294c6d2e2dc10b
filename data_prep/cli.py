"""Recordings of any source, turned into shards: `python -m data_prep simulate|lorenz|ibl|check`."""

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
    "Exit code: 0 every session is there; 1 some were skipped, with the reason; 2 an option or a file is wrong. "
    "Run again after an interruption: what is done is skipped."
)


def run(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 all well, 1 sessions skipped or files bad, 2 the user's error.
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
    """Shows defaults, but none where there is nothing to show."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default not in (None, (), False) else action.help


def parser() -> argparse.ArgumentParser:
    """All commands with their options."""
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
            "Simulate sessions of several animals with a known truth. One brain, other neurons in every animal.",
            PREPARE_EXIT_CODES,
        )
    )
    _lorenz_options(
        command(
            "lorenz",
            _lorenz,
            "Simulate neurons driven by the Lorenz system. The classic check of models of dynamics: `neuromtm rates` "
            "holds predicted rates against the true ones.",
            PREPARE_EXIT_CODES,
        )
    )
    _ibl_options(
        command(
            "ibl",
            _ibl,
            "Prepare sessions of the International Brain Laboratory. Read through ONE-api; the defaults are the "
            "paper's. A trial is dropped if its whisker trace ends early or has a hole; a session without a camera "
            f"keeps its trials and has no trace. The remote mode needs an account: {CREDENTIALS}. It is written to "
            "ONE-api's documentation and has not been run against the database.",
            PREPARE_EXIT_CODES,
        )
    )
    check = command(
        "check",
        _check,
        "Verify every shard of a folder, and its manifest. Names every bad file.",
        "Exit code: 0 all files are good; 1 some are bad; 2 there is no manifest to check against.",
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
        help="shards, or the files of the International Brain Laboratory (which hold no true rates)",
    )
    parser.add_argument(
        "--n-sessions", type=int, default=default.n_sessions, help="number of sessions, each of another animal"
    )
    parser.add_argument(
        "--n-heldout", type=int, default=default.n_heldout, help="number of held-out sessions, the last ones"
    )
    parser.add_argument(
        "--n-neurons", type=int, default=default.n_neurons, help="number of neurons a session, on average"
    )
    parser.add_argument("--n-trials", type=int, default=default.n_trials, help="number of good trials a session")
    parser.add_argument("--n-regions", type=int, default=default.n_regions, help="number of brain regions, 3 to 12")
    _binning_options(parser)


def _lorenz_options(parser: argparse.ArgumentParser) -> None:
    default, add = LorenzOptions(), parser.add_argument
    _out_options(parser)
    add(
        "--n-sessions",
        type=int,
        default=default.n_sessions,
        help="number of sessions, with the same starts and other neurons",
    )
    add("--n-neurons", type=int, default=default.n_neurons, help="number of neurons a session")
    add("--n-conditions", type=int, default=default.n_conditions, help="number of starts on the attractor")
    add("--n-trials", type=int, default=default.n_trials, help="number of trials of each start")
    add(
        "--base-rate-hz",
        type=float,
        default=default.base_rate_hz,
        help="rate of every neuron where all variables have their mean, in Hz",
    )
    add("--duration-s", type=float, default=1.0, help="length of a trial, in seconds")
    add("--bin-size-s", type=float, default=0.01, help="width of a bin, in seconds")


def _ibl_options(parser: argparse.ArgumentParser) -> None:
    default = PrepareOptions()
    add = parser.add_argument
    _out_options(parser)
    add("--mode", choices=get_args(Mode), default="remote", help="download what is missing, or read a local folder")
    add("--cache-dir", type=Path, metavar="DIR", help="folder that is read (local) or downloaded to (remote)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--eids",
        nargs="+",
        default=(),
        metavar="EID",
        help="sessions, as ONE's eid or <lab>_<subject>_<date>_<number>; none: all of a local folder, or the "
        "repeated-site sessions of the remote database",
    )
    which.add_argument("--eids-file", type=Path, metavar="FILE", help="the same from a file, one a line")
    add(
        "--identity",
        choices=get_args(Identity),
        help="a shard's eid: ONE's, or the path <lab>_<subject>_<date>_<number>; local tables that are built anew "
        "give a session a new eid of ONE, so unset means path in local mode and one in remote mode",
    )
    add("--heldout-eids", nargs="+", metavar="EID", help="sessions kept from pretraining; unset: the paper's five")
    add("--heldout-subjects", nargs="+", default=(), metavar="NAME", help="animals kept from pretraining")
    add("--align-event", choices=tuple(EVENTS), default=default.align_event, help="event at time 0 of a trial")
    _binning_options(parser)
    add(
        "--reaction-time-s",
        type=float,
        nargs=2,
        default=default.reaction_time_s,
        metavar=("MIN", "MAX"),
        help="keep trials whose first movement comes so long after stimulus onset, in seconds",
    )
    add(
        "--max-feedback-delay-s",
        type=float,
        default=default.max_feedback_delay_s,
        metavar="MAX",
        help="keep trials whose feedback comes at most so long after the go cue, in seconds",
    )
    add("--keep-unknown-choice", action="store_true", help="keep trials without a choice")
    add("--min-label", type=float, default=default.min_label, help="least quality of a neuron, a fraction from 0 to 1")
    add(
        "--min-firing-rate-hz",
        type=float,
        default=default.min_firing_rate_hz,
        help="least mean rate of a neuron over the windows of the kept trials, in Hz",
    )
    add(
        "--split-fractions",
        type=float,
        nargs=3,
        default=default.split_fractions,
        metavar=("TRAIN", "VAL", "TEST"),
        help="parts of a session's trials, fractions that sum to 1",
    )


def _out_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument("--overwrite", action="store_true", help="replace shards prepared with other options")
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw, a whole number")


def _binning_options(parser: argparse.ArgumentParser) -> None:
    default = PrepareOptions()
    parser.add_argument(
        "--window-s",
        type=float,
        nargs=2,
        default=default.window_s,
        metavar=("START", "END"),
        help="start and end of a trial around its event, in seconds",
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
        raise ConfigError("--overwrite replaces shards only; delete the tree, or choose another --out.")
    from data_prep.sources.ibl.alf_tree import write_tree

    outcomes = write_tree(jobs, out=args.out, options=options.as_json() | simulation.as_json())
    code = _follow(outcomes, len(jobs), args.out)
    print(f"Make shards of it: python -m data_prep ibl --mode local --cache-dir {args.out} --out DIR")
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
    """Show progress and what became of each session; give the exit code."""
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

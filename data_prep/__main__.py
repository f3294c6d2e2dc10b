"""Recordings of any source, turned into shards: `python -m data_prep simulate|ibl|check`."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from data_prep.folder import Job, Outcome, prepare_sessions
from data_prep.options import PrepareOptions
from neuromtm.errors import UserError

EXIT_CODES = "exit code: 0 all sessions are there; 1 some were skipped, with the reason; 2 an option or a file is wrong"


def main(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 all well, 1 sessions skipped or files bad, 2 a user's error.
    """
    options = _parser().parse_args(args)
    try:
        return options.command(options)
    except UserError as error:
        print(f"neuromtm-prep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("neuromtm-prep: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_prep", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add in {"simulate": _add_simulate, "check": _add_check}.items():
        add(commands, name)
    return parser


def _command(commands, name: str, run, *, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=text.split(".")[0],
        description=text,
        epilog=EXIT_CODES,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def _add_simulate(commands, name: str) -> None:
    from data_prep.simulate import SimulationOptions

    parser = _command(commands, name, _simulate, text="Simulate sessions of several animals with a known truth.")
    default = SimulationOptions()
    _add_out(parser)
    parser.add_argument("--n-sessions", type=int, default=default.n_sessions, help="sessions, each of another animal")
    parser.add_argument("--n-heldout", type=int, default=default.n_heldout, help="of these, held-out ones (the last)")
    parser.add_argument("--n-neurons", type=int, default=default.n_neurons, help="neurons a session, on average")
    parser.add_argument("--n-trials", type=int, default=default.n_trials, help="good trials a session")
    parser.add_argument("--n-regions", type=int, default=default.n_regions, help="regions, 3 to 12")
    _add_binning(parser)
    _add_seed(parser)


def _add_check(commands, name: str) -> None:
    parser = _command(commands, name, _check, text="Verify every shard of a folder, and its manifest.")
    parser.add_argument("folder", type=Path, help="folder of shards")


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder to fill; what is done is skipped"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace shards prepared with other options")


def _add_binning(parser: argparse.ArgumentParser) -> None:
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


def _add_seed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="seed of every draw")


def _simulate(args: argparse.Namespace) -> int:
    from data_prep.simulate import SimulationOptions, simulate_session

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
    outcomes = prepare_sessions(
        jobs, out=args.out, options=options, source_options=simulation.as_json(), overwrite=args.overwrite
    )
    return _follow(outcomes, total=len(jobs), out=args.out)


def _check(args: argparse.Namespace) -> int:
    from neuromtm.data.manifest import folder_problems, read_manifest

    problems = folder_problems(args.folder)
    for found in problems.values():
        for problem in found:
            print(f"neuromtm-prep: {problem}", file=sys.stderr)
    print(f"{args.folder}: {len(read_manifest(args.folder))} sessions, {len(problems)} bad files")
    return 1 if problems else 0


def _follow(outcomes: Iterable[Outcome], *, total: int, out: Path) -> int:
    """Show progress and what became of each session; give the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("sessions"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    tally = {"prepared": 0, "already done": 0, "skipped": 0}
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=total)
        for outcome in outcomes:
            tally[outcome.status] += 1
            progress.advance(task)
            print(outcome, flush=True)
    print(f"{out}: " + ", ".join(f"{n} {status}" for status, n in tally.items()))
    return 1 if tally["skipped"] else 0


if __name__ == "__main__":
    sys.exit(main())

"""What the commands that prepare sessions share: options, progress, exit codes."""

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from data_prep.folder import Outcome, Plan, Status, prepare_sessions
from data_prep.progress import SessionProgress
from data_prep.skipped import SkippedSession, skipped_lines, write_skipped

PREPARE_EXIT_CODES = (
    "Exit code: 0 if every session is prepared, 1 if some sessions were skipped (the reason is printed), 2 if an "
    "option or a file is wrong. After an interruption, run the same command again: it prepares what is still missing."
)


def out_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options of where to write, and say the exit codes.

    Args:
        parser: of the command.
        required: whether the folder must always be named.
    """
    parser.epilog = PREPARE_EXIT_CODES
    parser.add_argument("--out", type=Path, required=required, metavar="DIR", help="folder to write to")
    parser.add_argument("--overwrite", action="store_true", help="replace shards that were prepared with other options")
    parser.add_argument(
        "--jobs",
        type=n_jobs,
        default=1,
        metavar="N",
        help="prepare up to N sessions at a time, each in a process of its own, and only as many as fit into memory; "
        "auto: one for each core. Their lines come as they end. The shards do not depend on it",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers, a whole number")


def n_jobs(text: str) -> int:
    """The number of an option `--jobs`; `auto` is the number of cores that this process may use."""
    if text == "auto":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a whole number above 0 nor auto")
    return int(text)


def inspect_option(parser: argparse.ArgumentParser) -> None:
    """Add the option of a source that says what is there."""
    parser.add_argument(
        "--inspect",
        action="store_true",
        help="only print what is there and the command that would prepare it; nothing is written",
    )


def prepare_plan(plan: Plan, args: argparse.Namespace) -> int:
    """Prepare sessions and show what happened to each.

    Args:
        plan: the sessions and how they are prepared.
        args: with the options of `out_options`.

    Returns:
        The exit code.
    """
    jobs, options, own = plan.jobs, plan.options, plan.source_options
    outcomes = prepare_sessions(
        jobs,
        out=args.out,
        options=options,
        source_options=own,
        overwrite=args.overwrite,
        n_jobs=min(args.jobs, max(len(jobs), 1)),
    )
    seen: list[Outcome] = []
    code = None
    try:
        code = follow(_noting(outcomes, seen), len(jobs), args.out)
        return code
    finally:  # also after an interruption; a command that is refused at once leaves the table of the one before
        skipped = [SkippedSession(outcome.eid, outcome.note) for outcome in seen if outcome.status == "skipped"]
        if seen or code is not None:
            write_skipped(args.out, skipped)
        for line in skipped_lines(skipped):
            print(line)


def _noting(outcomes: Iterable[Outcome], seen: list[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        seen.append(outcome)
        yield outcome


def follow(outcomes: Iterable[Outcome], total: int, out: Path, *, done: Status = "prepared") -> int:
    """Show the progress, print what happened to each session, and return the exit code.

    Args:
        outcomes: what happened to each session.
        total: number of sessions.
        out: the folder.
        done: what the command does to a session.
    """
    tally: dict[Status, int] = {done: 0, "already done": 0, "skipped": 0}
    with SessionProgress(total) as progress:
        for outcome in outcomes:
            tally[outcome.status] += 1
            progress.advance(worked=outcome.status != "already done")
            print(outcome, flush=True)
    print(f"{out}: " + ", ".join(f"{n} {status}" for status, n in tally.items()))
    return 1 if tally["skipped"] else 0

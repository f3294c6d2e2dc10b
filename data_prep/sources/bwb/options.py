"""The options of `python -m data_prep bwb`: sessions of BrainWideBench."""

import argparse
import shlex
from functools import partial
from pathlib import Path

from data_prep.folder import Job, Plan
from data_prep.heldout import require_unique
from data_prep.inspection import inspection_text
from data_prep.options import CONTINUOUS_EVENT, PrepareOptions
from data_prep.sources.bwb.recording import is_for_evaluation, read_benchmark_session
from data_prep.sources.bwb.tasks import ACTIVITY, BIN_SIZE_S, DECODING, REGION, TASKS, WINDOW_S
from neuromtm.data.manifest import Role
from neuromtm.errors import ConfigError, SourceError

DESCRIPTION = (
    "Prepare sessions of BrainWideBench, the HDF5 files of its public bucket, for one of its tasks. Windows, splits, "
    "units held out and units of the traces are the benchmark's. Sessions for evaluation get the role heldout, all "
    "others pretrain."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="files of the benchmark, or folders of them: EID.h5"
    )
    parser.add_argument("--task", choices=TASKS, required=True, help="task of the benchmark; it decides the windows")


def plan(args: argparse.Namespace) -> Plan:
    """List the sessions to prepare."""
    files = _files(args.files)
    jobs = [Job(file.stem, _role(file), partial(read_benchmark_session, file, args.task)) for file in files]
    return Plan(jobs, task_options(args.task, seed=args.seed), {"task": args.task})


def inspect(args: argparse.Namespace) -> str:
    """What is in the first of the files, and the command that would prepare all of them."""
    files = _files(args.files)
    text = inspection_text(read_benchmark_session(files[0], args.task))
    command = ["python", "-m", "data_prep", "bwb", *map(str, args.files), "--task", args.task, "--out", "data/mine"]
    more = f"\nand {len(files) - 1} more files" if len(files) > 1 else ""
    return f"{text}{more}\nprepare   {shlex.join(command)}"


def task_options(task: str, *, seed: int = 0) -> PrepareOptions:
    """How the windows of a task are cut. No trial and no unit is filtered but by the benchmark."""
    if task in (*ACTIVITY, REGION):
        window_s, event = (0.0, WINDOW_S), CONTINUOUS_EVENT
    else:
        window_s, event = DECODING[task].window_s, DECODING[task].event
    return PrepareOptions(
        window_s=window_s,
        bin_size_s=BIN_SIZE_S,
        align_event=event,
        keep_unknown_choice=True,
        continuous=task == REGION,
        seed=seed,
    )


def _files(given: list[Path]) -> list[Path]:
    found = []
    for place in given:
        if not place.exists():
            raise ConfigError(f"{place}: no such file or folder.")
        own = sorted(place.glob("*.h5")) if place.is_dir() else [place]
        if not own:
            raise ConfigError(f"{place}: no file EID.h5 in it. Name the folder that holds the sessions themselves.")
        found += own
    require_unique((file.stem, file) for file in found)
    return found


def _role(file: Path) -> Role:
    try:
        return "heldout" if is_for_evaluation(file) else "pretrain"
    except SourceError:  # the reading of the session says what is wrong, and the others go on
        return "pretrain"

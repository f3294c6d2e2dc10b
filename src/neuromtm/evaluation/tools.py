"""The commands beside Lightning's: `neuromtm ceiling` and `neuromtm compare`."""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from neuromtm.data.manifest import Role
from neuromtm.errors import UserError
from neuromtm.evaluation.comparison import print_comparison, summary
from neuromtm.evaluation.report import METRICS_FILE, keep_previous, read_metrics, write_report
from neuromtm.evaluation.truth import ceiling
from neuromtm.files import write_whole


@dataclass(frozen=True)
class Tool:
    """A command."""

    summary: str
    run: Callable[[Sequence[str]], None]
    """takes the command line behind the command's name"""


def run_ceiling(arguments: Sequence[str]) -> None:
    """Score the true rates of simulated sessions and write the tables of a test."""
    parser = _parser("ceiling")
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of simulated shards")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder for metrics.json and the tables")
    parser.add_argument("--sessions", metavar="EID", nargs="+", help="sessions to score; by default all of the role")
    parser.add_argument(
        "--role", choices=get_args(Role), default="heldout", help="role of the sessions scored (default: heldout)"
    )
    options = parser.parse_args(arguments)
    scores = ceiling(options.data, sessions=options.sessions, role=options.role)
    metrics = write_report(options.out, [one.session for one in scores], [one.neurons for one in scores])
    print_comparison({"ceiling": metrics})
    print(f"Results: {options.out / METRICS_FILE}")


def run_compare(arguments: Sequence[str]) -> None:
    """Print tested runs side by side and, if asked, write their means."""
    parser = _parser("compare")
    parser.add_argument(
        "runs", metavar="NAME=RUN", nargs="+", help="run directory, or the metrics.json of a test, and a name for it"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="JSON file for the means of each run, by its name")
    options = parser.parse_args(arguments)
    runs = {}
    for given in options.runs:
        name, _, path = given.partition("=")
        if not (name and path):
            raise UserError(f"{given}: give each run as NAME=RUN, e.g. mtm=runs/finetune.")
        if name in runs:
            raise UserError(f"{given}: the name {name} is given twice. Choose another.")
        if not Path(path).exists():
            raise UserError(f"{path}: no such run directory or metrics file.")
        runs[name] = read_metrics(Path(path))
    print_comparison(runs)
    if options.out is not None:
        keep_previous(options.out)
        write_whole(options.out, json.dumps(summary(runs), indent=1) + "\n")


TOOLS = {
    "ceiling": Tool(
        "which scores the true rates of simulated sessions, the bound of what a model can reach", run_ceiling
    ),
    "compare": Tool("which prints tested runs side by side", run_compare),
}


def _parser(name: str) -> argparse.ArgumentParser:
    text = TOOLS[name].summary.removeprefix("which ")
    return argparse.ArgumentParser(prog=f"neuromtm {name}", description=f"{text.capitalize()}.", allow_abbrev=False)

"""`neuromtm ceiling`: the scores of a simulation's true rates."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from neuromtm.commands.selection import session_options
from neuromtm.commands.starting import require_own_results
from neuromtm.decoding.selection import behavior_text
from neuromtm.evaluation.references import CEILING_FILE, ceiling_text
from neuromtm.evaluation.results import METRICS_FILE, write_results
from neuromtm.evaluation.truth import ceiling
from neuromtm.files import keep_previous, write_whole
from neuromtm.provenance import add_start, describe_start
from neuromtm.report.tables import print_comparison


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Score the true rates of simulated sessions and write the tables of a test.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of simulated shards")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="folder for metrics.json, the tables and ceiling.json"
    )
    session_options(parser, to_do="score")
    options = parser.parse_args(arguments)
    require_own_results(options.out, record=CEILING_FILE)
    scores = ceiling(options.data, sessions=options.sessions, role=options.role)
    decoded = [of_one for one in scores for of_one in one.behavior]
    keep_previous(options.out / CEILING_FILE)
    write_whole(options.out / CEILING_FILE, ceiling_text(options.data, [one.session.eid for one in scores]))
    metrics = write_results(
        options.out,
        [one.session for one in scores],
        [one.neurons for one in scores],
        behavior_text(decoded) if decoded else None,
    )
    print_comparison({"ceiling": metrics})
    add_start(options.out, describe_start(["ceiling", *arguments], data=options.data, seed=None))
    print(f"Results: {options.out / METRICS_FILE}")

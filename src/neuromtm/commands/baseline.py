"""`neuromtm baseline`: score simple predictions in the tasks of a test."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from neuromtm.baselines.choice import KINDS
from neuromtm.baselines.session import baseline_text, notes, score_baseline
from neuromtm.commands.selection import selected, selection_options
from neuromtm.commands.starting import require_own_results
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.evaluation.references import BASELINE_FILE
from neuromtm.evaluation.results import METRICS_FILE, write_results
from neuromtm.files import keep_previous, write_whole
from neuromtm.provenance import add_start, describe_start
from neuromtm.report.tables import print_comparison


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Fit a baseline to each session, score it as a test does and write the tables of a test.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    options = read_options(arguments, parser)
    require_own_results(options.out, record=BASELINE_FILE)
    data = chosen_data(options)
    scores = []
    for one in score_baseline(data, options.kind):
        scores.append(one)
        print("\n".join(notes(one)), flush=True)
    keep_previous(options.out / BASELINE_FILE)
    write_whole(options.out / BASELINE_FILE, baseline_text(options.kind, data, scores))
    metrics = write_results(options.out, [one.session for one in scores], [one.neurons for one in scores])
    print_comparison({options.kind: metrics})
    add_start(options.out, describe_start(["baseline", *arguments], data=options.data, seed=None))
    print(f"Results: {options.out / METRICS_FILE}")


def read_options(arguments: Sequence[str], parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the command line; arguments as of `run`."""
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of shards")
    parser.add_argument(
        "--kind",
        choices=tuple(KINDS),
        required=True,
        help="which baseline; docs/baselines.md has the formulas",
    )
    parser.add_argument(
        "--out", metavar="RUN", type=Path, required=True, help="folder for metrics.json, the tables and baseline.json"
    )
    selection_options(parser, to_do="score", of_a_model=True)
    return parser.parse_args(arguments)


def chosen_data(options: argparse.Namespace) -> SessionDataModule:
    """The sessions that are scored; their files are not read yet.

    Raises:
        ConfigError: if the options do not fit together.
    """
    return SessionDataModule(**selected(options))

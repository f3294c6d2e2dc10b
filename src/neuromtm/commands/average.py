"""`neuromtm average`: score the average of the rates of several trained models, and of a baseline beside them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from neuromtm.baselines.choice import KINDS
from neuromtm.baselines.session import notes
from neuromtm.commands.selection import selected, selection_options
from neuromtm.commands.starting import require_own_results
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError
from neuromtm.evaluation.references import AVERAGE_FILE
from neuromtm.evaluation.results import METRICS_FILE, write_results
from neuromtm.files import keep_previous, write_whole
from neuromtm.provenance import add_start, describe_start
from neuromtm.report.tables import print_comparison
from neuromtm.training.ensemble import score_average
from neuromtm.training.trained import open_trained


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Score an average of rates as a test does, and write the tables of a test.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.

    Raises:
        ConfigError: if there is nothing to average.
    """
    parser.add_argument(
        "runs", metavar="RUN", type=Path, nargs="+", help="run directories (checkpoints/best.ckpt) or checkpoints"
    )
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of shards")
    parser.add_argument(
        "--baseline",
        choices=tuple(KINDS),
        help="average in this baseline too, fitted to each session, with half of the weight",
    )
    parser.add_argument(
        "--out", metavar="RUN", type=Path, required=True, help="folder for metrics.json, the tables and average.json"
    )
    selection_options(parser, to_do="score", of_a_model=True)
    options = parser.parse_args(arguments)
    if len(set(options.runs)) < len(options.runs):
        raise ConfigError(f"A run is named twice: {' '.join(map(str, options.runs))}. Name each one once.")
    if len(options.runs) == 1 and options.baseline is None:
        raise ConfigError("One run alone has no average. Name more runs, or a --baseline.")
    require_own_results(options.out, record=AVERAGE_FILE)
    models = [open_trained(path) for path in options.runs]
    data = SessionDataModule(**selected(options))
    scores = []
    for one in score_average(models, data, baseline=options.baseline):
        scores.append(one)
        print("\n".join([f"{one.session.eid}: scored", *notes(one)]), flush=True)
    record = {
        "runs": [str(path) for path in options.runs],
        "baseline": options.baseline,
        "data": str(data.root),
        "min_firing_rate_hz": data.min_firing_rate_hz,
        "regions": data.regions,
        "n_train_trials": data.n_train_trials,
        "absent": {one.session.eid: one.absent for one in scores},
    }
    keep_previous(options.out / AVERAGE_FILE)
    write_whole(options.out / AVERAGE_FILE, json.dumps(record, indent=1) + "\n")
    metrics = write_results(options.out, [one.session for one in scores], [one.neurons for one in scores])
    print_comparison({"average": metrics})
    add_start(options.out, describe_start(["average", *arguments], data=options.data, seed=None))
    print(f"Results: {options.out / METRICS_FILE}")

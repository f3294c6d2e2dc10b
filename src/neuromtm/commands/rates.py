"""`neuromtm rates`: compare a model's predicted rates with the true rates of a simulation."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from neuromtm.evaluation.true_rates import Rates, RateScores, decoded_latents, rate_scores, read_rates
from neuromtm.files import keep_previous, whole_file
from neuromtm.plots.true_rates import Latents, true_rates_plot
from neuromtm.report.tables import print_tables


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Print how near predicted rates are to the true ones, and draw both.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory with the output of `neuromtm predict`")
    parser.add_argument("--data", metavar="DIR", type=Path, required=True, help="folder of the simulated shards")
    parser.add_argument(
        "--latents",
        metavar="NAME",
        nargs="+",
        default=(),
        help="behaviours of the shards that are the true variables behind the rates, e.g. lorenz_x lorenz_y lorenz_z",
    )
    options = parser.parse_args(arguments)
    table = Table(title="Predicted against true rates, test trials, nothing hidden from the model")
    names = ("session", "trials", "R2", "R2, mean over neurons", "R2 of smoothed counts")
    for name in (*names, *(f"R2 {name}" for name in options.latents)):
        table.add_column(name, justify="left" if name == "session" else "right", no_wrap=True)
    plots = []
    for rates in read_rates(options.run, options.data, options.latents):
        scores = rate_scores(rates)
        of_latents = () if scores.latents_r2 is None else scores.latents_r2
        values = (scores.r2, np.nanmean(scores.neuron_r2), scores.smoothed_r2, *of_latents)
        table.add_row(Text(rates.eid), str(len(rates.true)), *(f"{value:.3f}" for value in values))
        plot = true_rates_plot(
            eid=rates.eid,
            true=rates.true,
            predicted=rates.predicted,
            counts=rates.counts,
            neuron_r2=scores.neuron_r2,
            r2=scores.r2,
            bin_size_s=rates.bin_size_s,
            latents=_latents(rates, scores, options.latents),
        )
        plots.append(options.run / "figures" / f"truth-{rates.eid}.png")
        keep_previous(plots[-1])
        with whole_file(plots[-1]) as temporary:
            plot.savefig(temporary, format="png", dpi=100)
    print_tables([table])
    print(f"Plots: {', '.join(map(str, plots))}")


def _latents(rates: Rates, scores: RateScores, names: Sequence[str]) -> Latents | None:
    if rates.latents is None or scores.latents_r2 is None:
        return None
    return Latents(names, rates.latents, decoded_latents(rates), scores.latents_r2)

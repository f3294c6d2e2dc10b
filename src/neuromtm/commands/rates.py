"""`neuromtm rates`: how near a model's predicted rates come to the true ones of a simulation."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.table import Table
from rich.text import Text

from neuromtm.data.manifest import SessionEntry, read_manifest
from neuromtm.data.shards import open_shard, read_header, read_trials
from neuromtm.errors import DataError
from neuromtm.evaluation.comparison import print_tables
from neuromtm.evaluation.figures import ACCENT, smooth
from neuromtm.evaluation.report import keep_previous
from neuromtm.files import whole_file

N_SHOWN_TRIALS = 3
N_SHOWN_NEURONS = 4


class Rates(NamedTuple):
    """What a model predicted of a session, and what is true; rates in expected spikes per bin."""

    eid: str
    predicted: np.ndarray
    """(trial, bin, neuron), with nothing hidden from the model"""
    true: np.ndarray
    """(trial, bin, neuron)"""
    counts: np.ndarray
    """(trial, bin, neuron)"""
    latents: np.ndarray | None
    """(trial, bin, latent) true values of the variables behind the rates"""
    bin_size_s: float


class RateScores(NamedTuple):
    """How near predicted rates are to the true ones."""

    r2: float
    """over trials, bins and neurons, against each neuron's mean true rate"""
    neuron_r2: np.ndarray
    """(neuron,) of each alone; NaN where its true rate never varies"""
    smoothed_r2: float
    """`r2` of counts smoothed with a Gaussian, as a yardstick"""
    latents_r2: np.ndarray | None
    """(latent,) of a linear read-out of the predicted log-rates, fitted on half of the trials, on the other half"""


def rate_scores(rates: Rates) -> RateScores:
    """Hold predictions against the truth."""
    smoothed = np.stack([smooth(trial.astype(float), rates.bin_size_s) for trial in rates.counts])
    left, total = _squares(rates.true, rates.predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        neuron_r2 = np.where(total > 0, 1 - left / total, np.nan)
    latents_r2 = None
    if rates.latents is not None:
        later = rates.latents[1::2]
        unexplained, variation = _squares(later, decoded_latents(rates)[1::2])
        latents_r2 = 1 - unexplained / variation
    return RateScores(
        r2=float(1 - left.sum() / total.sum()),
        neuron_r2=neuron_r2,
        smoothed_r2=float(1 - _squares(rates.true, smoothed)[0].sum() / total.sum()),
        latents_r2=latents_r2,
    )


def decoded_latents(rates: Rates) -> np.ndarray:
    """(trial, bin, latent) least-squares read-out of the predicted log-rates, fitted on every second trial."""
    features = np.log(np.maximum(rates.predicted, 1e-6))
    features = np.concatenate([features, np.ones_like(features[..., :1])], axis=-1)
    fitted = slice(0, None, 2)
    flat = features[fitted].reshape(-1, features.shape[-1])
    weights, *_ = np.linalg.lstsq(flat, rates.latents[fitted].reshape(len(flat), -1), rcond=None)
    return features @ weights


def _squares(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(last axis,) squares that a prediction leaves, and those about the mean, summed over trials and bins."""
    return np.square(true - predicted).sum((0, 1)), np.square(true - true.mean((0, 1))).sum((0, 1))


def read_rates(run: Path, data: Path, latents: Sequence[str] = ()) -> list[Rates]:
    """Read what `neuromtm predict` wrote, and the truth of the same trials and neurons.

    Args:
        run: run directory with predictions.
        data: folder of the simulated shards.
        latents: names of behaviours that are the true variables behind the rates.

    Raises:
        DataError: if there are no predictions, or they and the shards do not belong together, or there is no truth.
        ManifestError: if the folder is not a data folder.
        ShardError: if a shard cannot be read.
    """
    files = sorted((run / "predictions").glob("*.h5"))
    if not files:
        raise DataError(
            f"{run}: no predictions. Write them: neuromtm predict --config {run / 'config.yaml'} "
            f"--ckpt_path {run / 'checkpoints' / 'best.ckpt'}"
        )
    entries = {entry.eid: entry for entry in read_manifest(data)}
    return [_read(path, data, entries, latents) for path in files if not _is_earlier(path)]


def _is_earlier(path: Path) -> bool:
    """Whether it is an earlier result that was renamed aside: its name is not the eid that it holds."""
    with h5py.File(path, "r") as file:
        return path.stem != file.attrs["eid"]


def _read(path: Path, data: Path, entries: dict[str, SessionEntry], latents: Sequence[str]) -> Rates:
    with h5py.File(path, "r") as file:
        eid, predicted, trials = str(file.attrs["eid"]), file["rates"][()], file["trial"][()]
        uuids = file["neurons/uuid"].asstr()[()]
    if eid not in entries:
        raise DataError(f"{data}: no session {eid}, of which {path} has predictions. It holds {', '.join(entries)}.")
    shard = data / entries[eid].file
    header = read_header(shard)
    place = {str(uuid): i for i, uuid in enumerate(header.neurons.uuid)}
    if header.n_bins != predicted.shape[1] or trials.max() >= header.n_trials or not set(uuids) <= set(place):
        raise DataError(f"{path}: predictions of other bins, trials or neurons than {shard} has. Predict again.")
    missing = [name for name in latents if name not in header.behaviors]
    if missing:
        raise DataError(f"{shard}: no behaviour {', '.join(missing)}. It has: {', '.join(header.behaviors) or 'none'}.")
    with open_shard(shard) as file:
        if "truth/rates" not in file:
            raise DataError(f"{shard}: holds no true rates, which only simulated sessions have.")
        neurons = [place[str(uuid)] for uuid in uuids]
        true = read_trials(file["truth/rates"], trials)[..., neurons].astype(float)
        counts = read_trials(file["spikes/counts"], trials)[..., neurons]
        values = [read_trials(file[f"behavior/{name}"], trials) for name in latents]
    return Rates(
        eid=eid,
        predicted=predicted.astype(float),
        true=true,
        counts=counts,
        latents=np.stack(values, axis=-1).astype(float) if values else None,
        bin_size_s=header.bin_size_s,
    )


def rates_figure(rates: Rates, scores: RateScores, latents: Sequence[str] = ()) -> Figure:
    """True and predicted rates of some neurons in some trials and, beside them, the variables behind them.

    Args:
        rates: a session's.
        scores: of these rates.
        latents: names of the variables.
    """
    n_trials = min(N_SHOWN_TRIALS, len(rates.true))
    # from the best to the worst neuron in even steps
    order = np.argsort(-np.nan_to_num(scores.neuron_r2, nan=-np.inf), kind="stable")
    neurons = order[np.linspace(0, len(order) - 1, min(N_SHOWN_NEURONS, len(order))).round().astype(int)]
    figure = Figure(figsize=(3.2 * n_trials, 1.2 * len(neurons) + (2.9 if latents else 0.6)), layout="constrained")
    FigureCanvasAgg(figure)
    rows = len(neurons) + bool(latents)
    grid = figure.add_gridspec(rows, n_trials, height_ratios=[1.0] * len(neurons) + [2.2] * bool(latents))
    decoded = decoded_latents(rates) if latents else None
    # odd ones, which the read-out of the latents was not fitted on
    for column, trial in enumerate(range(1, len(rates.true), 2)[:n_trials] if len(rates.true) > 1 else [0]):
        for row, neuron in enumerate(neurons):
            axes = figure.add_subplot(grid[row, column])
            _course(axes, rates, trial, neuron)
            if column == 0:
                axes.set_ylabel(f"neuron {neuron}\nR2 {scores.neuron_r2[neuron]:.2f}\nspikes/s", fontsize=7)
            if row == 0:
                axes.set_title(f"test trial {trial}", fontsize=8)
        axes.set_xlabel("time in the trial (s)", fontsize=7)
        if latents:
            _phase(figure.add_subplot(grid[-1, column]), rates.latents[trial], decoded[trial], latents)
    text = f"{rates.eid}: R2 of the rates {scores.r2:.3f}"
    if latents:
        text += f", of the variables {scores.latents_r2.mean():.3f}"
    figure.suptitle(f"{text} (black: true; red: model; ticks: spikes)", fontsize=9)
    return figure


def _course(axes: Axes, rates: Rates, trial: int, neuron: int) -> None:
    time_s = (np.arange(rates.true.shape[1]) + 0.5) * rates.bin_size_s
    axes.plot(time_s, rates.true[trial, :, neuron] / rates.bin_size_s, color="black", linewidth=1)
    axes.plot(time_s, rates.predicted[trial, :, neuron] / rates.bin_size_s, color=ACCENT, linewidth=1.2)
    spikes = np.flatnonzero(rates.counts[trial, :, neuron])
    axes.plot(time_s[spikes], np.zeros(len(spikes)), "|", color="0.3", markersize=5)
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right"]].set_visible(False)


def _phase(axes: Axes, true: np.ndarray, decoded: np.ndarray, names: Sequence[str]) -> None:
    first, last = 0, len(names) - 1
    for values, colour in ((true, "black"), (decoded, ACCENT)):
        axes.plot(values[:, first], values[:, last], color=colour, linewidth=1.1)
    axes.set_xlabel(names[first], fontsize=7)
    axes.set_ylabel(names[last], fontsize=7)
    axes.tick_params(labelsize=6)
    axes.spines[["top", "right"]].set_visible(False)


def run_rates(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Print how near predicted rates come to the true ones, and draw them.

    Args:
        arguments: the command line behind the command's name.
        parser: an empty one with the command's name.
    """
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory in which `neuromtm predict` has written")
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
    figures = []
    for rates in read_rates(options.run, options.data, options.latents):
        scores = rate_scores(rates)
        of_latents = () if scores.latents_r2 is None else scores.latents_r2
        values = (scores.r2, np.nanmean(scores.neuron_r2), scores.smoothed_r2, *of_latents)
        table.add_row(Text(rates.eid), str(len(rates.true)), *(f"{value:.3f}" for value in values))
        figures.append(options.run / "figures" / f"truth-{rates.eid}.png")
        figure = rates_figure(rates, scores, options.latents)
        keep_previous(figures[-1])
        with whole_file(figures[-1]) as temporary:
            figure.savefig(temporary, format="png", dpi=100)
    print_tables([table])
    print(f"Figures: {', '.join(map(str, figures))}")

"""The plot of a simulation's true rates beside a model's."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromtm.plots.style import ACCENT, LABEL, OBSERVED, POINTS, TICK, TITLE, canvas, plain

N_SHOWN_TRIALS = 3
N_SHOWN_NEURONS = 4


class Latents(NamedTuple):
    """The variables behind the rates of a simulation."""

    names: Sequence[str]
    true: np.ndarray
    """(trial, bin, latent)"""
    decoded: np.ndarray
    """(trial, bin, latent) read linearly from the predicted log-rates"""
    r2: np.ndarray
    """(latent,) R2 of the decoded values"""


def true_rates_plot(
    *,
    eid: str,
    true: np.ndarray,
    predicted: np.ndarray,
    counts: np.ndarray,
    neuron_r2: np.ndarray,
    r2: float,
    bin_size_s: float,
    latents: Latents | None = None,
) -> Figure:
    """True and predicted rates of some neurons in some trials and, below them, the variables behind the rates.

    Args:
        eid: the session.
        true: (trial, bin, neuron) expected spikes per bin.
        predicted: (trial, bin, neuron) expected spikes per bin, from a model.
        counts: (trial, bin, neuron) spikes per bin.
        neuron_r2: (neuron,) R2 of the predicted rates; NaN where a true rate never varies.
        r2: R2 over all neurons.
        bin_size_s: width of a bin.
        latents: the variables behind the rates.
    """
    n_trials = min(N_SHOWN_TRIALS, len(true))
    # from the best to the worst neuron in even steps
    order = np.argsort(-np.nan_to_num(neuron_r2, nan=-np.inf), kind="stable")
    neurons = order[np.linspace(0, len(order) - 1, min(N_SHOWN_NEURONS, len(order))).round().astype(int)]
    figure = canvas(3.2 * n_trials, 1.2 * len(neurons) + (2.9 if latents is not None else 0.6))
    rows = len(neurons) + (latents is not None)
    grid = figure.add_gridspec(rows, n_trials, height_ratios=[1.0] * len(neurons) + [2.2] * (latents is not None))
    # odd trials: the read-out of the latents was not fitted to them
    for column, trial in enumerate(range(1, len(true), 2)[:n_trials] if len(true) > 1 else [0]):
        for row, neuron in enumerate(neurons):
            axes = figure.add_subplot(grid[row, column])
            of = (trial, slice(None), neuron)
            _course(axes, true[of], predicted[of], counts[of], bin_size_s)
            if column == 0:
                axes.set_ylabel(f"neuron {neuron}\nR2 {neuron_r2[neuron]:.2f}\nspikes/s", fontsize=TICK)
            if row == 0:
                axes.set_title(f"test trial {trial}", fontsize=LABEL)
        axes.set_xlabel("time in the trial (s)", fontsize=TICK)
        if latents is not None:
            _phase(figure.add_subplot(grid[-1, column]), latents.true[trial], latents.decoded[trial], latents.names)
    text = f"{eid}: R2 of the rates {r2:.3f}"
    if latents is not None:
        text += f", of the variables {latents.r2.mean():.3f}"
    figure.suptitle(f"{text} (black: true; red: model; ticks: spikes)", fontsize=TITLE)
    return figure


def _course(axes: Axes, true: np.ndarray, predicted: np.ndarray, counts: np.ndarray, bin_size_s: float) -> None:
    time_s = (np.arange(len(true)) + 0.5) * bin_size_s
    axes.plot(time_s, true / bin_size_s, color=OBSERVED, linewidth=1)
    axes.plot(time_s, predicted / bin_size_s, color=ACCENT, linewidth=1.2)
    spikes = np.flatnonzero(counts)
    axes.plot(time_s[spikes], np.zeros(len(spikes)), "|", color=POINTS, markersize=5)
    plain(axes)


def _phase(axes: Axes, true: np.ndarray, decoded: np.ndarray, names: Sequence[str]) -> None:
    first, last = 0, len(names) - 1
    for values, colour in ((true, OBSERVED), (decoded, ACCENT)):
        axes.plot(values[:, first], values[:, last], color=colour, linewidth=1.1)
    axes.set_xlabel(names[first], fontsize=TICK)
    axes.set_ylabel(names[last], fontsize=TICK)
    plain(axes)

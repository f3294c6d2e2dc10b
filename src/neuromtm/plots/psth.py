"""Plots of averages over the trials of a condition (PSTH), recorded and predicted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from neuromtm.plots.style import CONDITIONS, HEADING, LABEL, LINES, POINTS, TICK, canvas, plain
from neuromtm.plots.tasks import time_label

FEWEST_FOR_A_SPREAD = 2
"""trials of a condition; the standard error of fewer is not known"""


@dataclass(frozen=True, kw_only=True)
class PsthPanel:
    """A neuron whose averages are drawn."""

    title: str
    counts: np.ndarray
    """(trial, bin) spikes per bin"""
    expected: np.ndarray
    """(trial, bin) expected spikes per bin, predicted while the neuron was hidden"""
    number: np.ndarray
    """(trial,) place of each trial's condition among the names; -1 for a trial that is left out"""


def selectivity(counts: np.ndarray, number: np.ndarray) -> np.ndarray:
    """(neuron,) share of the variance of the counts in a bin that the condition explains, over all bins; 0 to 1.

    The ordinary eta squared, with the variances of the bins summed: a neuron whose average changes with time, but not
    with the condition, has 0 but for chance.

    Args:
        counts: (trial, bin, neuron) spikes per bin, best smoothed.
        number: (trial,) place of each trial's condition; -1 for a trial that is left out.
    """
    known, of = np.asarray(counts, np.float64)[number >= 0], number[number >= 0]
    if not len(of):
        return np.zeros(counts.shape[-1])
    mean, between = known.mean(axis=0), np.zeros(counts.shape[-1])
    for condition in np.unique(of):
        own = known[of == condition]
        between += len(own) * np.square(own.mean(axis=0) - mean).sum(axis=0)
    total = np.square(known - mean).sum(axis=(0, 1))
    return np.divide(between, total, out=np.zeros_like(total), where=total > 0)


def psth_plot(
    rows: Mapping[str, Sequence[PsthPanel]],
    *,
    conditions: Sequence[str],
    title: str,
    bin_size_s: float,
    window_s: tuple[float, float],
    align_event: str = "event",
) -> Figure:
    """Averages of some neurons over the trials of each condition: recorded with their spread, and predicted.

    Nothing is smoothed. The band is the recorded mean plus and minus its standard error; a condition of one trial has
    no band.

    Args:
        rows: name of a row, such as a session -> its neurons, as many in each row.
        conditions: names of the conditions, at most as many as `CONDITIONS` has colours.
        title: what is shown.
        bin_size_s: width of a bin.
        window_s: start and end of a trial relative to the event at 0 s.
        align_event: what happens at 0 s.
    """
    n_columns = max(len(panels) for panels in rows.values())
    figure = canvas(2.1 * n_columns + 0.5, 1.75 * len(rows) + 1.1)
    grid = figure.subplots(len(rows), n_columns, sharex=True, squeeze=False)
    for axes_row, (name, panels) in zip(grid, rows.items(), strict=True):
        for axes in axes_row[len(panels) :]:
            axes.set_visible(False)
        for axes, panel in zip(axes_row, panels, strict=False):
            time_s = window_s[0] + bin_size_s * (np.arange(panel.counts.shape[1]) + 0.5)
            for condition in range(len(conditions)):
                colour = CONDITIONS(condition)
                own = panel.number == condition
                if not own.any():
                    continue
                rates_hz = panel.counts[own] / bin_size_s
                mean = rates_hz.mean(axis=0)
                if own.sum() >= FEWEST_FOR_A_SPREAD:
                    error = rates_hz.std(axis=0, ddof=1) / np.sqrt(own.sum())
                    axes.fill_between(time_s, mean - error, mean + error, color=colour, alpha=0.25, linewidth=0)
                axes.plot(time_s, mean, color=colour, linewidth=0.6)
                axes.plot(time_s, panel.expected[own].mean(axis=0) / bin_size_s, color=colour, linewidth=1.8)
            axes.set_ylim(bottom=0)
            if window_s[0] < 0 < window_s[1]:
                axes.axvline(0, color=LINES, linewidth=0.8, linestyle=":")
            axes.set_title(panel.title, fontsize=LABEL)
            plain(axes)
        axes_row[0].set_ylabel(f"{name}\nspikes/s", fontsize=LABEL)
    for column in grid.T:
        lowest = [axes for axes in column if axes.get_visible()][-1]
        lowest.set_xlabel(time_label(align_event), fontsize=LABEL)
        lowest.tick_params(labelbottom=True)
    lines = [Line2D([], [], color=CONDITIONS(i), linewidth=3) for i in range(len(conditions))]
    keys = [Patch(color=POINTS, alpha=0.35), Line2D([], [], color=POINTS, linewidth=1.8)]
    figure.legend(
        [*lines, *keys],
        [*conditions, "recorded, mean ± standard error", "predicted"],
        loc="outside lower center",
        ncols=len(conditions) + 2,
        fontsize=TICK + 1,
        frameon=False,
    )
    figure.suptitle(title, fontsize=HEADING)
    return figure

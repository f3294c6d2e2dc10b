"""The plot of single trials: the spikes of each, and beside them what the model predicts for what is hidden."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.ordering import NeuronOrder
from neuromtm.plots.style import (
    ACCENT,
    COUNTS,
    DIFFERENCES,
    EMPTY,
    HEADING,
    LABEL,
    LINES,
    OBSERVED,
    TICK,
    TITLE,
    canvas,
    plain,
)
from neuromtm.plots.tasks import time_label

MOST_SPIKES = 3
"""spikes in a bin that are drawn black, as more are"""
FOLDS = 4.0
"""a rate so many times the neuron's mean has the darkest red, and one so many times below it the darkest blue"""
SPIKES = PowerNorm(0.5, 0, MOST_SPIKES, clip=True)
"""shades of spike counts; by a square root, because one spike must be seen"""
ROOM = 0.06
"""share of a map's height that the name of a region takes"""
AS_IT_IS: dict[str, Any] = {"aspect": "auto", "interpolation": "nearest"}
"""how a map is drawn: a place a bin and neuron, none blended with the next"""


@dataclass(frozen=True, kw_only=True)
class TrialExample:
    """A trial that is drawn, with the predictions of what each task hides in it."""

    title: str
    counts: np.ndarray
    """(bin, neuron) spikes per bin"""
    predicted: Mapping[str, np.ndarray]
    """task -> (bin, neuron) expected spikes per bin, NaN where the task predicts nothing"""


def trials_plot(
    *,
    title: str,
    examples: Sequence[TrialExample],
    mean_counts: np.ndarray,
    regions: Sequence[str],
    order: NeuronOrder,
    bin_size_s: float,
    window_s: tuple[float, float],
    align_event: str = "event",
) -> Figure:
    """Some trials, a row each: the spikes, and for each task the predicted rates as multiples of the neurons' means.

    Multiples show what the model says of this trial. On a scale of rates a neuron that always fires much would be
    the brightest, whatever the model knows of the trial. To the right are the means over the neurons, of the counts and
    of what the first task predicts, which should be all of them.

    Args:
        title: what the trials are.
        examples: the trials; all have predictions of the same tasks.
        mean_counts: (neuron,) mean spikes per bin, above 0, of each neuron in the train trials.
        regions: acronym of each neuron.
        order: order of the neurons, region by region.
        bin_size_s: width of a bin.
        window_s: start and end of a trial relative to the event at 0 s.
        align_event: what happens at 0 s.
    """
    tasks = list(examples[0].predicted)
    names = [regions[i] for i in order.places]
    height = float(np.clip(0.9 + 0.02 * len(names), 1.8, 3.2))
    figure = canvas(1.75 * (len(tasks) + 1) + 2.6, height * len(examples) + 1.3)
    grid = figure.subplots(
        len(examples), len(tasks) + 2, sharex=True, squeeze=False, width_ratios=[*[1] * (len(tasks) + 1), 1.1]
    )
    fold = Normalize(-np.log2(FOLDS), np.log2(FOLDS))
    for row, example in zip(grid, examples, strict=True):
        counts = np.asarray(example.counts)[:, order.places]
        _raster(row[0], counts, window_s)
        for axes, task in zip(row[1:-1], tasks, strict=True):
            rates = np.asarray(example.predicted[task], np.float64)[:, order.places]
            _multiples(axes, rates / mean_counts[order.places], counts, fold, window_s)
        for axes in row[:-1]:
            _part_regions(axes, names, named=axes is row[0])
        row[0].set_ylabel(example.title, fontsize=LABEL)
        means_axes = row[-1]
        time_s = window_s[0] + bin_size_s * (np.arange(len(counts)) + 0.5)
        means_axes.plot(time_s, counts.mean(axis=1) / bin_size_s, color=OBSERVED, linewidth=1)
        rates = np.asarray(example.predicted[tasks[0]], np.float64)
        known = np.isfinite(rates).any(axis=0)
        if known.any():
            means_axes.plot(time_s, rates[:, known].mean(axis=1) / bin_size_s, color=ACCENT, linewidth=1.2)
        means_axes.set_ylabel("spikes/s", fontsize=LABEL)
        plain(means_axes)
    upper = max(axes.get_ylim()[1] for axes in grid[:, -1])
    for axes in grid[:, -1]:
        axes.set_ylim(0, upper)
    grid[0, 0].set_title("observed spikes", fontsize=TITLE)
    for axes, task in zip(grid[0, 1:-1], tasks, strict=True):
        axes.set_title(TASK_TITLES[task], fontsize=TITLE)
    grid[0, -1].set_title("mean over neurons", fontsize=TITLE)
    for axes in grid[-1]:
        axes.set_xlabel(time_label(align_event), fontsize=LABEL)
        axes.tick_params(axis="x", labelsize=TICK)
    bar = figure.colorbar(ScalarMappable(fold, DIFFERENCES), ax=list(grid[:, -1]), pad=0.02, fraction=0.08)
    exponents = np.arange(-np.log2(FOLDS), np.log2(FOLDS) + 1)
    bar.set_ticks(exponents.tolist(), labels=[f"{2**e:g}" if e >= 0 else f"1/{2**-e:g}" for e in exponents])
    bar.set_label("predicted rate / mean rate of the neuron", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    spikes = range(1, MOST_SPIKES + 1)
    keys: list[Artist] = [Patch(facecolor=COUNTS(SPIKES(n)), edgecolor=LINES) for n in spikes]
    keys += [Line2D([], [], color=OBSERVED), Line2D([], [], color=ACCENT)]
    bin_text = f"in a bin of {1000 * bin_size_s:g} ms"
    labels = ["1 spike", *(f"{n}" for n in spikes[1:-1]), f"{MOST_SPIKES} or more {bin_text}"]
    labels += ["mean over neurons: observed", f"predicted ({TASK_TITLES[tasks[0]]})"]
    figure.legend(keys, labels, fontsize=TICK + 1, frameon=False, loc="outside lower center", ncols=len(keys))
    figure.suptitle(title, fontsize=HEADING)
    return figure


def _raster(axes: Axes, counts: np.ndarray, window_s: tuple[float, float]) -> None:
    """Draw (bin, neuron) spike counts, NaN transparent."""
    norm = SPIKES
    axes.imshow(counts.T, cmap=COUNTS, norm=norm, extent=(*window_s, counts.shape[1], 0), **AS_IT_IS)


def _multiples(
    axes: Axes, multiples: np.ndarray, counts: np.ndarray, norm: Normalize, window_s: tuple[float, float]
) -> None:
    """Draw (bin, neuron) predicted multiples. Bins that are not predicted show the counts, which the model saw."""
    axes.set_facecolor(EMPTY)
    bins = np.isfinite(multiples).any(axis=1)
    if bins.any() and not bins.all():
        _raster(axes, np.where(np.expand_dims(bins, axis=1), np.nan, counts), window_s)
        axes.axvline(np.interp(bins.argmax(), (0, len(multiples)), window_s), color=ACCENT, linewidth=1.2)
    with np.errstate(divide="ignore"):
        folds = np.log2(multiples)
    axes.imshow(folds.T, cmap=DIFFERENCES, norm=norm, extent=(*window_s, counts.shape[1], 0), **AS_IT_IS)


def _part_regions(axes: Axes, names: Sequence[str], *, named: bool) -> None:
    """Draw lines between regions, and write the names for which there is room."""
    regions = sorted(set(names))
    starts = np.searchsorted(names, regions)
    ends = np.append(starts[1:], len(names))
    axes.hlines(starts[1:], *axes.get_xlim(), color=LINES, linewidth=0.5)
    middles, shown = (starts + ends) / 2, []
    for i in np.argsort(starts - ends, kind="stable") if named else ():  # the largest first
        if all(abs(middles[i] - middles[j]) > ROOM * len(names) for j in shown):
            shown.append(i)
    axes.set_yticks(middles[shown], [regions[i] for i in shown], fontsize=TICK)
    axes.tick_params(axis="y", length=0)

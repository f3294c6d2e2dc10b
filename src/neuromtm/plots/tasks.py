"""Plots of a test: a trial beside its predictions, and the spread of the scores over neurons and regions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.ordering import NeuronOrder
from neuromtm.plots.style import (
    ACCENT,
    DISTINCT,
    EMPTY,
    FAINT,
    HEADING,
    LABEL,
    LINES,
    OBSERVED,
    PAPER,
    POINTS,
    RATES,
    SEEN,
    SMOOTHING_S,
    TICK,
    TITLE,
    canvas,
)
from neuromtm.smoothing import smooth

HIDDEN = {
    "co_smoothing": "each neuron hidden in turn",
    "forward_prediction": "the last {hidden_ms:.0f} ms hidden",
    "intra_region": "other regions and each neuron hidden",
    "inter_region": "each region hidden in turn",
}
RATE_COLOURS = RATES.with_extremes(bad=(0, 0, 0, 0))  # entries that are not predicted stay transparent
EVENTS = {
    "stimOn_times": "stimulus onset",
    "goCue_times": "the go cue",
    "firstMovement_times": "the first movement",
    "feedback_times": "feedback",
    "event": "the event",
    "window_start": "the start of the window",
}
"""name of the event at 0 s in a shard -> its words in a label; another name is shown as it is"""
COLOUR_TICKS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)
FEWEST_FOR_A_BOX = 5


@dataclass(frozen=True, kw_only=True)
class TaskPanel:
    """A model's prediction of the shown trial in one task."""

    task: str
    """`co_smoothing`, `forward_prediction`, `intra_region` or `inter_region`"""
    predicted: np.ndarray
    """(bin, neuron) expected spikes per bin, NaN where the task does not predict"""
    bps: float | None
    """the session's bits per spike in the task; None if it has no score"""


def task_plot(
    *,
    eid: str,
    counts: np.ndarray,
    regions: Sequence[str],
    panels: Sequence[TaskPanel],
    order: NeuronOrder,
    bin_size_s: float,
    window_s: tuple[float, float],
    align_event: str = "event",
    shown: str = "one trial",
) -> Figure:
    """Observed counts beside the predicted rates of each task, neurons grouped by region.

    Neurons stand in the same order in all panels. Below each panel is the mean over the neurons that it predicts,
    not smoothed on either side. One colour scale serves all panels.

    Args:
        eid: the session.
        counts: (bin, neuron) observed spikes per bin of a trial, or their average over some trials.
        regions: acronym of each neuron.
        panels: one per task.
        order: order of the neurons, region by region.
        bin_size_s: width of a bin.
        window_s: start and end relative to the event.
        align_event: what happens at 0 s.
        shown: what `counts` is, for the title.
    """
    counts_hz = np.asarray(counts, np.float64)[:, order.places] / bin_size_s
    observed = smooth(counts_hz, width_s=SMOOTHING_S, bin_size_s=bin_size_s)
    names = [regions[i] for i in order.places]
    predicted = [np.asarray(panel.predicted, np.float64)[:, order.places] / bin_size_s for panel in panels]
    # a square-root scale, because the rates of neurons span two orders of magnitude
    upper = _upper([observed, *predicted])
    norm = PowerNorm(0.5, vmin=0, vmax=upper, clip=True)
    time_s = window_s[0] + bin_size_s * (np.arange(len(observed)) + 0.5)

    figure = canvas(2.6 * (len(panels) + 1) + 1.6, float(np.clip(3.5 + 0.02 * len(names), 4.5, 9)))
    maps, means = figure.subplots(2, len(panels) + 1, sharex=True, sharey="row", squeeze=False, height_ratios=(5, 1))
    image = _heat_map(maps[0], observed, norm, window_s)
    maps[0].set_title(f"observed\ncounts, smoothed ({1000 * SMOOTHING_S:.0f} ms)", fontsize=TITLE)
    means[0].plot(time_s, counts_hz.mean(axis=1), color=OBSERVED, linewidth=1)
    means[0].set_ylabel("mean\n(spikes/s)", fontsize=LABEL)
    for panel, rates, top, below in zip(panels, predicted, maps[1:], means[1:], strict=True):
        _heat_map(top, rates, norm, window_s, seen=observed)
        hidden_ms = 1000 * bin_size_s * np.isfinite(rates).any(axis=1).sum()
        hidden = HIDDEN[panel.task].format(hidden_ms=hidden_ms)
        top.set_title(f"{TASK_TITLES[panel.task]}: {_bps_text(panel.bps)}\n{hidden}", fontsize=TITLE)
        _mean_over_predicted(below, time_s, counts_hz, rates)
    lines = [Line2D([], [], color=colour) for colour in (OBSERVED, ACCENT)]
    figure.legend(lines, ["observed", "predicted"], fontsize=TICK, frameon=False, loc="outside lower center", ncols=2)
    _mark_regions(maps, names)
    for axes in [*maps, *means]:
        if window_s[0] < 0 < window_s[1]:
            axes.axvline(0, color=LINES, linewidth=0.8, linestyle=":")
    for axes in means:
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xlabel(time_label(align_event), fontsize=LABEL)
        axes.set_ylim(bottom=0)
        axes.tick_params(labelsize=TICK)
    ticks = [rate for rate in COLOUR_TICKS if rate <= upper]
    bar = figure.colorbar(image, ax=maps, extend="max", pad=0.01, fraction=0.04, ticks=ticks)
    bar.set_label("spikes/s (square-root scale)", fontsize=LABEL)
    bar.ax.tick_params(labelsize=TICK)
    figure.suptitle(f"{eid}: {len(names)} neurons, {shown}; within a region {order.how}", fontsize=HEADING)
    return figure


def scores_plot(scores: Mapping[str, np.ndarray], regions: np.ndarray, *, whose: str) -> Figure:
    """Bits per spike of each task: the spread over all neurons at the top, and by region at the bottom.

    Args:
        scores: task -> (neuron,) bits per spike, NaN where undefined.
        regions: (neuron,) acronyms.
        whose: the session, or how many sessions are pooled.
    """
    # a neuron whose rates diverged scores minus infinity, and is drawn at the lower end
    known = np.concatenate([values[np.isfinite(values)] for values in scores.values()])
    # the same limits for all tasks; the few neurons beyond them are drawn at the limit
    low, high = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    low, high = min(low, -0.1), max(high, 0.1)
    names = sorted(set(regions))

    figure = canvas(13, 3.2 + 0.26 * len(names) + 0.8)
    spread, by_region = figure.subplots(
        2, len(scores), sharex=True, sharey="row", squeeze=False, height_ratios=(2.4, 0.26 * len(names) + 0.6)
    )
    for task, values, top, below in zip(scores, scores.values(), spread, by_region, strict=True):
        _histogram(top, TASK_TITLES[task], values[~np.isnan(values)], low, high)
        _boxes(below, [values[(regions == name) & ~np.isnan(values)] for name in names], low, high)
        for axes in (top, below):
            axes.axvline(0, color=LINES, linewidth=0.8, linestyle=":")
            axes.spines[["top", "right"]].set_visible(False)
        below.set_xlabel("bits per spike", fontsize=LABEL)
    spread[0].set_ylabel("neurons", fontsize=LABEL)
    labels = [f"{name} ({int((regions == name).sum())})" for name in names]
    by_region[0].set_yticks(range(len(names)), labels, fontsize=TICK)
    by_region[0].set_ylabel("region (neurons)", fontsize=LABEL)
    by_region[0].invert_yaxis()
    title = f"{whose}: {len(regions)} neurons, test trials (neurons beyond the axes are drawn at their ends)"
    figure.suptitle(title, fontsize=HEADING)
    return figure


def time_label(align_event: str) -> str:
    """The label of a time axis. The event is at 0 s, and is given by its name in the shard."""
    return f"time from {EVENTS.get(align_event, align_event)} (s)"


def _upper(rates: Sequence[np.ndarray]) -> float:
    # not the maximum: one bursting neuron would leave all others dark
    finite = [values[np.isfinite(values)] for values in rates]
    return max(1.0, *(float(np.percentile(values, 99.5)) for values in finite if len(values)))


def _bps_text(bps: float | None) -> str:
    return "no score" if bps is None else f"{bps:.2f} bits/spike"


def _heat_map(
    axes: Axes,
    rates: np.ndarray,
    norm: PowerNorm,
    window_s: tuple[float, float],
    seen: np.ndarray | None = None,
) -> AxesImage:
    """Draw (bin, neuron) rates. Bins that are not predicted show in grey what the model saw."""
    n_neurons = rates.shape[1]
    extent = (*window_s, n_neurons, 0)
    axes.set_facecolor(EMPTY)
    axes.tick_params(bottom=False)
    predicted_bins = np.isfinite(rates).any(axis=1)
    if seen is not None and predicted_bins.any() and not predicted_bins.all():
        context = np.where(np.expand_dims(predicted_bins, axis=1), np.nan, seen)
        axes.imshow(context.T, cmap=SEEN.with_extremes(bad=EMPTY), aspect="auto", extent=extent, norm=norm)
        start_s = np.interp(predicted_bins.argmax(), (0, len(rates)), window_s)
        axes.axvline(start_s, color=ACCENT, linewidth=1.2)
        bracket = {"arrowstyle": "|-|,widthA=0.25,widthB=0.25", "color": ACCENT, "shrinkA": 0, "shrinkB": 0}
        across = axes.get_xaxis_transform()
        axes.annotate("", (start_s, -0.02), (window_s[1], -0.02), across, across, arrowprops=bracket)
        axes.text(start_s, -0.02, "seen (grey)  ", ha="right", va="center", fontsize=TICK, transform=across)
    return axes.imshow(rates.T, cmap=RATE_COLOURS, aspect="auto", extent=extent, norm=norm)


def _mean_over_predicted(axes: Axes, time_s: np.ndarray, observed: np.ndarray, rates: np.ndarray) -> None:
    neurons = np.isfinite(rates).any(axis=0)
    bins = np.isfinite(rates).any(axis=1)
    if neurons.any():
        axes.plot(time_s, observed[:, neurons].mean(axis=1), color=OBSERVED, linewidth=1)
        axes.plot(time_s[bins], rates[np.ix_(bins, neurons)].mean(axis=1), color=ACCENT, linewidth=1.2)


def _mark_regions(maps: Sequence[Axes], names: Sequence[str]) -> None:
    """Draw lines between regions, a strip of their colours, and the names for which there is room."""
    regions = sorted(set(names))
    starts = np.searchsorted(names, regions)
    ends = np.append(starts[1:], len(names))
    for axes in maps:
        axes.hlines(starts[1:], *axes.get_xlim(), color=PAPER, linewidth=0.6)
        for i, (start, end) in enumerate(zip(starts, ends, strict=True)):
            axes.axhspan(start, end, -0.025, -0.005, color=DISTINCT[i % 20], clip_on=False, linewidth=0)
    middles, named = (starts + ends) / 2, []
    for i in np.argsort(starts - ends, kind="stable"):  # the largest first
        if all(abs(middles[i] - middles[j]) > 0.028 * len(names) for j in named):
            named.append(i)
    labels = [f"{regions[i]} ({ends[i] - starts[i]})" for i in named]
    maps[0].set_yticks(middles[named], labels, fontsize=TICK)
    maps[0].set_ylabel("region (neurons)", fontsize=LABEL)
    for axes in maps:
        axes.tick_params(axis="y", length=0, pad=6)


def _histogram(axes: Axes, title: str, values: np.ndarray, low: float, high: float) -> None:
    axes.hist(values.clip(low, high), bins=np.linspace(low, high, 31).tolist(), color=FAINT)
    axes.tick_params(labelsize=TICK)
    summary = "no neuron scored"
    if len(values):
        median = np.median(values)
        axes.axvline(median.clip(low, high), color=ACCENT, linewidth=1.2)
        below = 100 * (values < 0).mean()
        summary = f"median {median:.2f}, mean {values.mean():.2f}\n{below:.0f} % of {len(values)} neurons below 0"
    axes.set_title(f"{title}\n{summary}", fontsize=TITLE)


def _boxes(axes: Axes, values_by_region: Sequence[np.ndarray], low: float, high: float) -> None:
    for place, values in enumerate(values_by_region):
        # the golden ratio spreads the points evenly and the same way each time
        offset = 0.5 * (np.arange(len(values)) * 0.618034 % 1 - 0.5)
        axes.scatter(values.clip(low, high), place + offset, s=4, color=POINTS, linewidths=0)
        if len(values) >= FEWEST_FOR_A_BOX:
            axes.boxplot(
                values.clip(low - 1, high + 1),  # beyond the axes, but finite
                positions=[place],
                orientation="horizontal",
                widths=0.6,
                showfliers=False,
                manage_ticks=False,
                medianprops={"color": ACCENT},
            )
    margin = 0.02 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(-0.6, len(values_by_region) - 0.4)
    axes.tick_params(labelsize=TICK)

"""Plots of single neurons: scores against firing rate, and some neurons of each task trial by trial."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, StrMethodFormatter

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.style import (
    ACCENT,
    CONDITIONS,
    COUNTS,
    EMPTY,
    HEADING,
    LABEL,
    LINES,
    POINTS,
    SMOOTHING_S,
    TICK,
    TITLE,
    canvas,
    plain,
)
from neuromtm.plots.tasks import time_label
from neuromtm.smoothing import smooth

RANKS = {"good": 0.95, "typical": 0.5, "bad": 0.05}
"""name of a shown neuron -> its rank among the session's, from the lowest bits per spike (0) to the highest (1)"""

MOST_CONDITIONS = 4
"""conditions whose averages are drawn: those with the most trials; more lines could not be told apart"""

FEWEST_FOR_A_MEDIAN = 20
"""neurons; if there are fewer, no running median is drawn"""

N_GROUPS = 8
"""groups of equal size, of neurons with similar firing rates; the median of each group is drawn"""

SEEN_BEFORE = 3
"""if a task predicts the end of a trial: visible bins drawn before it, for each predicted bin"""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A neuron that is drawn, with the predictions made while it was hidden."""

    title: str
    counts: np.ndarray
    """(trial, bin) spikes per bin"""
    expected: np.ndarray
    """(trial, bin) expected spikes per bin, NaN in the bins that the task does not predict"""


def firing_rates_plot(scores: Mapping[str, np.ndarray], rate_hz: np.ndarray) -> Figure:
    """Bits per spike of each task against the firing rate: one point per neuron, and the median at similar rates.

    Args:
        scores: task -> (neuron,) bits per spike, NaN where undefined.
        rate_hz: (neuron,) firing rates in the test trials.
    """
    figure = canvas(13, 3.6)
    panels = figure.subplots(1, len(TASK_TITLES), sharex=True, sharey=True)
    firing = rate_hz[rate_hz > 0]
    known = np.concatenate([values[np.isfinite(values)] for values in scores.values()])
    low, high = np.percentile(known, (1, 99)) if len(known) else (0.0, 1.0)
    margin = 0.05 * max(high - low, 0.2)
    low, high = min(low, -0.1) - margin, max(high, 0.1) + margin
    for axes, (task, values) in zip(panels, scores.items(), strict=True):
        there = np.isfinite(values) & (rate_hz > 0)
        x, y = rate_hz[there], values[there]
        axes.scatter(x, y.clip(low, high), s=6, color=POINTS, linewidths=0, alpha=0.7, clip_on=False)
        if len(x) >= FEWEST_FOR_A_MEDIAN:
            groups = np.array_split(np.argsort(x, kind="stable"), N_GROUPS)
            middles = [(np.median(x[group]), np.median(y[group])) for group in groups]
            axes.plot(*np.transpose(middles), color=ACCENT, marker="o", markersize=3, linewidth=1.2)
        axes.axhline(0, color=LINES, linewidth=0.8, linestyle=":")
        if len(firing):
            axes.set_xscale("log")
            axes.set_xlim(firing.min() / 1.3, firing.max() * 1.3)
            axes.xaxis.set_major_locator(LogLocator())
            axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set_ylim(low, high)
        axes.set_title(f"{TASK_TITLES[task]} ({len(x)} neurons)", fontsize=TITLE)
        axes.set_xlabel("firing rate in test trials (spikes/s)", fontsize=LABEL)
        plain(axes)
    panels[0].set_ylabel("bits per spike", fontsize=LABEL)
    title = f"Points: neurons; red: medians of {N_GROUPS} equal groups (the outermost 1 % are drawn at the axes' ends)"
    figure.suptitle(title, fontsize=HEADING)
    return figure


def by_rank(bps: np.ndarray) -> dict[str, int]:
    """Choose the neurons to show: each name of `RANKS` -> the neuron's place; empty if no neuron has a score.

    No person chooses them. The neurons that have a score are sorted by it; `RANKS` says how far along this order each
    shown neuron stands. If there are few neurons, several names may fall on one neuron; it then has the first name.

    Args:
        bps: (neuron,) bits per spike, NaN where undefined; rates that diverged give minus infinity, which is the
            lowest.
    """
    order = np.argsort(bps, kind="stable")[: len(bps) - np.isnan(bps).sum()]  # NaN stands last
    chosen: dict[str, int] = {}
    for name, share in RANKS.items():
        if len(order) and (place := int(order[round(share * (len(order) - 1))])) not in chosen.values():
            chosen[name] = place
    return chosen


def examples_plot(
    *,
    eid: str,
    task: str,
    examples: Sequence[Example],
    conditions: Sequence[str],
    number: np.ndarray,
    bin_size_s: float,
    window_s: tuple[float, float],
    align_event: str = "event",
) -> Figure:
    """Some neurons, one column each: the counts of every trial, the predicted rates, and averages by condition.

    Trials are grouped by condition; within a condition they keep the given order. The averages of observed and
    predicted are smoothed alike: otherwise a sharp rise would be lower in one of them. If a task predicts only the end
    of a trial, `SEEN_BEFORE` times as many bins before it are drawn too.

    Args:
        eid: the session.
        task: the task of the predictions and ranks, e.g. `co_smoothing`.
        examples: the neurons.
        conditions: names of the task conditions.
        number: (trial,) place of each trial's condition among them.
        bin_size_s: width of a bin.
        window_s: start and end of a trial relative to the event at 0 s.
        align_event: name of that event.
    """
    order = np.argsort(number, kind="stable")
    trials = np.bincount(number, minlength=len(conditions))
    drawn = np.sort(np.argsort(-trials, kind="stable")[:MOST_CONDITIONS])
    drawn = drawn[trials[drawn] > 0]
    colours = {c: CONDITIONS(i % 8) for i, c in enumerate(drawn)}
    predicted = ~np.all([np.isnan(example.expected).all(axis=0) for example in examples], axis=0)
    first = int(predicted.argmax())
    start = max(0, first - SEEN_BEFORE * (len(predicted) - first)) if first else 0
    shown_s = (window_s[0] + start * bin_size_s, window_s[1])
    figure = canvas(4.2 * len(examples) + 0.8, 8.2)
    rows = figure.subplots(3, len(examples), sharex=True, squeeze=False, height_ratios=(3, 3, 2.2))
    for column, example in enumerate(examples):
        top, middle, bottom = rows[:, column]
        counts, expected_hz = example.counts[order, start:], example.expected[order, start:] / bin_size_s
        place = {"aspect": "auto", "extent": (*shown_s, len(order), 0), "interpolation": "nearest"}
        # two scales: one spike in a bin is far above any rate, so on one scale all predictions would be pale
        top.imshow(counts, cmap=COUNTS, norm=PowerNorm(0.5, vmin=0, vmax=max(1, counts.max())), **place)
        greys = COUNTS.with_extremes(bad=EMPTY if first else ACCENT)
        image = middle.imshow(expected_hz, cmap=greys, vmin=0, vmax=_darkest(expected_hz), **place)
        for axes in (top, middle):
            _mark_conditions(axes, number[order], colours)
        bar = figure.colorbar(image, ax=middle, pad=0.01, fraction=0.04)
        bar.ax.tick_params(labelsize=TICK - 1)
        bar.set_label("spikes/s", fontsize=TICK)
        for condition, colour in colours.items():
            own, line = number == condition, {"color": colour, "linewidth": 1.2}
            time_s = window_s[0] + bin_size_s * (np.arange(example.counts.shape[1]) + 0.5)
            for values, style in ((example.counts, "-"), (example.expected, "--")):
                average_hz = _smoothed(values[own].mean(axis=0), first, bin_size_s) / bin_size_s
                bottom.plot(time_s[start:], average_hz[start:], linestyle=style, **line)
        bottom.set_ylim(bottom=0)
        bottom.spines[["top", "right"]].set_visible(False)
        top.set_title(example.title, fontsize=LABEL)
        for axes in (top, middle, bottom):
            if shown_s[0] < 0 < shown_s[1]:
                axes.axvline(0, color=LINES, linewidth=0.8, linestyle=":")
            if first:
                axes.axvline(window_s[0] + first * bin_size_s, color=ACCENT, linewidth=1.2)
            axes.tick_params(labelsize=TICK)
        bottom.set_xlabel(time_label(align_event), fontsize=LABEL)
    for axes, label in zip(
        rows[:, 0], ("observed spikes\ntrial", "predicted rates\ntrial", "average (spikes/s)"), strict=True
    ):
        axes.set_ylabel(label, fontsize=LABEL)
    lines = [Line2D([], [], color=colours[c]) for c in drawn]
    names = [f"{conditions[c]} ({trials[c]} trials)" for c in drawn]
    lines += [Line2D([], [], color=POINTS), Line2D([], [], color=POINTS, linestyle="--")]
    smoothed = f"smoothed ({1000 * SMOOTHING_S:.0f} ms)"
    names += [f"observed, {smoothed}", f"predicted, {smoothed}"]
    if len(drawn) < (trials > 0).sum():
        lines.append(Line2D([], [], color=EMPTY, linewidth=4))
        names.append("other conditions")
    if first:
        lines.append(Line2D([], [], color=ACCENT))
        names.append("hidden from here on")
    figure.legend(lines, names, loc="outside lower center", ncols=3, fontsize=TICK, frameon=False)
    figure.suptitle(f"{eid}: neurons by their rank in {TASK_TITLES[task]}, {len(number)} test trials", fontsize=HEADING)
    return figure


def _darkest(rates_hz: np.ndarray) -> float:
    """The rate that is drawn black. Rare higher rates do not make the others pale, and a constant rate is grey."""
    finite = rates_hz[np.isfinite(rates_hz)]
    return max(np.percentile(finite, 99.9), 2 * finite.mean(), 1e-3) if len(finite) else 1.0


def _mark_conditions(axes: Axes, number: np.ndarray, colours: dict[int, tuple]) -> None:
    """Draw lines between conditions, and a strip in the colours of their averages."""
    edges = np.flatnonzero(np.diff(number)) + 1
    for start, end in zip(np.r_[0, edges], np.r_[edges, len(number)], strict=True):
        colour = colours.get(int(number[start]), EMPTY)
        axes.axhspan(start, end, -0.03, -0.008, color=colour, clip_on=False, linewidth=0)
    axes.hlines(edges, *axes.get_xlim(), color=ACCENT, linewidth=0.5)
    axes.tick_params(axis="y", pad=7, length=0)


def _smoothed(average: np.ndarray, first: int, bin_size_s: float) -> np.ndarray:
    """Smooth the bins before the first predicted one, and those from it on, apart: none goes into the other."""
    parts = [part[:, None] for part in np.split(average, [first]) if len(part)]
    return np.concatenate([smooth(part, width_s=SMOOTHING_S, bin_size_s=bin_size_s)[:, 0] for part in parts])

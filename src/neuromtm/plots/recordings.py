"""Plots of prepared sessions before any training: how much there is, how neurons fire, and whether it lasts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from neuromtm.plots.style import (
    ACCENT,
    BANDS,
    DISTINCT,
    FAINT,
    HEADING,
    LABEL,
    LINES,
    OBSERVED,
    PAPER,
    POINTS,
    TICK,
    TITLE,
    canvas,
    plain,
)

ROLES = {"pretrain": DISTINCT[0], "heldout": DISTINCT[1]}
"""colours of the sessions' roles"""
SPLITS = {"train": FAINT, "val": DISTINCT[2], "test": ACCENT}
"""colours of the splits"""
MOST_NAMED = 40
"""rows that get a name each; more rows are drawn without names, or left out"""
MOST_PANELS = 24
PANELS_IN_A_ROW = 4
LOWEST_HZ = 0.01
"""lower rates are drawn here, so that a silent neuron has a place on the logarithmic axis"""
MOST_LEVELS = 15
"""more different contrasts are drawn in as many steps"""
ROW_IN = 0.2
UNPLACED = ("root", "void")
"""regions of neurons whose place is unknown: their bars may be cut off, so that the others are seen"""


class Stretch(NamedTuple):
    """The trials of a session over its time."""

    name: str
    time_s: np.ndarray
    """(trial,) start of the window, or the row of the trial"""
    rate_hz: np.ndarray
    """(trial,) mean rate over the neurons"""
    split: np.ndarray
    """(trial,) text"""
    has_times: bool


class Decisions(NamedTuple):
    """The trials of a session with a stimulus."""

    contrast: np.ndarray
    """(trial,) right minus left; NaN if unknown"""
    choice: np.ndarray
    """(trial,) -1 or +1; 0 unknown"""


def sizes_plot(
    names: Sequence[str], *, roles: Sequence[str], trials: Mapping[str, np.ndarray], neurons: np.ndarray
) -> Figure:
    """Trials, by split, and neurons, by role, of each session.

    Args:
        names: (session,).
        roles: (session,) `pretrain` or `heldout`.
        trials: split -> (session,) number of trials.
        neurons: (session,) number of neurons.
    """
    figure, left, right = _rows(names, "session")
    _as_rows(right, len(names))
    y, before = np.arange(len(names)), np.zeros(len(names))
    for split, colour in SPLITS.items():
        left.barh(y, trials[split], left=before, color=colour, height=0.75, label=split)
        before = before + trials[split]
    right.barh(y, neurons, color=[ROLES[role] for role in roles], height=0.75)
    for role in ROLES:
        if role in roles:
            right.barh(0, 0, color=ROLES[role], label=role)
    for axes, label in ((left, "trials"), (right, "neurons")):
        axes.set_xlabel(label, fontsize=LABEL)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, fontsize=TICK, frameon=False)
    figure.suptitle("Trials and neurons of each session", fontsize=HEADING)
    return figure


def rates_plot(names: Sequence[str], rates_hz: Sequence[np.ndarray], *, roles: Sequence[str]) -> Figure:
    """How fast the neurons of each session fire, and those of all sessions together.

    Args:
        names: (session,).
        rates_hz: (session,) of (neuron,) mean rates.
        roles: (session,) `pretrain` or `heldout`.
    """
    figure, left, right = _rows(names, "session")
    for y, (rate_hz, role) in enumerate(zip(rates_hz, roles, strict=True)):
        low, first, middle, third, high = np.quantile(rate_hz.clip(min=LOWEST_HZ), (0.05, 0.25, 0.5, 0.75, 0.95))
        left.plot((low, high), (y, y), color=FAINT, linewidth=1.0, zorder=1)
        left.plot((first, third), (y, y), color=ROLES[role], linewidth=4.0, solid_capstyle="butt", zorder=2)
        left.plot(middle, y, "|", color=OBSERVED, markersize=8, markeredgewidth=1.5, zorder=3)
    every = np.concatenate(rates_hz).clip(min=LOWEST_HZ)
    edges = np.geomspace(LOWEST_HZ, max(every.max() * 1.01, 1.0), 40)
    right.hist(every, bins=edges.tolist(), color=POINTS)
    right.axvline(np.median(every), color=ACCENT, linewidth=1.2)
    left.set_xlabel("mean rate of a neuron (Hz)", fontsize=LABEL)
    left.set_title("5, 25, 50, 75 and 95 % of the neurons", fontsize=TITLE)
    right.set_xlabel("mean rate of a neuron (Hz)", fontsize=LABEL)
    right.set_ylabel("neurons", fontsize=LABEL)
    right.set_title(f"all {len(every):,} neurons, median {np.median(every):.2g} Hz", fontsize=TITLE)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xlim(LOWEST_HZ * 0.8, edges[-1] * 1.2)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    figure.suptitle(f"Firing rates (lower than {LOWEST_HZ:g} Hz: drawn at {LOWEST_HZ:g})", fontsize=HEADING)
    return figure


def drift_plot(stretches: Sequence[Stretch]) -> Figure:
    """The mean rate of each trial over the time of its session: a drift, a jump, a late stretch of another split.

    Args:
        stretches: of as many sessions as `MOST_PANELS` at most.
    """
    n_columns = min(len(stretches), PANELS_IN_A_ROW)
    n_rows = -(-len(stretches) // n_columns)
    figure = canvas(3.1 * max(n_columns, 2), 1.7 * n_rows + 0.9)
    every = figure.subplots(n_rows, n_columns, squeeze=False)
    for axes, stretch in zip(every.ravel(), stretches, strict=False):
        order = np.argsort(stretch.time_s, kind="stable")
        time = stretch.time_s / 60 if stretch.has_times else stretch.time_s
        for split, colour in SPLITS.items():
            rows = stretch.split == split
            shade = POINTS if split == "train" else colour
            axes.plot(time[rows], stretch.rate_hz[rows], ".", color=shade, markersize=2.5, label=split)
        width = max(1, len(order) // 12)
        smooth = np.convolve(stretch.rate_hz[order], np.ones(width) / width, mode="valid")
        centres = np.convolve(time[order], np.ones(width) / width, mode="valid")
        axes.plot(centres, smooth, color=OBSERVED, linewidth=1.2, label="running mean")
        axes.set_title(stretch.name, fontsize=TICK)
        axes.set_ylim(0, 1.05 * max(float(np.quantile(stretch.rate_hz, 0.995)), 1e-3))
        axes.set_xlabel("session time (min)" if stretch.has_times else "row of the trial", fontsize=TICK)
        plain(axes)
    for axes in every.ravel()[len(stretches) :]:
        axes.set_visible(False)
    for axes in every[:, 0]:
        axes.set_ylabel("mean rate (Hz)", fontsize=TICK)
    handles, labels = every[0, 0].get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=LABEL, frameon=False)
    for handle in legend.legend_handles:
        handle.set_markersize(7)  # ty: ignore[missing-attribute]  # lines have one
    figure.suptitle("Mean rate of the neurons in each trial", fontsize=HEADING)
    return figure


def places_plot(names: Sequence[str], *, neurons: Mapping[str, np.ndarray], rates_hz: Sequence[np.ndarray]) -> Figure:
    """Neurons of each region, by the role of their session, and how fast they fire.

    Args:
        names: (region,) in the order to draw; `MOST_NAMED` at most.
        neurons: role -> (region,) number of neurons.
        rates_hz: (region,) of (neuron,) mean rates.
    """
    figure, left, right = _rows(names, "region")
    _as_rows(right, len(names))
    y, before = np.arange(len(names)), np.zeros(len(names))
    for role, counted in neurons.items():
        left.barh(y, counted, left=before, color=ROLES[role], height=0.75, label=role)
        before = before + counted
    placed = before[[name not in UNPLACED for name in names]]
    limit = 1.15 * (placed.max() if len(placed) else before.max())
    left.set_xlim(0, limit)
    for row, total in enumerate(before):
        inside = total < 0.9 * limit  # else the number stands in the end of the bar
        place, side = (total + 0.01 * limit, "left") if inside else (0.99 * limit, "right")
        shown = f"{total:.0f}" if total <= limit else f"{total:.0f} \N{RIGHTWARDS ARROW}"
        left.text(place, row, shown, fontsize=TICK, va="center", ha=side, color=OBSERVED if inside else PAPER)
    for row, rate_hz in enumerate(rates_hz):
        first, middle, third = np.quantile(rate_hz.clip(min=LOWEST_HZ), (0.25, 0.5, 0.75))
        right.plot((first, third), (row, row), color=FAINT, linewidth=4.0, solid_capstyle="butt", zorder=2)
        right.plot(middle, row, "|", color=OBSERVED, markersize=8, markeredgewidth=1.5, zorder=3)
    left.set_xlabel("neurons", fontsize=LABEL)
    left.legend(loc="lower right", fontsize=LABEL)
    right.set_xscale("log")
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.set_xlabel("mean rate of a neuron (Hz): median and quartiles", fontsize=LABEL)
    figure.suptitle("Neurons of each region", fontsize=HEADING)
    return figure


def choices_plot(sessions: Sequence[Decisions]) -> Figure | None:
    """Choices by contrast: one grey line per session, and all trials together; and how many trials there are of each.

    Args:
        sessions: those without a known contrast are left out.

    Returns:
        The plot; None if no session has a known contrast.
    """
    sessions = [one for one in sessions if np.isfinite(one.contrast).any()]
    if not sessions:
        return None
    known = np.concatenate([one.contrast[np.isfinite(one.contrast)] for one in sessions])
    levels = np.unique(np.round(known, 6))
    if len(levels) > MOST_LEVELS:
        levels = np.linspace(known.min(), known.max(), MOST_LEVELS)
    figure = canvas(8.0, 3.4)
    left, right = figure.subplots(1, 2)
    counted = np.array([_by_level(one, levels) for one in sessions])  # (session, kind, level)
    for minus, plus, _ in counted:
        left.plot(levels, _share(plus, minus), ".-", color=FAINT, markersize=2, linewidth=0.9, zorder=1)
    minus, plus, unknown = counted.sum(0)
    left.plot(levels, _share(plus, minus), "o-", color=OBSERVED, markersize=4, linewidth=1.5, zorder=2)
    left.axhline(0.5, color=LINES, linewidth=0.8, linestyle=":")
    left.set_ylim(-0.03, 1.03)
    left.set_ylabel("choice +1, of the known choices", fontsize=LABEL)
    left.set_title("grey: sessions; black: all trials", fontsize=TITLE)
    before, width = np.zeros(len(levels)), 0.8 * (np.diff(levels).min() if len(levels) > 1 else 1.0)
    kinds = (("choice -1", minus, DISTINCT[0]), ("choice +1", plus, DISTINCT[1]), ("unknown", unknown, FAINT))
    for label, times, colour in kinds:
        right.bar(levels, times, width=width, bottom=before, color=colour, label=label)
        before = before + times
    right.set_ylabel("trials", fontsize=LABEL)
    right.legend(fontsize=TICK, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    for axes in (left, right):
        axes.set_xlabel("contrast, right minus left", fontsize=LABEL)
        plain(axes)
    figure.suptitle("Choices by contrast", fontsize=HEADING)
    return figure


def _share(plus: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """(level,) plus of both; NaN, which breaks a line, where there is neither."""
    n = plus + minus
    return np.where(n > 0, plus / np.maximum(n, 1), np.nan)


def _by_level(decisions: Decisions, levels: np.ndarray) -> np.ndarray:
    """(3, level) trials with choice -1, with choice +1, and with an unknown one."""
    known = np.isfinite(decisions.contrast)
    nearest = np.abs(decisions.contrast[known][:, None] - levels).argmin(1)
    choice = decisions.choice[known]
    return np.array([np.bincount(nearest[choice == kind], minlength=len(levels)) for kind in (-1, 1, 0)])


def traces_plot(traces: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """The average trial of each behaviour: one grey line per session and, where their bins agree, the mean of all.

    Args:
        traces: name -> of each session the times of its bins, relative to the event in s, and its mean, (bin,) each.
    """
    n_columns = min(len(traces), 3)
    n_rows = -(-len(traces) // n_columns)
    figure = canvas(3.4 * max(n_columns, 2), 2.5 * n_rows + 0.5)
    every = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes, (name, sessions) in zip(every, traces.items(), strict=False):
        for time_s, mean in sessions:
            axes.plot(time_s, mean, color=FAINT, linewidth=0.9)
        first = sessions[0][0]
        if all(len(time_s) == len(first) and np.allclose(time_s, first) for time_s, _ in sessions):
            axes.plot(first, np.mean([mean for _, mean in sessions], axis=0), color=OBSERVED, linewidth=1.6)
        if first[0] < 0 < first[-1]:
            axes.axvline(0, color=LINES, linewidth=0.8, linestyle=":")
        n = len(sessions)
        axes.set_title(f"{name} ({n} session{'s' if n > 1 else ''})", fontsize=TITLE)
        axes.set_xlabel("time from the event (s)", fontsize=LABEL)
        plain(axes)
    for axes in every[len(traces) :]:
        axes.set_visible(False)
    figure.suptitle("Average trial of each behaviour (grey: sessions; black: their mean)", fontsize=HEADING)
    return figure


def _rows(names: Sequence[str], what: str) -> tuple[Figure, Axes, Axes]:
    """Two panels that share rows, from top to bottom; the left one names them, unless there are too many."""
    figure = canvas(10.0, max(1.3 + ROW_IN * min(len(names), MOST_NAMED), 2.6))
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        plain(axes)
    _as_rows(left, len(names))
    if len(names) <= MOST_NAMED:
        left.set_yticks(range(len(names)), names, fontsize=TICK, parse_math=False)
    else:
        left.set_ylabel(f"{len(names)} {what}s, in the order of the table", fontsize=LABEL)
    return figure, left, right


def _as_rows(axes: Axes, n_rows: int) -> None:
    axes.set_ylim(n_rows - 0.4, -0.6)
    axes.set_yticks([])
    if n_rows <= MOST_NAMED:
        axes.hlines(np.arange(1, n_rows) - 0.5, 0, 1, transform=axes.get_yaxis_transform(), color=BANDS, zorder=0)

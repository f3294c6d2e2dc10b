"""The scaling curve: test metrics of held-out animals against what a model was pretrained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from neuromtm.plots.style import ACCENT, DISTINCT, FAINT, HEADING, LABEL, LINES, TICK, TITLE, canvas, plain

PANEL_IN = 3.0
MOST_IN_A_ROW = 3
COLOURS = (ACCENT, *(colour for colour in DISTINCT if colour != ACCENT))
DASHES = ("--", ":", "-.", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))
"""of baselines, one after the other"""
APART = 1.04
"""the points of the second objective stand so many times further to the right, so that intervals do not hide"""


@dataclass(frozen=True, kw_only=True)
class Points:
    """A metric of one objective."""

    x: np.ndarray
    """(point,) sessions, or another quantity above 0"""
    mean: np.ndarray
    """(point,)"""
    low: np.ndarray
    """(point,) lower end of the interval; NaN where there is none"""
    high: np.ndarray
    curve: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None
    """x, y, low and high of what was fitted, (point,) each; None if nothing was"""
    scratch: float | None = None
    """the same objective without pretraining"""


@dataclass(frozen=True, kw_only=True)
class ScalingPanel:
    """One metric."""

    title: str
    points: Mapping[str, Points]
    """objective -> its points"""
    baselines: Mapping[str, float] = field(default_factory=dict)
    """name of a single-session baseline -> its score"""
    chance: float | None = None


def scaling_plot(panels: Sequence[ScalingPanel], *, against: str) -> Figure:
    """One panel per metric: a point with its interval per number of sessions, the fitted curve with its 95 % band.

    Training from scratch is a dashed line in the objective's colour, single-session baselines are grey lines.

    Args:
        panels: one or more.
        against: what the horizontal axis counts, e.g. `sessions`.
    """
    n_columns = min(len(panels), MOST_IN_A_ROW)
    n_rows = -(-len(panels) // n_columns)
    figure = canvas(PANEL_IN * max(n_columns, 2), PANEL_IN * n_rows + 1.1)
    every = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    objectives = list(dict.fromkeys(name for panel in panels for name in panel.points))
    baselines = list(dict.fromkeys(name for panel in panels for name in panel.baselines))
    for axes, panel in zip(every, panels, strict=False):
        _panel(axes, panel, objectives, baselines)
        axes.set_xlabel(f"{against} in pretraining", fontsize=LABEL)
    for axes in every[len(panels) :]:
        axes.set_visible(False)
    named = {label: handle for axes in every for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=min(len(named), 3), fontsize=TICK, frameon=False
    )
    figure.suptitle(f"Held-out animals by {against} of the pretraining", fontsize=HEADING)
    return figure


def _panel(axes: Axes, panel: ScalingPanel, objectives: Sequence[str], baselines: Sequence[str]) -> None:
    for number, name in enumerate(baselines):
        if name in panel.baselines:
            dashes = DASHES[number % len(DASHES)]
            axes.axhline(panel.baselines[name], label=name, color=LINES, linestyle=dashes, linewidth=1.0, zorder=1)
    if panel.chance is not None:
        axes.axhline(panel.chance, color=FAINT, linewidth=0.8, label="chance", zorder=1)
    for number, name in enumerate(objectives):
        if name in panel.points:
            _draw(axes, panel.points[name], name, number)
    x = np.unique(np.concatenate([points.x for points in panel.points.values()]))
    axes.set_xscale("log")
    axes.set_xlim(x.min() / 1.25, x.max() * 1.25)
    axes.xaxis.set_major_locator(FixedLocator(list(x)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(panel.title, fontsize=TITLE)
    plain(axes)


def _draw(axes: Axes, points: Points, name: str, number: int) -> None:
    colour, shift = COLOURS[number % len(COLOURS)], APART**number
    if points.curve is not None:
        x, y, low, high = points.curve
        axes.fill_between(x, low, high, color=colour, alpha=0.12, linewidth=0)
        axes.plot(x, y, color=colour, linewidth=1.2)
    if points.scratch is not None:
        dashes = (4 * number, (4, 4))  # one objective's dashes fill the other's gaps
        axes.axhline(points.scratch, color=colour, linestyle=dashes, linewidth=1.0, label=f"{name}, from scratch")
    ends = np.stack([points.mean - points.low, points.high - points.mean])
    axes.plot(points.x * shift, points.mean, "o", markersize=4, color=colour, label=name)
    # an end that is NaN is not drawn
    axes.errorbar(points.x * shift, points.mean, yerr=ends, linestyle="none", color=colour, capsize=2, elinewidth=1.0)

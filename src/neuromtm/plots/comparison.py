"""Plots that compare runs: one point per session, or one point per neuron."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromtm.plots.style import ACCENT, FAINT, HEADING, LABEL, POINTS, canvas, plain

PANEL_IN = 2.5


def points_plot(
    points: Mapping[str, Mapping[str, np.ndarray]],
    titles: Mapping[str, str],
    *,
    reference: str,
    unit: Literal["session", "neuron"],
) -> Figure:
    """Compare runs with a reference: one row per run, one panel per metric, one point per session or neuron.

    Zhang et al. 2024, figure 3 C. A metric that no run shares with the reference has no panels. A run that shares no
    metric has no row. If no run shares any metric, one panel says so.

    Args:
        points: name of each other run -> metric -> (point, 2) values of the reference and of the run.
        titles: metric -> title of its panels, in their order.
        reference: name of the run on the horizontal axes.
        unit: what a point is.
    """
    none = np.zeros((0, 2))
    shown = [key for key in titles if any(len(of_run.get(key, none)) for of_run in points.values())] or [*titles][:1]
    sharing = {name: of_run for name, of_run in points.items() if any(len(of_run.get(key, none)) for key in shown)}
    points = sharing or dict([*points.items()][:1])
    figure, panels = _panels(len(points), len(shown))
    for row, (name, of_run) in zip(panels, points.items(), strict=True):
        for axes, key in zip(row, shown, strict=True):
            _scatter(axes, of_run.get(key, none), unit=unit, size=22 if unit == "session" else 5)
            axes.set_xlabel(reference if key in of_run and len(of_run[key]) else "", fontsize=LABEL)
        row[0].set_ylabel(name, fontsize=LABEL)
    for axes, key in zip(panels[0], shown, strict=True):
        axes.set_title(f"{titles[key]}\n{axes.get_title()}", fontsize=LABEL)
    ends = " (the outermost 1 % are drawn at the axes' ends)" if unit == "neuron" else ""
    figure.suptitle(f"Test trials, one point per {unit}{ends}", fontsize=HEADING)
    return figure


def _panels(n_rows: int, n_columns: int) -> tuple[Figure, np.ndarray]:
    """An empty plot, and its (row, column) axes."""
    figure = canvas(PANEL_IN * n_columns, PANEL_IN * n_rows + 0.9)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _scatter(axes: Axes, points: np.ndarray, *, unit: str, size: float) -> None:
    """Draw (point, 2) reference and run, their mean as a cross, and the line on which both are equal."""
    axes.set_aspect("equal")
    plain(axes)
    if len(points) == 0:
        axes.spines[:].set_visible(False)
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"no {unit} scored by both", fontsize=LABEL)
        return
    # a few points are all shown; among many, one far away must not squeeze the others into a corner
    low, high = (points.min(), points.max()) if len(points) < 100 else np.percentile(points, (1, 99))
    margin = 0.06 * max(high - low, 0.1)
    limits = low - margin, high + margin
    shown = points.clip(*limits)
    axes.plot(limits, limits, color=FAINT, linewidth=0.8)
    axes.scatter(*shown.T, s=size, color=POINTS, linewidths=0, alpha=0.7 if len(points) < 100 else 0.4)
    axes.scatter(*points.mean(axis=0).clip(*limits), s=60, marker="+", color=ACCENT)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    above = int((points[:, 1] > points[:, 0]).sum())
    axes.set_title(f"{above} of {len(points)} {unit}s above the line", fontsize=LABEL)

"""Figures of runs held against each other: a point a session, and a point a neuron. Pure functions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neuromtm.evaluation.comparison import COLUMNS, columns_of
from neuromtm.evaluation.pairing import Paired
from neuromtm.evaluation.report import BPS_KEYS, Metrics

PANEL_IN = 2.5
ACCENT = "tab:red"
TITLES = {column.key: column.title for column in COLUMNS}


def sessions_figure(runs: Mapping[str, Metrics], reference: str) -> Figure:
    """Every other run against the reference, a panel a figure of metrics.json, a point a session.

    Zhang et al. 2024, figure 3 C.

    Args:
        runs: name -> its metrics.
        reference: name of the run on the horizontal axes.
    """
    others, titles = [name for name in runs if name != reference], {c.key: c.title for c in columns_of(runs.values())}
    keys = list(titles)
    figure, panels = _panels(len(others), len(keys))
    for row, name in zip(panels, others, strict=True):
        for axes, key in zip(row, keys, strict=True):
            sessions = [(runs[reference]["sessions"].get(eid, {}), of) for eid, of in runs[name]["sessions"].items()]
            points = np.array([(x[key], y[key]) for x, y in sessions if key in x and key in y]).reshape(-1, 2)
            _scatter(axes, points, unit="session", size=22)
            axes.set_xlabel(reference, fontsize=8)
        row[0].set_ylabel(name, fontsize=8)
    for axes, key in zip(panels[0], keys, strict=True):
        unit = " (bits/spike)" if key in BPS_KEYS else ""
        axes.set_title(f"{titles[key]}{unit}\n{axes.get_title()}", fontsize=8)
    figure.suptitle("Test trials, a point a session", fontsize=10)
    return figure


def neurons_figure(pairs: Mapping[str, Mapping[str, Paired]], reference: str) -> Figure:
    """Every other run against the reference, a panel an activity task, a point a neuron that both runs score.

    Args:
        pairs: name of each other run -> key of metrics.json -> it against the reference.
        reference: name of the run on the horizontal axes.
    """
    figure, panels = _panels(len(pairs), len(BPS_KEYS))
    for row, (name, of_run) in zip(panels, pairs.items(), strict=True):
        for axes, key in zip(row, BPS_KEYS, strict=True):
            found = of_run[key].sessions.values() if key in of_run else ()
            points = np.concatenate([np.zeros((0, 2)), *(np.stack([p.reference, p.run], axis=1) for p in found)])
            _scatter(axes, points, unit="neuron", size=5)
            axes.set_xlabel(reference, fontsize=8)
        row[0].set_ylabel(name, fontsize=8)
    for axes, key in zip(panels[0], BPS_KEYS, strict=True):
        axes.set_title(f"{TITLES[key]} (bits/spike)\n{axes.get_title()}", fontsize=8)
    title = "Test trials, a point a neuron (the outermost 1 % are drawn at the axes' ends)"
    figure.suptitle(title, fontsize=10)
    return figure


def _panels(n_rows: int, n_columns: int) -> tuple[Figure, Sequence[Sequence[Axes]]]:
    figure = Figure(figsize=(PANEL_IN * n_columns, PANEL_IN * n_rows + 0.9), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(n_rows, n_columns, squeeze=False)


def _scatter(axes: Axes, points: np.ndarray, *, unit: str, size: float) -> None:
    """Draw (point, 2) reference and run, their mean as a cross, and the line on which both are equal."""
    axes.set_aspect("equal")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    if len(points) == 0:
        axes.set_title(f"no {unit} scored by both", fontsize=8)
        return
    # all of a few points are shown; of many, one far away must not squeeze the others into a corner
    low, high = (points.min(), points.max()) if len(points) < 100 else np.percentile(points, (1, 99))
    margin = 0.06 * max(high - low, 0.1)
    limits = low - margin, high + margin
    shown = points.clip(*limits)
    axes.plot(limits, limits, color="0.7", linewidth=0.8)
    axes.scatter(*shown.T, s=size, color="0.25", linewidths=0, alpha=0.7 if len(points) < 100 else 0.4)
    axes.scatter(*points.mean(axis=0).clip(*limits), s=60, marker="+", color=ACCENT)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    above = int((points[:, 1] > points[:, 0]).sum())
    axes.set_title(f"{above} of {len(points)} {unit}s above the line", fontsize=8)

"""The plot that a page opens with: a run's activity tasks beside chance, a simple baseline and the ceiling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.style import ACCENT, HEADING, LABEL, LINES, OBSERVED, PAPER, POINTS, TITLE, canvas, plain

LOWEST = -1.0
"""lower scores are drawn at this value, so that one session does not squeeze the others into a line"""
ROW_IN = 0.27
GAP = 0.8
"""space between two tasks, in rows"""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A model, baseline or ceiling, and its scores in a task."""

    name: str
    """written beside its row"""
    role: str
    """`model`, `baseline` or `ceiling`"""
    bps: np.ndarray
    """(session,) bits per spike"""


COLOURS = {"model": ACCENT, "baseline": POINTS, "ceiling": OBSERVED}
MARKS = {"model": "o", "baseline": "D", "ceiling": "s"}


def summary_plot(tasks: Mapping[str, Sequence[Scored]]) -> Figure:
    """Bits per spike of each task: one row for the model, and one for each reference that it is compared with.

    A faint point is a session. A large point is the mean over sessions; its value is written at the right. Each
    neuron's mean rate scores 0.

    Args:
        tasks: name of the task, a key of `TASK_TITLES` -> its rows, from top to bottom.
    """
    n_rows = sum(map(len, tasks.values()))
    figure = canvas(7.2, 1.2 + ROW_IN * (n_rows + GAP * len(tasks)))
    axes = figure.subplots()
    place, places, names, headings = 0.0, [], [], []
    for task, rows in tasks.items():
        headings.append((place - 0.75, TASK_TITLES[task]))
        for row in rows:
            _row(axes, place, row)
            places.append(place)
            names.append(row.name)
            place += 1
        place += GAP
    shown = np.concatenate([row.bps for rows in tasks.values() for row in rows] or [np.zeros(1)]).clip(min=LOWEST)
    low, high = min(shown.min(), 0.0), max(shown.max(), 0.0)
    margin = 0.06 * max(high - low, 0.05)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(place - GAP - 0.3, -1.3)
    axes.axvline(0, color=LINES, linewidth=1.0, linestyle=":", zorder=0)
    axes.set_yticks(places, names, fontsize=LABEL, parse_math=False)
    across = axes.get_yaxis_transform()
    for height, heading in headings:
        axes.text(0.005, height, heading, fontsize=TITLE, weight="bold", va="center", transform=across)
    axes.set_xlabel("bits per spike (0, dotted: each neuron's mean rate)", fontsize=LABEL)
    plain(axes)
    axes.tick_params(axis="y", length=0, labelsize=LABEL)
    figure.suptitle(
        "Prediction of hidden spikes in test trials (small points: sessions, large: mean)", fontsize=HEADING
    )
    return figure


def _row(axes: Axes, place: float, row: Scored) -> None:
    colour, mark, mean = COLOURS[row.role], MARKS[row.role], float(row.bps.mean())
    across = axes.get_yaxis_transform()
    axes.plot((0, max(mean, LOWEST)), (place, place), color=colour, linewidth=1.2, alpha=0.35, zorder=1)
    axes.scatter(row.bps.clip(min=LOWEST), np.full(len(row.bps), place), s=14, color=colour, linewidths=0, alpha=0.45)
    axes.scatter(max(mean, LOWEST), place, s=46, color=colour, marker=mark, edgecolors=PAPER, linewidths=0.8, zorder=3)
    axes.text(1.01, place, f"{mean:.2f}", fontsize=LABEL, color=colour, va="center", transform=across)

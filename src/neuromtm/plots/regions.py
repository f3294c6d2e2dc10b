"""The plot of the regions of a tested run: means over neurons with their intervals."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.style import BANDS, DISTINCT, HEADING, LABEL, LINES, PAPER, POINTS, TICK, TITLE, canvas, plain

MOST_COLOURED = 10
"""sessions that are told apart by colour; if there are more, all points are grey"""
TALLEST_IN = 60.0
"""of a plot with room for each session; if there are more, their points stand closer"""


class Means(NamedTuple):
    """Bits per spike of the regions of a session in one task; each field is (region,)."""

    regions: Sequence[str]
    """acronyms"""
    mean: np.ndarray
    low: np.ndarray
    """lower end of the 95 % interval; NaN where there are too few neurons"""
    high: np.ndarray


def regions_plot(sessions: Mapping[str, Mapping[str, Means]]) -> Figure:
    """Mean bits per spike of each region with its interval: one panel per task, one point per session.

    Args:
        sessions: eid -> task -> means of its regions.
    """
    eids = list(sessions)
    names = sorted({name for tasks in sessions.values() for means in tasks.values() for name in means.regions})
    place = {name: number for number, name in enumerate(names)}
    band = max(0.3, min(0.14 * len(eids), TALLEST_IN / max(len(names), 1)))
    figure = canvas(13, 1.8 + band * max(len(names), 1))
    panels = figure.subplots(1, len(TASK_TITLES), sharex=True, sharey=True)
    for axes, (task, title) in zip(panels, TASK_TITLES.items(), strict=True):
        axes.axvline(0, color=LINES, linewidth=0.8, linestyle=":")
        for i, eid in enumerate(eids):
            if task not in sessions[eid]:
                continue
            regions, mean, low, high = sessions[eid][task]
            # the sessions of a region stand below each other in its band
            y = [place[region] + 0.7 * ((i + 0.5) / len(eids) - 0.5) for region in regions]
            colour, alone = DISTINCT[i] if len(eids) <= MOST_COLOURED else POINTS, np.isnan(low)
            axes.hlines(y, np.where(alone, mean, low), np.where(alone, mean, high), color=colour, linewidth=1.2)
            # a hollow point has no interval
            faces = [PAPER if hollow else colour for hollow in alone]
            axes.scatter(mean, y, s=14, c=faces, edgecolors=colour, linewidths=0.9, zorder=3)
        axes.set_title(title, fontsize=TITLE)
        axes.set_xlabel("bits per spike", fontsize=LABEL)
        plain(axes)
        axes.hlines(np.arange(1, len(names)) - 0.5, 0, 1, transform=axes.get_yaxis_transform(), color=BANDS, zorder=0)
    panels[0].set_yticks(range(len(names)), names, fontsize=TICK)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_ylabel("region", fontsize=LABEL)
    if 1 < len(eids) <= MOST_COLOURED:
        marks = [Line2D([], [], color=DISTINCT[i], marker="o", markersize=4) for i in range(len(eids))]
        figure.legend(marks, eids, loc="outside lower center", ncols=min(len(eids), 4), fontsize=TICK, frameon=False)
    whose = eids[0] if len(eids) == 1 else f"{len(eids)} sessions"
    figure.suptitle(
        f"{whose}: mean over neurons of each region, and its 95 % interval (hollow: too few neurons)", fontsize=HEADING
    )
    return figure

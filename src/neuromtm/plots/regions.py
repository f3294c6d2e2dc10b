"""The regions of a tested run: its `regions.csv` read again, and drawn as means with their intervals."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from neuromtm.errors import UserError
from neuromtm.evaluation.figures import DISTINCT_COLOURS, TITLES
from neuromtm.evaluation.report import BPS_KEYS, WHOLE_SESSION

MOST_COLOURED = 10
"""sessions that are told apart by colour; of more, all points are grey"""


@dataclass(frozen=True, kw_only=True)
class RegionMean:
    """Bits per spike of a region's neurons in one task."""

    n: int
    """neurons scored"""
    mean: float
    median: float
    low: float | None
    """ends of the mean's 95 % interval; None of too few neurons"""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class RegionRow:
    """A row of regions.csv."""

    eid: str
    region: str
    """acronym; `WHOLE_SESSION` for all neurons of the session"""
    n_neurons: int
    means: dict[str, RegionMean]
    """key of a task in metrics.json -> its figures; absent where no neuron was scored"""


def read_regions(path: Path) -> list[RegionRow]:
    """Read regions.csv.

    Raises:
        UserError: if it is not one that a test writes.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [_row(row) for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: not a table of regions of a test ({error!r}). Test the run again.") from error


def _row(row: dict[str, str]) -> RegionRow:
    means = {}
    for key in BPS_KEYS:
        if row[f"{key}_mean"]:
            low, high = (float(row[f"{key}_{end}"]) if row[f"{key}_{end}"] else None for end in ("low", "high"))
            mean, median = float(row[f"{key}_mean"]), float(row[f"{key}_median"])
            means[key] = RegionMean(n=int(row[f"{key}_n"]), mean=mean, median=median, low=low, high=high)
    return RegionRow(eid=row["eid"], region=row["region"], n_neurons=int(row["n_neurons"]), means=means)


def regions_figure(rows: Sequence[RegionRow]) -> Figure:
    """Mean bits per spike of each region with its interval, a panel a task and a point a session.

    Args:
        rows: of regions.csv; those of whole sessions are left out.
    """
    rows = [row for row in rows if row.region != WHOLE_SESSION]
    names, eids = sorted({row.region for row in rows}), list(dict.fromkeys(row.eid for row in rows))
    band = max(0.3, 0.14 * len(eids))
    figure = Figure(figsize=(13, 1.8 + band * max(len(names), 1)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(TITLES), sharex=True, sharey=True)
    for axes, (task, title) in zip(panels, TITLES.items(), strict=True):
        axes.axvline(0, color="0.6", linewidth=0.8, linestyle=":")
        for i, eid in enumerate(eids):
            own = [row for row in rows if row.eid == eid and f"{task}_bps" in row.means]
            means = [row.means[f"{task}_bps"] for row in own]
            # the sessions of a region stand below each other in its band
            y = [names.index(row.region) + 0.7 * ((i + 0.5) / len(eids) - 0.5) for row in own]
            colour = DISTINCT_COLOURS[i] if len(eids) <= MOST_COLOURED else "0.3"
            ends = [(m.mean, m.mean) if m.low is None else (m.low, m.high) for m in means]
            axes.hlines(y, *np.reshape(ends, (-1, 2)).T, color=colour, linewidth=1.2)
            # a hollow point has no interval
            faces = ["white" if m.low is None else colour for m in means]
            axes.scatter([m.mean for m in means], y, s=14, c=faces, edgecolors=colour, linewidths=0.9, zorder=3)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("bits per spike", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.hlines(np.arange(1, len(names)) - 0.5, 0, 1, transform=axes.get_yaxis_transform(), color="0.92", zorder=0)
    panels[0].set_yticks(range(len(names)), names, fontsize=7)
    panels[0].set_ylim(len(names) - 0.4, -0.6)
    panels[0].set_ylabel("region", fontsize=8)
    if 1 < len(eids) <= MOST_COLOURED:
        marks = [Line2D([], [], color=DISTINCT_COLOURS[i], marker="o", markersize=4) for i in range(len(eids))]
        figure.legend(marks, eids, loc="outside lower center", ncols=min(len(eids), 4), fontsize=7, frameon=False)
    whose = eids[0] if len(eids) == 1 else f"{len(eids)} sessions"
    figure.suptitle(f"{whose}: mean over neurons of each region, and its 95 % interval (hollow: too few)", fontsize=11)
    return figure

"""The plot of functional connectivity: how well one region alone predicts another."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from neuromtm.plots.style import DIFFERENCES, EMPTY, LABEL, OBSERVED, PAPER, TICK, TITLE, canvas

COLOURS = DIFFERENCES.with_extremes(bad=EMPTY)
MOST_LABELLED = 12
"""regions; if there are more, the cells are too small for numbers"""
CELL_IN = 0.42
LEAST_LIMIT = 0.02
"""bits per spike; the colour scale ends here or further out, so that smaller differences, which are noise, stay pale"""


def connectivity_plot(
    *,
    names: Sequence[str],
    n_source: np.ndarray,
    bps: np.ndarray,
    gain: np.ndarray,
    nothing_bps: np.ndarray,
    all_others_bps: np.ndarray,
    title: str,
) -> Figure:
    """Bits per spike of every ordered pair of regions, and the gain over the prediction from nothing.

    A row is what the model sees, and a column is what it predicts. Two more rows stand below the regions: the model
    sees nothing, or it sees all other regions together. Regions that predict each other stand side by side. Both panels
    share one colour scale with 0 in its middle. The scale ends at the largest value above 0; values further below 0
    have its last colour.

    Args:
        names: the regions of both axes.
        n_source: (source,) neurons of the source.
        bps: (source, target) bits per spike of the target from the source alone; NaN where there is none.
        gain: (source, target) gain of `bps` over the prediction from nothing.
        nothing_bps: (target,) bits per spike from nothing.
        all_others_bps: (target,) bits per spike from all other regions together.
        title: of the plot.
    """
    order = region_order(gain)
    names, n_source = [names[i] for i in order], n_source[order]
    tables = {
        "bits per spike": _stacked(bps, nothing_bps, all_others_bps, order),
        "gain over nothing (bits per spike)": _stacked(gain, 0 * nothing_bps, all_others_bps - nothing_bps, order),
    }
    values = np.stack(list(tables.values()))
    finite = values[np.isfinite(values)]
    limit = max(LEAST_LIMIT, finite.max(initial=0.0))
    norm = Normalize(-limit, limit)

    side_in = CELL_IN * len(names)
    figure = canvas(2 * side_in + 2.8, side_in + 2.6)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, table) in zip(panels, tables.items(), strict=True):
        _draw(axes, table, names, norm)
        axes.set_title(name, fontsize=LABEL)
    rows = [name if np.isnan(n) else f"{name} ({n:.0f})" for name, n in zip(names, n_source, strict=True)]
    places = [*range(len(rows)), len(rows) + 1, len(rows) + 2]  # a row is left empty in between
    panels[0].set_yticks(places, [*rows, "nothing", "all others"], fontsize=TICK)
    panels[0].set_ylabel("visible (neurons)", fontsize=LABEL)
    ends = "min" if (finite < -limit).any() else "neither"
    bar = figure.colorbar(ScalarMappable(norm, COLOURS), ax=panels, extend=ends, pad=0.01, fraction=0.04)
    bar.ax.tick_params(labelsize=TICK)
    bar.set_label("bits per spike", fontsize=LABEL)
    figure.suptitle(title, fontsize=TITLE)
    return figure


def region_order(gain: np.ndarray) -> np.ndarray:
    """(region,) the regions in the order of a clustering's leaves: those that predict each other stand side by side.

    Args:
        gain: (source, target), NaN where there is none.
    """
    both = np.nan_to_num(gain, nan=0.0, posinf=0.0, neginf=0.0).clip(min=0)
    both = both + both.T
    distance = both.max() - both
    np.fill_diagonal(distance, 0.0)
    return leaves_list(linkage(squareform(distance), "average", optimal_ordering=True))


def _stacked(pairs: np.ndarray, nothing: np.ndarray, all_others: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(row, target) the pairs, an empty row, and the rows of nothing and of all others."""
    gap = np.full(len(order), np.nan)
    return np.vstack([pairs[np.ix_(order, order)], gap, nothing[order], all_others[order]])


def _draw(axes: Axes, table: np.ndarray, names: list[str], norm: Normalize) -> None:
    n = len(names)
    axes.imshow(table, cmap=COLOURS, norm=norm)
    axes.axhspan(n - 0.5, n + 0.5, color=PAPER)  # the gap is no cell
    axes.set_xticks(range(n), names, rotation=90, fontsize=TICK)
    axes.set_xlabel("predicted", fontsize=LABEL)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if n > MOST_LABELLED:
        return
    for (row, column), value in np.ndenumerate(table):
        if not np.isnan(value):
            colour = PAPER if abs(norm(value) - 0.5) > 0.35 else OBSERVED
            text = f"{abs(value):.2f}" if abs(value) < 0.005 else f"{value:.2f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=TICK - 1, color=colour)

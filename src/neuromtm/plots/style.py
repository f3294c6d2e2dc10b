"""What all plots share: colours, sizes of type, and the empty canvas.

A plot is a pure function of arrays that returns a `Figure` of matplotlib on an Agg canvas; pyplot and its global state
are not used.
"""

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

ACCENT = "#d62728"
"""what the model predicts, and what a reader should look at first"""
OBSERVED = "black"
"""what was recorded"""
PAPER = "white"
"""what lies beneath"""
POINTS, LINES, FAINT, EMPTY, BANDS = "0.4", "0.6", "0.75", "0.85", "0.92"
"""greys: of single points; of reference lines; of what stands behind; of where nothing is known; between rows"""
DISTINCT = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#bcbd22", "#17becf", "#4b00ff"),
    *("#ff00f0", "#00f000", "#ffc387", "#4b5a0f", "#004be1", "#a5e1a5", "#ff0078", "#c3c3ff", "#ff8787", "#00785a"),
)
"""colours of regions and sessions: any two are at least 28 apart in CIELAB, so that no two look alike"""
CONDITIONS = ListedColormap(
    ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#f0e442", "black"), "conditions"
)
"""colours of task conditions: those of Okabe and Ito 2008, which the colour-blind can tell apart"""
RATES = colormaps["magma"]
"""colours of firing rates, from 0 upwards"""
COUNTS = colormaps["Greys"]
"""colours of spike counts"""
SEEN = colormaps["gray"]
"""of what a model saw, beside what it predicts"""
DIFFERENCES = colormaps["RdBu_r"]
"""colours of values that may be above or below 0"""

TICK, LABEL, TITLE, HEADING = 7, 8, 9, 11
"""font sizes in points: numbers at axes and legends; names of axes; titles of panels; title of the plot"""
DPI = 120
SMOOTHING_S = 0.04
"""standard deviation of the Gaussian that smooths counts, for display only"""


def canvas(width_in: float, height_in: float) -> Figure:
    """An empty plot of this size in inches."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(axes: Axes) -> None:
    """Small numbers at the axes, and no frame above and to the right."""
    axes.tick_params(labelsize=TICK)
    axes.spines[["top", "right"]].set_visible(False)

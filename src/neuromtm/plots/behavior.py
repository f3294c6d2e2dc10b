"""The plot of decoded behaviour: the model, read-outs of raw counts and chance side by side, one point per session."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuromtm.metrics.keys import BASELINES, SCORE_NAMES, behaviors
from neuromtm.plots.style import ACCENT, FAINT, HEADING, LABEL, OBSERVED, POINTS, TICK, TITLE, canvas

NAMES = {"counts": "counts", "rrr": "counts,\nlow rank", "chance": "chance"}
LOWEST = -1.0
"""lower scores are drawn at this value, so that one session does not squeeze the others into a line"""


def behavior_plot(sessions: Mapping[str, Mapping[str, float]], *, model: str = "model") -> Figure | None:
    """Decoding against chance on the test trials.

    Args:
        sessions: eid -> metrics by their keys in metrics.json.
        model: name of what decodes, written below its points.

    Returns:
        One panel per behaviour: a line joins the points of a session, and a bar is the mean over sessions. None if no
        behaviour was decoded.
    """
    found = behaviors(key for metrics in sessions.values() for key in metrics)
    if not found:
        return None
    figure = canvas(1 + 2.7 * len(found), 3.6)
    for axes, (behavior, score) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        keys = {"model": f"{behavior}_{score}", **{name: f"{behavior}_{score}_{name}" for name in BASELINES}}
        keys["chance"] = f"{behavior}_chance"
        keys = {name: key for name, key in keys.items() if any(key in metrics for metrics in sessions.values())}
        scored = [metrics for metrics in sessions.values() if keys["model"] in metrics]
        points = np.array([[metrics.get(key, np.nan) for key in keys.values()] for metrics in scored])
        _panel(axes, points, list(keys), model)
        axes.set_ylabel(SCORE_NAMES[score], fontsize=LABEL)
        title = f"{behavior}\n{len(scored)} session{'s' * (len(scored) != 1)}"
        axes.set_title(title, fontsize=TITLE, pad=16, parse_math=False)
        if score == "accuracy":
            axes.set_ylim(0, 1.02)
        else:  # from 0, or from the lowest point if that is below 0: a cut axis makes small differences look large
            low, high = np.nanmin(points.clip(min=LOWEST)), np.nanmax(points)
            margin = 0.04 * max(high, 0.05)
            axes.set_ylim(low - margin if low < 0 else 0, max(high, 0.05) + margin)
    figure.suptitle("Behaviour decoded on test trials", fontsize=HEADING)
    key = "a line joins the points of one session;\na bar is the mean, written above it"
    figure.supxlabel(key, fontsize=LABEL, color=POINTS)
    return figure


def _panel(axes: Axes, points: np.ndarray, names: list[str], model: str) -> None:
    """Draw (session, name) scores; NaN where a session has none."""
    places, shown = np.arange(len(names)), points.clip(min=LOWEST)
    axes.plot(places, shown.T, color=FAINT, linewidth=0.7)
    for place, name in enumerate(names):
        axes.scatter(np.full(len(shown), place), shown[:, place], s=20, color=ACCENT if name == "model" else POINTS)
        mean = np.nanmean(points[:, place])
        axes.hlines(max(mean, LOWEST), place - 0.3, place + 0.3, color=OBSERVED, linewidth=1.6)
        axes.annotate(
            f"{mean:.2f}", (place, 1.0), (0, 2), ("data", "axes fraction"), "offset points", ha="center", fontsize=TICK
        )
    axes.set_xticks(places, [NAMES.get(name, model) for name in names], fontsize=TICK)
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.tick_params(axis="y", labelsize=TICK)
    axes.spines[["top", "right"]].set_visible(False)

"""The curves of a training, drawn without TensorBoard."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from neuromtm.plots.style import LABEL, LINES, TICK, canvas, plain

LOSSES = {"train/loss": "training", "val/loss": "validation"}
CHANCE = "chance"
"""name of the scores that are drawn as a dashed grey line"""


def curves_plot(
    scalars: Mapping[str, np.ndarray], *, loss: str, scores: Mapping[str, str], score: str
) -> Figure | None:
    """Losses on the left, validation scores on the right; None if a run has neither.

    A run that has only one of the two has one panel.

    Args:
        scalars: tag -> (point, 2) step and value.
        loss: what the loss is, and its unit.
        scores: tags of the scores -> their names.
        score: what the scores are, and their unit.
    """
    losses = {label: scalars[tag] for tag, label in LOSSES.items() if tag in scalars}
    validation = {name: scalars[tag] for tag, name in scores.items() if tag in scalars}
    panels = [(curves, label) for curves, label in ((losses, loss), (validation, score)) if curves]
    if not panels:
        return None
    figure = canvas(5.5 * len(panels), 3.2)
    for axes, (curves, label) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, points in curves.items():
            many = len(points) > 50  # single points would then hide the line
            style = {"color": LINES, "linestyle": "--"} if name == CHANCE else {}
            axes.plot(*points.T, linewidth=0.8 if many else 1.4, marker=None if many else ".", label=name, **style)
        axes.legend(fontsize=TICK, frameon=False)
        axes.set_xlabel("optimiser step", fontsize=LABEL)
        axes.set_ylabel(label, fontsize=LABEL)
        plain(axes)
    return figure

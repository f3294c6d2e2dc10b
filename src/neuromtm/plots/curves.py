"""The curves of a training, drawn without TensorBoard."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from neuromtm.metrics.keys import BPS_KEYS, SHORT_TITLES
from neuromtm.plots.style import LABEL, TICK, canvas, plain

LOSSES = {"train/loss": "training", "val/loss": "validation"}


def curves_plot(scalars: Mapping[str, np.ndarray]) -> Figure | None:
    """Losses on the left, bits per spike of the validation on the right; None if a run has neither.

    Args:
        scalars: tag -> (point, 2) step and value.
    """
    losses = {label: scalars[tag] for tag, label in LOSSES.items() if tag in scalars}
    bps = {SHORT_TITLES[key]: scalars[f"val/{key}"] for key in BPS_KEYS if f"val/{key}" in scalars}
    if not losses and not bps:
        return None
    figure = canvas(10, 3.2)
    for axes, curves, label in zip(
        figure.subplots(1, 2),
        (losses, bps),
        ("loss (nats per hidden entry)", "validation, bits per spike"),
        strict=True,
    ):
        for name, points in curves.items():
            many = len(points) > 50  # single points then hide the line
            axes.plot(*points.T, linewidth=0.8 if many else 1.4, marker=None if many else ".", label=name)
        if curves:
            axes.legend(fontsize=TICK, frameon=False)
        axes.set_xlabel("optimiser step", fontsize=LABEL)
        axes.set_ylabel(label, fontsize=LABEL)
        plain(axes)
    return figure

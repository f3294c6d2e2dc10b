"""The curves of a training: TensorBoard scalars of a run, drawn without TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from neuromtm.evaluation.comparison import COLUMNS
from neuromtm.evaluation.report import BPS_KEYS

LOSSES = {"train/loss": "training", "val/loss": "validation"}
TITLES = {column.key: column.title for column in COLUMNS}


def read_scalars(run_dir: Path) -> dict[str, np.ndarray]:
    """TensorBoard tag -> (point, 2) step and value, of all event files in the run's folder.

    Where a resumed training logged a step again, the later value counts.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found: dict[str, list[tuple[float, int, float]]] = {}
    for path in run_dir.glob("events.out.tfevents.*"):
        # all scalars, and as few of the figures as it can be told to read
        events = EventAccumulator(str(path), size_guidance={"scalars": 0, "images": 1, "tensors": 1})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend((e.wall_time, e.step, e.value) for e in events.Scalars(tag))
    last = {tag: {step: value for _, step, value in sorted(points)} for tag, points in found.items()}
    return {tag: np.array(sorted(points.items()), dtype=np.float64) for tag, points in last.items()}


def curves_figure(scalars: Mapping[str, np.ndarray]) -> Figure | None:
    """Losses on the left, bits per spike of the validation on the right; None if a run has neither.

    Args:
        scalars: tag -> (point, 2) step and value.
    """
    losses = {label: scalars[tag] for tag, label in LOSSES.items() if tag in scalars}
    bps = {TITLES[key]: scalars[f"val/{key}"] for key in BPS_KEYS if f"val/{key}" in scalars}
    if not losses and not bps:
        return None
    figure = Figure(figsize=(10, 3.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
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
            axes.legend(fontsize=7, frameon=False)
        axes.set_xlabel("optimiser step", fontsize=8)
        axes.set_ylabel(label, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    return figure

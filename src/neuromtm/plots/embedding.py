"""The plot of an embedding: trials on its plane of largest variance, coloured by known variables."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from neuromtm.plots.style import (
    CONDITIONS,
    DIFFERENCES,
    EMPTY,
    HEADING,
    LABEL,
    POINTS,
    RATES,
    TICK,
    TITLE,
    canvas,
    plain,
)

SIZE, EDGE, EDGE_WIDTH = 16, POINTS, 0.3
"""of a point"""


def embedding_plot(states: np.ndarray, variables: Mapping[str, np.ndarray], *, title: str) -> Figure:
    """Trials on the first two principal components of their states, one panel per variable.

    Neighbours in a panel are alike to the model. The variables are not used to place the trials.

    Args:
        states: (trial, state) the model's state of each trial, such as `Model.embed` gives with `mean_over_bins`.
        variables: name -> (trial,) texts, which get a colour each, or numbers, which get a scale of colours with 0 in
            its middle where some are below 0. Numbers that are NaN are drawn in grey.
        title: what the trials are.
    """
    places, explained = principal_plane(states)
    figure = canvas(4.1 * len(variables), 3.9)
    panels = figure.subplots(1, len(variables), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, values) in zip(panels, variables.items(), strict=True):
        values = np.asarray(values)
        if values.dtype.kind in "US":
            _groups(axes, places, values)
        else:
            _scale(figure, axes, places, values.astype(np.float64))
        axes.set_title(name, fontsize=TITLE)
        axes.set_xlabel(f"component 1 ({100 * explained[0]:.0f} % of variance)", fontsize=LABEL)
        plain(axes)
    panels[0].set_ylabel(f"component 2 ({100 * explained[1]:.0f} % of variance)", fontsize=LABEL)
    figure.suptitle(title, fontsize=HEADING)
    return figure


def principal_plane(states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places on the first two principal components, and the share of the variance that each of them explains.

    The sign of a component is free; here the largest place in size is above 0.

    Args:
        states: (trial, state).

    Returns:
        (trial, 2) places and (2,) shares; zeros where there are fewer than two components.
    """
    centred = np.asarray(states, np.float64) - np.mean(states, axis=0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    places, shares = np.zeros((len(centred), 2)), np.zeros(2)
    n = min(2, len(size))
    places[:, :n] = left[:, :n] * size[:n]
    if total := np.square(size).sum():
        shares[:n] = np.square(size[:n]) / total
    largest = places[np.abs(places).argmax(axis=0), range(2)]
    return places * np.where(largest < 0, -1, 1), shares


def _groups(axes: Axes, places: np.ndarray, values: np.ndarray) -> None:
    for i, name in enumerate(sorted(set(values.tolist()))):
        own = values == name
        _points(axes, places[own], [CONDITIONS(i % CONDITIONS.N)], label=f"{name} ({own.sum()})")
    axes.legend(fontsize=TICK, frameon=False, loc="best")


def _scale(figure: Figure, axes: Axes, places: np.ndarray, values: np.ndarray) -> None:
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    limit = max(-low, high)
    norm, colours = (Normalize(-limit, limit), DIFFERENCES) if low < 0 else (Normalize(low, high), RATES)
    _points(axes, places[~known], [EMPTY])
    _points(axes, places[known], colours(norm(values[known])))
    bar = figure.colorbar(ScalarMappable(norm, colours), ax=axes, pad=0.01, fraction=0.05)
    bar.ax.tick_params(labelsize=TICK)


def _points(axes: Axes, places: np.ndarray, colours: Sequence | np.ndarray, *, label: str | None = None) -> None:
    x, y = places.T
    axes.scatter(x, y, s=SIZE, facecolors=colours, edgecolors=EDGE, linewidths=EDGE_WIDTH, label=label)

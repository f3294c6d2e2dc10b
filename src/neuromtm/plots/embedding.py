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
MOST_IN_A_ROW = 3
"""panels; more are drawn in two rows"""
UNKNOWN = "unknown"
"""a text that says of a trial that its variable is not known"""


def embedding_plot(
    states: np.ndarray,
    variables: Mapping[str, np.ndarray],
    *,
    title: str,
    direction: np.ndarray | None = None,
    direction_name: str = "direction",
) -> Figure:
    """Trials on the first two principal components of their states, one panel per variable.

    Neighbours in a panel are alike to the model. The variables are not used to place the trials. With `direction` the
    first axis is along it, and the second is the principal component of what remains.

    Args:
        states: (trial, state) the model's state of each trial, such as `Model.embed` gives with `mean_over_bins`.
        variables: name -> (trial,) texts, which get a colour each, or numbers, which get a scale of colours with 0 in
            its middle where some are below 0. Numbers that are NaN are drawn in grey, and so is the text `unknown`.
        title: what the trials are.
        direction: (state,) a direction in the space of the states, such as a read-out that was fitted to other trials.
        direction_name: what the direction is, for the axis.
    """
    places, explained = principal_plane(states) if direction is None else plane_along(direction, states)
    first, second = ("component 1", "component 2") if direction is None else (direction_name, "largest of the rest")
    n_rows = 1 if len(variables) <= MOST_IN_A_ROW else 2
    n_columns = -(-len(variables) // n_rows)
    figure = canvas(4.1 * n_columns, 3.7 * n_rows + 0.2)
    panels = figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(variables) :]:
        axes.set_visible(False)
    for axes, (name, values) in zip(panels.flat, variables.items(), strict=False):
        values = np.asarray(values)
        if values.dtype.kind in "US":
            _groups(axes, places, values)
        else:
            _scale(figure, axes, places, values.astype(np.float64))
        axes.set_title(name, fontsize=TITLE)
        axes.set_xlabel(f"{first} ({_percent(explained[0])} of variance)", fontsize=LABEL)
        plain(axes)
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{second} ({_percent(explained[1])} of variance)", fontsize=LABEL)
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


def plane_along(direction: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places along a direction and along the principal component of what remains, and the shares of the variance.

    Args:
        direction: (state,) of any length above 0; its sign is kept.
        states: (trial, state).

    Returns:
        (trial, 2) places and (2,) shares, as `principal_plane` gives them.
    """
    centred = np.asarray(states, np.float64) - np.mean(states, axis=0)
    along = centred @ (direction / np.linalg.norm(direction))
    rest = centred - np.outer(along, direction / np.linalg.norm(direction))
    across, _ = principal_plane(rest)
    places = np.stack([along, across[:, 0]], axis=1)
    total = np.square(centred).sum()
    return places, np.square(places).sum(axis=0) / total if total else np.zeros(2)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 or share == 0 else f"{100 * share:.1g} %"


def _groups(axes: Axes, places: np.ndarray, values: np.ndarray) -> None:
    if (own := values == UNKNOWN).any():
        _points(axes, places[own], [EMPTY], label=f"{UNKNOWN} ({own.sum()})")
    for i, name in enumerate(sorted(set(values.tolist()) - {UNKNOWN})):
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

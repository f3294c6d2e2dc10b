"""What regressions share: their penalties, the weights that they give, and the solution of their equations.

What the trial average leaves of the counts is predicted from what it leaves of the visible neurons' smoothed counts.
The linear ones need the sums of products only, so that every set of visible neurons comes from one pass over the
trials.
"""

from typing import NamedTuple

import numpy as np

from neuromtm.baselines.views import Problem

GAIN_VARIANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""penalties, as what they let one expect: the variance by which the visible neurons change a log-rate"""


class Weights(NamedTuple):
    """What a regression has learned of a problem."""

    slope: np.ndarray
    """(visible, hidden) float32; where neurons are left out in turn, 0 from each to itself"""
    log_gain: np.ndarray | None = None
    """(hidden,) float32 constant of a log-linear model; None for a linear one"""


class Regression(NamedTuple):
    """A setting, and what it makes of every problem of a task."""

    setting: dict[str, float]
    weights: list[Weights]


def penalties(problem: Problem, *, gain_variance: float) -> float:
    """Precision of each weight on a log-rate, if all visible neurons together may change it by so much.

    Args:
        problem: which neurons are visible.
        gain_variance: of the sum over visible neurons of weight times (standardised) feature.
    """
    return max(len(problem.visible) - problem.left_out, 1) / gain_variance


class Spectrum(NamedTuple):
    """Eigenvalues and eigenvectors of sums of products of features."""

    values: np.ndarray
    """(component,)"""
    vectors: np.ndarray
    """(visible, component)"""


def spectrum(gram: np.ndarray) -> Spectrum:
    """Of a (visible, visible) symmetric matrix without negative eigenvalues but for rounding."""
    values, vectors = np.linalg.eigh(gram)
    return Spectrum(np.maximum(values, 0), vectors)


def solve(gram: Spectrum, right: np.ndarray, *, curvature: np.ndarray, penalty: float, left_out: bool) -> np.ndarray:
    """Solve (curvature_i G + penalty) w_i = right_i for every target i.

    Without neuron i among the visible ones the equations lack row and column i. Their solution is that of all
    equations with another right-hand side at i, the one that makes the weight of i vanish: no refitting is needed.

    Args:
        gram: of G, (visible, visible).
        right: (visible, hidden).
        curvature: (hidden,) above 0.
        penalty: above 0.
        left_out: target i is visible neuron i, and must do without itself.

    Returns:
        (visible, hidden).
    """
    inverse = 1 / (gram.values[:, None] * curvature + penalty)  # (component, hidden)
    weights = gram.vectors @ (inverse * (gram.vectors.T @ right))
    if not left_out:
        return weights
    columns = gram.vectors @ (inverse * gram.vectors.T)  # column i is that of the inverse for target i
    weights -= columns * (np.diagonal(weights) / np.diagonal(columns))
    np.fill_diagonal(weights, 0)  # but for rounding it is
    return weights

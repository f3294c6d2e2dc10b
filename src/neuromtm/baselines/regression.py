"""What regressions share: their penalties, their weights, and the solution of their equations.

They predict the counts minus the trial average from the visible neurons' smoothed counts minus their average. Linear
regressions need the sums of products only, so one pass over the trials serves every set of visible neurons.
"""

from typing import NamedTuple

import numpy as np

from neuromtm.baselines.views import Problem

GAIN_VARIANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""penalties, given as the expected variance of the change that the visible neurons make to a log-rate"""


class Weights(NamedTuple):
    """The weights that a regression has learned for a problem."""

    slope: np.ndarray
    """(visible, hidden) float32; if neurons are left out in turn, the weight from each to itself is 0"""
    log_gain: np.ndarray | None = None
    """(hidden,) float32 constant of a log-linear model; None for a linear one"""


class Regression(NamedTuple):
    """A setting, and its weights for every problem of a task."""

    setting: dict[str, float]
    weights: list[Weights]


def penalties(problem: Problem, *, gain_variance: float) -> float:
    """Prior precision of each weight on a log-rate, from the variance that all visible neurons together may cause.

    Args:
        problem: which neurons are visible.
        gain_variance: variance of the sum over visible neurons of weight times (standardised) feature.
    """
    return max(len(problem.visible) - problem.left_out, 1) / gain_variance


class Spectrum(NamedTuple):
    """Eigenvalues and eigenvectors of sums of products of features."""

    values: np.ndarray
    """(component,)"""
    vectors: np.ndarray
    """(visible, component)"""


def spectrum(gram: np.ndarray) -> Spectrum:
    """The spectrum of a (visible, visible) symmetric matrix that has no negative eigenvalues, except by rounding."""
    values, vectors = np.linalg.eigh(gram)
    return Spectrum(np.maximum(values, 0), vectors)


def solve(gram: Spectrum, right: np.ndarray, *, curvature: np.ndarray, penalty: float, left_out: bool) -> np.ndarray:
    """Solve (curvature_i G + penalty) w_i = right_i for every target i.

    If neuron i is not among the visible ones, the equations lack row and column i. Their solution is also that of all
    equations with another right-hand side at i: the one that makes the weight of i 0. No new fit is needed.

    Args:
        gram: spectrum of G, (visible, visible).
        right: (visible, hidden).
        curvature: (hidden,) above 0.
        penalty: above 0.
        left_out: target i is visible neuron i, and must not be predicted from itself.

    Returns:
        (visible, hidden).
    """
    inverse = 1 / (gram.values[:, None] * curvature + penalty)  # (component, hidden)
    weights = gram.vectors @ (inverse * (gram.vectors.T @ right))
    if not left_out:
        return weights
    columns = gram.vectors @ (inverse * gram.vectors.T)  # column i is that of the inverse for target i
    weights -= columns * (np.diagonal(weights) / np.diagonal(columns))
    np.fill_diagonal(weights, 0)  # it already is, except for rounding
    return weights

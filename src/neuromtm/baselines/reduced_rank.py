"""`rrr`: reduced-rank regression on the visible neurons, in closed form."""

from collections.abc import Iterator, Sequence

import numpy as np

from neuromtm.baselines.regression import Regression, Weights, penalties, spectrum
from neuromtm.baselines.search import from_regression
from neuromtm.baselines.views import Design, Problem

RANK_GAIN_VARIANCES = (0.003, 0.03, 0.3, 3.0)
"""penalties, see `GAIN_VARIANCES`; they are fewer, because a low rank restrains the weights too"""
RANKS = (1, 2, 4, 8, 16, 32)
"""dimensions tried"""
N_FOLDS = 10
"""groups into which the neurons to leave out are divided"""


def reduced_rank(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Reduced-rank ridge regression (Izenman 1975; Mukherjee and Zhu 2011) of hidden on visible neurons.

    A single target has no rank to reduce. Neurons to leave out in turn are therefore hidden a tenth at a time, and each
    tenth is predicted from the other nine.
    """
    grams = [spectrum(design.gram[np.ix_(p.visible, p.visible)]) for p in problems]
    for gain_variance in RANK_GAIN_VARIANCES:
        by_rank: dict[int, list[Weights]] = {rank: [] for rank in RANKS}
        for problem, gram in zip(problems, grams, strict=True):
            penalty = penalties(problem, gain_variance=gain_variance) / design.mean[problem.hidden].mean()
            inverse = (gram.vectors / (gram.values + penalty)) @ gram.vectors.T
            cross = design.cross[np.ix_(problem.visible, problem.hidden)]
            noise = np.sqrt(design.mean[problem.hidden])
            slopes = {rank: np.zeros(cross.shape, dtype=np.float32) for rank in RANKS}
            for fold in _folds(problem):
                targets = np.arange(cross.shape[1]) if fold is None else fold
                slope, own = without(inverse, cross[:, targets], fold), cross[:, targets] / noise[targets]
                # squared length of the fitted values, including those of the penalty: right-hand side times solution
                directions = np.linalg.eigh((slope / noise[targets]).T @ own).eigenvectors[:, ::-1]
                for rank in RANKS:
                    kept = directions[:, :rank]
                    low = ((slope / noise[targets]) @ kept) @ kept.T
                    slopes[rank][:, targets] = low * noise[targets]
            for rank in RANKS:
                by_rank[rank].append(Weights(slopes[rank]))
        for rank in RANKS:
            yield Regression({"gain_variance": gain_variance, "rank": rank}, by_rank[rank])


def _folds(problem: Problem) -> list[np.ndarray | None]:
    """The (fold,) places in the problem that are hidden together; None where visible neurons are no targets."""
    if not problem.left_out:
        return [None]
    n = len(problem.hidden)
    # interleaved: neighbours in a shard are neighbours on the probe
    return [np.arange(first, n, N_FOLDS) for first in range(min(n, N_FOLDS))]


def without(inverse: np.ndarray, right: np.ndarray, fold: np.ndarray | None) -> np.ndarray:
    """(visible, target) solution of the equations without the rows and columns of a fold; these rows are 0.

    Args:
        inverse: (visible, visible) inverse of all equations.
        right: (visible, target) right-hand sides.
        fold: (fold,) places to leave out; None to leave out none.
    """
    slope = inverse @ right
    if fold is None:
        return slope
    slope -= inverse[:, fold] @ np.linalg.solve(inverse[np.ix_(fold, fold)], slope[fold])
    slope[fold] = 0  # it already is, except for rounding
    return slope


REDUCED_RANK = from_regression(reduced_rank, weak_to_strong=False)  # it has two settings: penalty and rank

"""Linear regressions in closed form: ridge, reduced-rank regression, factor analysis.

What the trial average leaves of the counts is predicted from what it leaves of the visible neurons' smoothed counts.
All three need the sums of products only, so that every set of visible neurons comes from one pass over the trials.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import FactorAnalysis

from neuromtm.baselines.views import Design, Problem

GAIN_VARIANCES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""penalties, as what they let one expect: the variance by which the visible neurons change a log-rate"""
RANK_GAIN_VARIANCES = (0.003, 0.03, 0.3, 3.0)
"""fewer in reduced-rank regression, which a low rank restrains as well"""
RANKS = (1, 2, 4, 8, 16, 32)
"""dimensions tried in reduced-rank regression"""
FACTORS = (1, 2, 4, 8, 16, 32)
"""numbers of factors tried"""
FACTORS_TOLERANCE = 0.1
"""nats over all samples; a step that gains less is the last"""
N_FOLDS = 10
"""groups into which reduced-rank regression divides neurons that are to be left out"""


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


def ridge(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Ridge regression, exact for every neuron that is left out (Hoerl and Kennard 1970).

    The noise of a count is taken to be its mean, and a weight to be a share of it: a neuron that fires little is drawn
    to its trial average more than one that fires much.
    """
    grams = [spectrum(design.gram[np.ix_(p.visible, p.visible)]) for p in problems]
    for gain_variance in GAIN_VARIANCES:
        weights = []
        for problem, gram in zip(problems, grams, strict=True):
            mean = design.mean[problem.hidden]
            right = design.cross[np.ix_(problem.visible, problem.hidden)]
            penalty = penalties(problem, gain_variance=gain_variance)
            # divided by the noise and multiplied by the share's unit, which is the mean as well
            slope = solve(gram, mean * right, curvature=mean, penalty=penalty, left_out=problem.left_out)
            weights.append(Weights(slope.astype(np.float32)))
        yield Regression({"gain_variance": gain_variance}, weights)


def reduced_rank(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Reduced-rank ridge regression (Izenman 1975; Mukherjee and Zhu 2011) of hidden on visible neurons.

    A single target has no rank to reduce. Neurons to be left out in turn are therefore hidden by tenths, each
    predicted from the other nine.
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
                # squared length of the fitted values, those of the penalty among them: right-hand side times solution
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
    """(visible, target) solution of the equations that lack the rows and columns of a fold, 0 in these rows.

    Args:
        inverse: (visible, visible) of all equations.
        right: (visible, target) right-hand sides.
        fold: (fold,) places that are not visible after all; None for none.
    """
    slope = inverse @ right
    if fold is None:
        return slope
    slope -= inverse[:, fold] @ np.linalg.solve(inverse[np.ix_(fold, fold)], slope[fold])
    slope[fold] = 0  # but for rounding it is
    return slope


class Factors(NamedTuple):
    """A factor model of standardised features: features = loadings factors + independent noise."""

    loadings: np.ndarray
    """(neuron, factor); 0 for a neuron that does not vary"""
    noise: np.ndarray
    """(neuron,) variance"""

    def posterior(self, visible: np.ndarray) -> np.ndarray:
        """(visible, factor) weights of the factors' posterior mean given those neurons' features."""
        seen = self.loadings[visible] / self.noise[visible, None]
        precision = np.eye(self.loadings.shape[1]) + self.loadings[visible].T @ seen
        return np.linalg.solve(precision, seen.T).T

    def left_out(self, visible: np.ndarray) -> np.ndarray:
        """(visible, visible) weights of each feature's mean given all the others', 0 from each to itself."""
        # column i of `all` is what i's own evidence is part of; a rank-one update takes it out
        every = self.posterior(visible) @ self.loadings[visible].T
        weights = every / (1 - np.diagonal(every))
        np.fill_diagonal(weights, 0)
        return weights


def fit_factors(gram: np.ndarray, n_samples: int, *, n_factors: int) -> Factors:
    """Maximum likelihood by scikit-learn, from sums of products alone.

    Args:
        gram: (neuron, neuron) sums over samples of products of standardised features.
        n_samples: how many.
        n_factors: fewer than there are neurons that vary.
    """
    varies = np.diagonal(gram) > 0
    own = spectrum(gram[np.ix_(varies, varies)] / n_samples)
    root = (own.vectors * np.sqrt(own.values)).T
    # the likelihood knows the data by their covariance only: these few rows have mean 0 and the very same
    rows = np.concatenate([root, -root]) * np.sqrt(len(root))
    tolerance = FACTORS_TOLERANCE * len(rows) / n_samples
    fitted = FactorAnalysis(n_factors, tol=tolerance, max_iter=1000, random_state=0).fit(rows)
    loadings, noise = np.zeros((len(varies), n_factors)), np.ones(len(varies))
    loadings[varies], noise[varies] = fitted.components_.T, np.maximum(fitted.noise_variance_, 1e-6)
    return Factors(loadings, noise)


def factor_analysis(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Factor analysis of the smoothed counts of all neurons: hidden ones by the factors' posterior mean.

    The future is not in the model: it is regressed on the posterior of the past's factors, by least squares.
    """
    scale, n_samples = design.reader.scale, design.n_samples
    unit = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    n_varying = int((scale > 0).sum())
    for n_factors in FACTORS:
        if n_factors >= n_varying:
            return
        if n_factors not in design.models:
            design.models[n_factors] = fit_factors(design.gram, n_samples, n_factors=n_factors)
        factors: Factors = design.models[n_factors]
        weights = []
        for problem in problems:
            if design.reader.view.future:
                posterior = factors.posterior(problem.visible)
                explained = posterior.T @ design.gram[np.ix_(problem.visible, problem.visible)] @ posterior
                cross = posterior.T @ design.cross[np.ix_(problem.visible, problem.hidden)]
                slope = posterior @ np.linalg.solve(explained + 1e-6 * n_samples * np.eye(n_factors), cross)
            elif problem.left_out:
                slope = factors.left_out(problem.visible) * unit[problem.hidden]
            else:
                slope = factors.posterior(problem.visible) @ factors.loadings[problem.hidden].T * unit[problem.hidden]
            weights.append(Weights(slope.astype(np.float32)))
        yield Regression({"n_factors": n_factors}, weights)

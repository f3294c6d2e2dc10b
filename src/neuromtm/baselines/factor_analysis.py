"""`factor_analysis`: the visible neurons give shared factors, and the factors predict the hidden neurons."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from sklearn.decomposition import FactorAnalysis

from neuromtm.baselines.regression import Regression, Weights, spectrum
from neuromtm.baselines.search import from_regression
from neuromtm.baselines.views import Design, Problem

FACTORS = (1, 2, 4, 8, 16, 32)
"""numbers of factors tried"""
FACTORS_TOLERANCE = 0.1
"""nats over all samples; the fit ends after a step that gains less"""


class Factors(NamedTuple):
    """A factor model of standardised features: features = loadings factors + independent noise."""

    loadings: np.ndarray
    """(neuron, factor); 0 for a neuron that does not vary"""
    noise: np.ndarray
    """(neuron,) variance"""

    def posterior(self, visible: np.ndarray) -> np.ndarray:
        """(visible, factor) weights that give the factors' posterior mean from these neurons' features."""
        seen = self.loadings[visible] / self.noise[visible, None]
        precision = np.eye(self.loadings.shape[1]) + self.loadings[visible].T @ seen
        return np.linalg.solve(precision, seen.T).T

    def left_out(self, visible: np.ndarray) -> np.ndarray:
        """(visible, visible) weights that give each feature's mean from all others; 0 from each to itself."""
        # column i of `every` uses neuron i's own feature too; a rank-one update takes it out
        every = self.posterior(visible) @ self.loadings[visible].T
        weights = every / (1 - np.diagonal(every))
        np.fill_diagonal(weights, 0)
        return weights


def fit_factors(gram: np.ndarray, n_samples: int, *, n_factors: int) -> Factors:
    """Fit by maximum likelihood with scikit-learn, from sums of products alone.

    Args:
        gram: (neuron, neuron) sums over samples of products of standardised features.
        n_samples: number of samples.
        n_factors: number of factors, fewer than there are neurons that vary.
    """
    varies = np.diagonal(gram) > 0
    own = spectrum(gram[np.ix_(varies, varies)] / n_samples)
    root = (own.vectors * np.sqrt(own.values)).T
    # the likelihood depends on the covariance of the data only: these few rows have it too, and mean 0
    rows = np.concatenate([root, -root]) * np.sqrt(len(root))
    tolerance = FACTORS_TOLERANCE * len(rows) / n_samples
    fitted = FactorAnalysis(n_factors, tol=tolerance, max_iter=1000, random_state=0).fit(rows)
    loadings, noise = np.zeros((len(varies), n_factors)), np.ones(len(varies))
    loadings[varies], noise[varies] = fitted.components_.T, np.maximum(fitted.noise_variance_, 1e-6)
    return Factors(loadings, noise)


def factor_analysis(design: Design, problems: Sequence[Problem]) -> Iterator[Regression]:
    """Factor analysis of all neurons' smoothed counts; the factors' posterior mean predicts hidden neurons.

    The factor model does not hold the future. Least squares predict it from the posterior mean of the past's factors.
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


FACTOR_ANALYSIS = from_regression(factor_analysis)

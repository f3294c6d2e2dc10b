"""The mathematics of a stitcher from few trials: shrunk mean rates, and read-outs by Newton's method, pure functions.

The regression of a neuron is Poisson. Its rate is exp(log_mean + bias + features . weights). The weights have a normal
prior around 0 and the bias one around 0, so that few counts leave a neuron near its shrunk mean rate.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from scipy.optimize import minimize
from scipy.special import digamma, gammaln
from torch import Tensor

EVIDENCE = 0.35
"""Weight of an entry's likelihood. A neuron's counts stand in up to four tasks, and should count about once in all."""
WEIGHT_PRECISION = 100.0
"""of the weights' prior, for features scaled as by `shared_directions`"""
BIAS_PRECISION = 1.0
"""of the bias' prior"""
LARGEST_STEP = 2.0
"""a neuron's step is shortened to this length: where few counts curve the likelihood, a whole step goes too far"""
TOLERANCE = 1e-8
"""the fit ends when no neuron's step is longer"""
MOST_STEPS = 100


class GammaPrior(NamedTuple):
    """The distribution of the mean rates of a session's neurons."""

    shape: float
    rate: float
    """in bins per spike: the mean is shape / rate"""


def gamma_prior(spikes: np.ndarray, *, n_entries: int) -> GammaPrior:
    """Fit a gamma distribution to mean rates of which only counts are known, by maximum likelihood.

    A neuron's spikes then have a negative binomial distribution. Nearly equal neurons give a narrow prior, to which all
    are shrunk.

    Args:
        spikes: (neuron,) spikes in all entries.
        n_entries: number of trials times bins, above 0.
    """
    spikes = np.asarray(spikes, dtype=np.float64)
    start = max(spikes.mean(), 0.5) / n_entries  # without a spike the likelihood has its maximum at 0

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        shape, mean = np.exp(parameters)
        rate = shape / mean
        share = rate / (rate + n_entries)
        value = gammaln(shape + spikes) - gammaln(shape) + shape * np.log(share) + spikes * np.log1p(-share)
        by_shape = shape * (digamma(shape + spikes) - digamma(shape) + np.log(share))
        by_mean = spikes * share - shape * (1 - share)
        by_shape = by_shape - by_mean
        return -value.mean(), -np.array([by_shape.mean(), by_mean.mean()])

    bounds = [(-7.0, 14.0), (np.log(start) - 2, np.log(start) + 2)]  # of the logarithms of the shape and the mean
    options = {"ftol": 1e-14, "gtol": 1e-10}
    found = minimize(cost, [0.0, np.log(start)], jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    shape, mean = np.exp(found.x)
    return GammaPrior(float(shape), float(shape / mean))


def shrunk_means(spikes: np.ndarray, *, n_entries: int) -> np.ndarray:
    """(neuron,) float64 expected spikes per bin, above 0: the posterior's mean under `gamma_prior`.

    Args:
        spikes: (neuron,) spikes in all entries.
        n_entries: number of trials times bins, above 0.
    """
    prior = gamma_prior(spikes, n_entries=n_entries)
    return (prior.shape + spikes) / (prior.rate + n_entries)


def shared_directions(read_outs: Tensor, n_directions: int) -> Tensor:
    """The directions of the states along which known neurons are read out, scaled to how much.

    Weights of equal variance along these have the covariance of the known read-outs, up to one factor.

    Args:
        read_outs: (neuron, state) weights of known neurons, not all 0.
        n_directions: the most directions.

    Returns:
        (state, direction) float64, of length 1 along the first one and shorter after it.
    """
    weights = read_outs.double()
    variance, axes = torch.linalg.eigh(weights.T @ weights / len(weights))
    variance, axes = variance.flip(0)[:n_directions], axes.flip(1)[:, :n_directions]
    kept = variance > 1e-12 * variance[0]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))  # the decomposition leaves the signs open
    return (axes * largest.sign() * (variance.clamp_min(0) / variance[0]).sqrt())[:, kept]


class Evidence(NamedTuple):
    """Some neurons' counts, and what was seen while these neurons were hidden."""

    neurons: Tensor
    """(neuron',) int64, places in the session"""
    features: Tensor
    """(trial, bin, feature) float64"""
    counts: Tensor
    """(trial, bin, neuron') spikes per bin"""


class Regressions(NamedTuple):
    """One regression for each neuron."""

    weights: Tensor
    """(neuron, feature) float64"""
    log_means: Tensor
    """(neuron,) float64, log of the spikes per bin where all features are 0"""


def poisson_regressions(evidence: Sequence[Evidence], log_means: Tensor) -> Regressions:
    """Fit each neuron's regression: the most probable weights and bias, by Newton's method in double precision.

    Args:
        evidence: a neuron may be in any number of them.
        log_means: (neuron,) float64 log of the spikes per bin around which the bias' prior lies.
    """
    n_features = evidence[0].features.shape[-1]
    precision = torch.full((n_features + 1,), WEIGHT_PRECISION, dtype=torch.float64)
    precision[-1] = BIAS_PRECISION
    weights = log_means.new_zeros(len(log_means), n_features + 1)
    for _ in range(MOST_STEPS):
        slope, curvature = weights * precision, precision.diag().repeat(len(weights), 1, 1)
        for neurons, features, counts in evidence:
            ones = features.new_ones(*features.shape[:2], 1)
            rows = rearrange(torch.cat([features, ones], dim=-1), "trial bin feature -> (trial bin) feature")
            observed = rearrange(counts, "trial bin neuron -> (trial bin) neuron").double()
            expected = (rows @ weights[neurons].T + log_means[neurons]).exp()
            slope[neurons] += EVIDENCE * (expected - observed).T @ rows
            pairs = rearrange(rows[:, :, None] * rows[:, None, :], "row one other -> row (one other)")
            curvature[neurons] += EVIDENCE * (expected.T @ pairs).unflatten(1, (n_features + 1, n_features + 1))
        step = torch.linalg.solve(curvature, slope)
        length = step.norm(dim=1, keepdim=True)
        weights = weights - step * (LARGEST_STEP / length.clamp_min(LARGEST_STEP))
        if length.max() < TOLERANCE:
            break
    return Regressions(weights[:, :-1], log_means + weights[:, -1])

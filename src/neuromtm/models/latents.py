"""Gaussian latents of a sequential variational auto-encoder: posteriors, priors, and the cost between them."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

MIN_VARIANCE = 1e-4
"""Smallest variance of a posterior. The cost of a posterior that shrinks to a point would be infinite."""


class Posterior(NamedTuple):
    """A Gaussian with independent components."""

    mean: Tensor
    """(..., latent)"""
    variance: Tensor
    """(..., latent)"""

    @classmethod
    def of(cls, parameters: Tensor) -> "Posterior":
        """Make one from a network's output: (..., 2 latent), first the means, then the logarithms of the variances."""
        mean, log_variance = parameters.chunk(2, dim=-1)
        return cls(mean, log_variance.exp() + MIN_VARIANCE)

    def draw(self, noise: Tensor) -> Tensor:
        """Turn standard normal noise, broadcastable to the mean, into draws."""
        return self.mean + self.variance.sqrt() * noise


class PosteriorHead(nn.Linear):
    """A linear map to a posterior that is narrow before training.

    Args:
        in_size: size of the input.
        n_latents: components of the posterior.
        variance: approximate variance of each component before training.
    """

    def __init__(self, in_size: int, n_latents: int, *, variance: float):
        super().__init__(in_size, 2 * n_latents)
        with torch.no_grad():
            self.bias.zero_()
            self.bias[n_latents:] = math.log(variance)

    # it computes like a linear layer and names its weights like one, but it returns a posterior
    def forward(self, x: Tensor) -> Posterior:  # ty: ignore[incompatible-method-override]
        return Posterior.of(super().forward(x))


def gaussian_kl(posterior: Posterior, mean: Tensor | float, variance: Tensor | float) -> Tensor:
    """Kullback-Leibler divergence of a Gaussian with independent components from another, in nats.

    Computed in single precision at least, because it is a difference of nearly equal numbers.

    Args:
        posterior: a Gaussian with its components along the last axis.
        mean: mean of the prior, broadcastable.
        variance: variance of the prior, broadcastable.

    Returns:
        (...) summed over the components.
    """
    dtype = torch.promote_types(posterior.mean.dtype, torch.float32)
    own_mean, own_variance = (part.to(dtype) for part in posterior)
    ratio = own_variance / variance
    return 0.5 * (ratio - 1 - ratio.log() + (own_mean - mean).square() / variance).sum(dim=-1)


class AutoregressivePrior(nn.Module):
    """A Gaussian process of first order for each component, with a learned time constant and variance.

    u[0] ~ N(0, v), u[t] ~ N(a u[t - 1], v (1 - a^2)) with a = exp(-1 / tau): stationary with variance v.
    Pandarinath et al. 2018, online methods, equations of the inferred inputs' prior.

    Args:
        n_latents: number of components.
        time_constant_bins: tau before training.
        variance: v before training.
    """

    def __init__(self, n_latents: int, *, time_constant_bins: float, variance: float):
        super().__init__()
        self.log_time_constant = nn.Parameter(torch.full((n_latents,), math.log(time_constant_bins)))
        self.log_variance = nn.Parameter(torch.full((n_latents,), math.log(variance)))

    def kl(self, posterior: Posterior, drawn: Tensor) -> Tensor:
        """Divergence from this prior, in nats, of a posterior that was drawn from bin by bin.

        Each bin's divergence is exact given the draw of the bin before, so that only the draws add noise.

        Args:
            posterior: (trial, bin, latent) mean and variance; those of a bin may depend on earlier draws.
            drawn: (trial, bin, latent) draws of that posterior.

        Returns:
            (trial,) summed over bins and components.
        """
        dtype = torch.promote_types(drawn.dtype, torch.float32)
        memory = (-(-self.log_time_constant.to(dtype)).exp()).exp()
        stationary = self.log_variance.to(dtype).exp()
        # there is no bin before the first
        first = gaussian_kl(Posterior(*(part[:, 0] for part in posterior)), 0.0, stationary)
        later = gaussian_kl(
            Posterior(*(part[:, 1:] for part in posterior)),
            memory * drawn[:, :-1].to(dtype),
            stationary * (1 - memory.square()),
        )
        return first + later.sum(dim=-1)

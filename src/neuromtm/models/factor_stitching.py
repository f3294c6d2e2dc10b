"""Stitchers with a read-in and a read-out of different sizes, and how they can start aligned between animals.

Principal-component regression (Pandarinath et al. 2018, online methods, multi-session stitching): the principal
components of all sessions' trial averages together are what they have in common; each session's neurons are regressed
on them. Averages of different animals are comparable because their trials are aligned to the same event; where they
are not, as with trials that start anywhere, the components mean nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from neuromtm.models.stitching import LinearStitcher

SMALLEST_MEAN = 1e-6
"""spikes per bin; a neuron that never fired has nothing to divide by"""


class FactorStitcher(LinearStitcher):
    """Reads neurons in to one size and out from another, the factors.

    The read-in starts as one of standardised counts, (count - mean) / sqrt(mean), which is of size 1 whatever the
    firing rates are: unlike attention, nothing behind it would normalise it.

    Args:
        width: numbers a bin that neurons are read into.
        n_factors: numbers a bin that they are read out from.
        mean_counts: (neuron,) mean spikes per bin.
        mask_input: see `LinearStitcher`.
    """

    def __init__(self, *, width: int, n_factors: int, mean_counts: Tensor, mask_input: bool):
        super().__init__(width=width, mean_counts=mean_counts, mask_input=mask_input)
        del self.token  # the read-in's bias is the session's own vector already
        bias = self.read_out.bias
        self.read_out = nn.Linear(n_factors, len(mean_counts))
        self.read_out.bias = bias
        nn.init.zeros_(self.read_out.weight)
        with torch.no_grad():
            self.read_in.weight /= mean_counts.sqrt()
            self.read_in.bias.copy_(-self.read_in.weight @ mean_counts.to(self.read_in.weight))

    def start_from(self, average: Tensor, components: Tensor) -> None:
        """Read the session's neurons into shared components and out of them, by principal-component regression.

        Rows of the read-in and columns of the read-out beyond the components stay as they are.

        Args:
            average: (bin, neuron) mean spikes per bin over the training trials.
            components: (bin, component), no more than `width` or `n_factors`.
        """
        maps, n = stitching_maps(average, components), components.shape[1]
        with torch.no_grad():
            self.read_in.weight[:n] = maps.read_in.to(self.read_in.weight)
            self.read_in.bias[:n] = -(self.read_in.weight[:n] @ average.mean(dim=0).to(self.read_in.weight))
            self.read_out.weight[:, :n] = maps.read_out.to(self.read_out.weight)


class StitchingMaps(NamedTuple):
    """Linear maps between a session's neurons and shared components."""

    read_in: Tensor
    """(component, neuron) from counts, less their means, to components"""
    read_out: Tensor
    """(neuron, component) from components to the logarithm of the rate over its mean"""


def shared_components(averages: Sequence[Tensor], n_components: int) -> Tensor:
    """The courses that sessions have in common.

    Args:
        averages: for each session, (bin, neuron) mean spikes per bin over its trials; the same bins.
        n_components: at most so many; never more than there are bins but one, or neurons.

    Returns:
        (bin, component) orthogonal, of mean 0 and variance 1 over bins, largest first.
    """
    together = torch.cat([_standardised(average.double()) for average in averages], dim=1)
    left, size, _ = torch.linalg.svd(together, full_matrices=False)
    left = left[:, : min(n_components, _rank(size))]
    # the sign of a singular vector is arbitrary: the largest value is positive, on every machine
    left = left * left.gather(0, left.abs().argmax(dim=0, keepdim=True)).sign()
    return left * len(left) ** 0.5


def stitching_maps(average: Tensor, components: Tensor) -> StitchingMaps:
    """Regress a session's neurons on shared components, and the components on its neurons.

    The regressors are the session's own leading principal components, as many as are asked for: the rest of its
    averages is more noise than course.

    Args:
        average: (bin, neuron) mean spikes per bin over the session's trials.
        components: (bin, component) as `shared_components` gives them.
    """
    average, components = average.double(), components.double()
    mean = average.mean(dim=0).clamp(min=SMALLEST_MEAN)
    left, size, right = torch.linalg.svd(_standardised(average), full_matrices=False)
    rank = min(components.shape[1], _rank(size))
    weights = right[:rank].T @ ((left[:, :rank].T @ components) / size[:rank, None])
    modulation = (average - average.mean(dim=0)) / mean
    read_out = modulation.T @ components / len(components)
    return StitchingMaps((weights / mean.sqrt()[:, None]).T, read_out)


def _standardised(average: Tensor) -> Tensor:
    """Less the mean and divided by its root: the noise of a count is then the same in every neuron."""
    mean = average.mean(dim=0)
    return (average - mean) / mean.clamp(min=SMALLEST_MEAN).sqrt()


def _rank(size: Tensor) -> int:
    """How many of the singular values are more than rounding."""
    return int((size > 1e-10 * size[0].clamp(min=torch.finfo(size.dtype).tiny)).sum())

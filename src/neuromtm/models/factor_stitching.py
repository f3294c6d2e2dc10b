"""Stitchers with a read-in and a read-out of different sizes, and first weights that align animals.

The method is principal-component regression (Pandarinath et al. 2018, online methods, multi-session stitching). The
principal components of all sessions' trial averages together describe what the sessions have in common. Each session's
neurons are regressed on these components. Averages of different animals are comparable if their trials are aligned to
the same event. If trials start at arbitrary times, the components mean nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from neuromtm.models.stitching import LinearStitcher

SMALLEST_MEAN = 1e-6
"""Spikes per bin; stands in for the mean of a neuron that never fired, which would be a division by 0."""


class FactorStitcher(LinearStitcher):
    """Reads neurons into `width` numbers, and out from `n_factors` numbers, the factors.

    Before training the read-in takes standardised counts, (count - mean) / sqrt(mean). They have size 1 at every firing
    rate. This matters because nothing after the read-in normalises its result, as the layers of a transformer would.

    Args:
        width: numbers per bin that neurons are read into.
        n_factors: numbers per bin that they are read out from.
        mean_counts: (neuron,) mean spikes per bin.
        mask_input: see `LinearStitcher`.
        standardise: see `LinearStitcher`. If not, the first weights do so.
    """

    def __init__(self, *, width: int, n_factors: int, mean_counts: Tensor, mask_input: bool, standardise: bool = False):
        super().__init__(width=width, mean_counts=mean_counts, mask_input=mask_input, standardise=standardise)
        del self.token  # the read-in's bias already is a vector of the session's own
        bias = self.read_out.bias
        self.read_out = nn.Linear(n_factors, len(mean_counts))
        self.read_out.bias = bias
        nn.init.zeros_(self.read_out.weight)
        if standardise:
            nn.init.zeros_(self.read_in.bias)
            return
        with torch.no_grad():
            self.read_in.weight /= mean_counts.sqrt()
            self.read_in.bias.copy_(-self.read_in.weight @ mean_counts.to(self.read_in.weight))

    def start_from(self, average: Tensor, components: Tensor) -> None:
        """Set the weights that read neurons into shared components and out of them, by principal-component regression.

        Rows of the read-in and columns of the read-out beyond the components do not change.

        Args:
            average: (bin, neuron) mean spikes per bin over the training trials.
            components: (bin, component), at most `width` and at most `n_factors` of them.
        """
        maps, n = stitching_maps(average, components), components.shape[1]
        with torch.no_grad():
            weight, mean = maps.read_in.to(self.read_in.weight), average.mean(dim=0).to(self.read_in.weight)
            if self.standardise is not None:  # the map is of counts, and what it reads is (count - center) * scale
                center, scale = self.standardise.center, self.standardise.scale
                weight, mean = weight / scale, (mean - center) * scale
            self.read_in.weight[:n] = weight
            self.read_in.bias[:n] = -(weight @ mean)
            self.read_out.weight[:, :n] = maps.read_out.to(self.read_out.weight)


class StitchingMaps(NamedTuple):
    """Linear maps between a session's neurons and shared components."""

    read_in: Tensor
    """(component, neuron) from counts minus their means to components"""
    read_out: Tensor
    """(neuron, component) from components to the logarithm of rate / mean rate"""


def shared_components(averages: Sequence[Tensor], n_components: int) -> Tensor:
    """The time courses that sessions have in common.

    Args:
        averages: for each session, (bin, neuron) mean spikes per bin over its trials; all with the same bins.
        n_components: largest number of components. There are never more than bins minus one, or than neurons.

    Returns:
        (bin, component) orthogonal, of mean 0 and variance 1 over bins, largest first.
    """
    together = torch.cat([_standardised(average.double()) for average in averages], dim=1)
    left, size, _ = torch.linalg.svd(together, full_matrices=False)
    left = left[:, : min(n_components, _rank(size))]
    # the sign of a singular vector is arbitrary: its largest value is made positive, the same on every machine
    left = left * left.gather(0, left.abs().argmax(dim=0, keepdim=True)).sign()
    return left * len(left) ** 0.5


def stitching_maps(average: Tensor, components: Tensor) -> StitchingMaps:
    """Regress a session's neurons on shared components, and the components on its neurons.

    The regressors are the session's own leading principal components, as many as there are shared components. The rest
    of its averages is more noise than signal.

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
    """Subtract the mean and divide by its root. The noise of a count is then the same in every neuron."""
    mean = average.mean(dim=0)
    return (average - mean) / mean.clamp(min=SMALLEST_MEAN).sqrt()


def _rank(size: Tensor) -> int:
    """How many of the singular values are larger than rounding errors."""
    return int((size > 1e-10 * size[0].clamp(min=torch.finfo(size.dtype).tiny)).sum())

"""The regions of a session that a scheme or a task can draw."""

from collections.abc import Sequence

import torch
from torch import Tensor

from neuromtm.batch import RegionIndex, Scheme


def known_regions(region: RegionIndex) -> list[int]:
    """The numbers of a session's known regions, in ascending order."""
    return [number for number, size in enumerate(region.sizes) if size]


def regions_for(scheme: Scheme, region: RegionIndex) -> list[int]:
    """The regions that a region scheme can draw, in ascending order.

    `intra_region` needs two neurons in the region: one to hide and one to show. `inter_region` needs a neuron outside
    the region to show; the region of that neuron may be unknown. Neurons of unknown region (-1) are never drawn.
    """
    found = known_regions(region)
    if scheme == "intra_region":
        return [r for r in found if region.sizes[r] >= 2]
    if scheme == "inter_region":
        return [r for r in found if region.sizes[r] < region.n_neurons]
    return found


def draw_region(scheme: Scheme, region: RegionIndex, n_draws: int, generator: torch.Generator) -> Tensor:
    """(draw,) int64, each one of `regions_for`, all equally likely."""
    return draw_number(regions_for(scheme, region), n_draws, generator)


def draw_number(numbers: Sequence[int], n_draws: int, generator: torch.Generator) -> Tensor:
    """Draw some of a few numbers, each equally likely, on the generator's device and without waiting for it.

    Args:
        numbers: from 0, in ascending order.
        n_draws: how many to draw.
        generator: source of the draws.

    Returns:
        (draw,) int64.
    """
    # a list of numbers would have to be copied to the device, so every number up to the last takes part in the draw
    chance = torch.rand(n_draws, numbers[-1] + 1, generator=generator, device=generator.device)
    for absent in set(range(numbers[-1])).difference(numbers):
        chance[:, absent] = -1.0
    return chance.argmax(dim=1)

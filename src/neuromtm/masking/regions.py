"""The regions of a session that a scheme or a task can draw."""

import torch
from torch import Tensor

from neuromtm.batch import Scheme


def known_regions(region: Tensor) -> list[int]:
    """The numbers of a session's known regions, in ascending order."""
    return [int(r) for r in region.unique() if r >= 0]


def regions_for(scheme: Scheme, region: Tensor) -> list[int]:
    """The regions that a region scheme can draw, in ascending order.

    `intra_region` needs two neurons in the region: one to hide and one to show. `inter_region` needs a neuron outside
    the region to show; the region of that neuron may be unknown. Neurons of unknown region (-1) are never drawn.
    """
    found = known_regions(region)
    if scheme == "intra_region":
        return [r for r in found if (region == r).sum() >= 2]
    if scheme == "inter_region":
        return [r for r in found if (region != r).any()]
    return found


def draw_region(scheme: Scheme, region: Tensor, generator: torch.Generator) -> int:
    """Draw one of `regions_for`, each equally likely."""
    regions = regions_for(scheme, region)
    return regions[int(torch.randint(len(regions), (1,), generator=generator))]

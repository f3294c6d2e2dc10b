"""Show one region alone, and hide neurons of it (MtM, NeurIPS 2024, section 3)."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.masking.masked import Masked, MaskingScheme, Options, draw, mask
from neuromtm.masking.regions import draw_region, regions_for


def hide_within_region(
    counts: Tensor, region: Tensor, *, drawn_region: int, ratio: float, generator: torch.Generator
) -> Masked:
    """Show one region only, and hide each (trial, neuron) of it with probability `ratio`: `intra_region`.

    The loss scores the hidden neurons of the region. Neurons outside the region are hidden but not scored.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        region: (neuron,) number of each neuron's region.
        drawn_region: the region shown.
        ratio: share of its neurons to hide.
        generator: source of the draw.
    """
    inside = region == drawn_region
    members = int(inside.sum())
    target = torch.zeros(counts.shape[0], counts.shape[2], dtype=torch.bool)
    target[:, inside.cpu()] = draw((counts.shape[0], members), ratio=ratio, generator=generator)
    target = rearrange(target, "trial neuron -> trial 1 neuron").to(counts.device)
    return mask(counts, target | ~inside, target)


def hide(counts: Tensor, region: Tensor, options: Options, generator: torch.Generator) -> Masked:
    """Draw a region and hide neurons of it; see `MaskingScheme.hide`."""
    drawn_region = draw_region("intra_region", region, generator)
    return hide_within_region(counts, region, drawn_region=drawn_region, ratio=options.ratio, generator=generator)


def allows(region: Tensor) -> bool:
    """Whether a session has a region of two neurons or more."""
    return bool(regions_for("intra_region", region))


SCHEME = MaskingScheme(hide=hide, allows=allows)

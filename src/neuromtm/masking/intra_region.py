"""Show one region alone, and hide neurons of it (MtM, NeurIPS 2024, section 3)."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, draw, mask
from neuromtm.masking.regions import draw_region, regions_for


def hide_within_region(
    counts: Tensor, region: Tensor, *, drawn_region: Tensor, ratio: float, generator: torch.Generator
) -> Masked:
    """Show one region only, and hide each (trial, neuron) of it with probability `ratio`: `intra_region`.

    The loss scores the hidden neurons of the region. Neurons outside the region are hidden but not scored.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        region: (neuron,) number of each neuron's region.
        drawn_region: (trial,) the region shown in each trial, or (1,) in all trials.
        ratio: share of its neurons to hide.
        generator: source of the draw.
    """
    inside = region == rearrange(drawn_region, "trial -> trial 1")
    target = draw((counts.shape[0], counts.shape[2]), ratio=ratio, generator=generator, among=inside)
    return mask(counts, *(rearrange(part, "trial neuron -> trial 1 neuron") for part in (target | ~inside, target)))


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Draw a region and hide neurons of it; see `MaskingScheme.hide`."""
    n_draws = len(counts) if options.region_per_trial else 1
    drawn_region = draw_region("intra_region", region, n_draws, generator)
    return hide_within_region(
        counts, region.number, drawn_region=drawn_region, ratio=options.ratio, generator=generator
    )


def allows(region: RegionIndex) -> bool:
    """Whether a session has a region of two neurons or more."""
    return bool(regions_for("intra_region", region))


SCHEME = MaskingScheme(hide=hide, allows=allows)

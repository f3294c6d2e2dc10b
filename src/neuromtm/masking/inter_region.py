"""Hide one region whole (MtM, NeurIPS 2024, section 3), or with region drop-out all but one."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, mask
from neuromtm.masking.regions import draw_number, draw_region, known_regions, regions_for


def hide_region(counts: Tensor, region: Tensor, *, drawn_region: int) -> Masked:
    """Hide all neurons of one region: `inter_region`."""
    return mask(counts, rearrange(region == drawn_region, "neuron -> 1 1 neuron"))


def show_one_region(counts: Tensor, region: Tensor, *, shown_region: int | None) -> Masked:
    """Show one region alone, or nothing, and score all other known regions: `inter_region` with region drop-out.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        region: (neuron,) number of each neuron's region, -1 unknown.
        shown_region: the region shown; None hides all neurons.
    """
    shown = torch.zeros_like(region, dtype=torch.bool) if shown_region is None else region == shown_region
    target = (region >= 0) & ~shown
    return mask(counts, rearrange(~shown, "neuron -> 1 1 neuron"), rearrange(target, "neuron -> 1 1 neuron"))


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Draw a region and hide it, or drop regions out; see `MaskingScheme.hide`."""
    n_draws = len(counts) if options.region_per_trial else 1
    drawn_region = rearrange(draw_region("inter_region", region, n_draws, generator), "trial -> trial 1")
    hidden = target = region.number == drawn_region
    known = known_regions(region)
    if options.region_dropout > 0 and len(known) > 1:
        nothing = known[-1] + 1  # the number of no region
        shown = rearrange(draw_number([*known, nothing], n_draws, generator), "trial -> trial 1")
        drops = torch.rand(n_draws, 1, generator=generator, device=generator.device) < options.region_dropout
        others = region.number != shown
        hidden = torch.where(drops, others, hidden)
        target = torch.where(drops, others & (region.number >= 0), target)
    return mask(counts, *(rearrange(part, "trial neuron -> trial 1 neuron") for part in (hidden, target)))


def allows(region: RegionIndex) -> bool:
    """Whether a session has a region, and a neuron outside of it to show."""
    return bool(regions_for("inter_region", region))


SCHEME = MaskingScheme(hide=hide, ratio=1.0, allows=allows)

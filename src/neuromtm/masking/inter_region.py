"""Hide one region whole (MtM, NeurIPS 2024, section 3), or with region drop-out all but one."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.masking.masked import Masked, MaskingScheme, Options, mask
from neuromtm.masking.regions import draw_region, known_regions, regions_for


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


def hide(counts: Tensor, region: Tensor, options: Options, generator: torch.Generator) -> Masked:
    """Draw a region and hide it, or drop regions out; see `MaskingScheme.hide`."""
    drawn_region, known = draw_region("inter_region", region, generator), known_regions(region)
    if len(known) > 1 and _drops(options.region_dropout, generator):
        shown = [*known, None][int(torch.randint(len(known) + 1, (1,), generator=generator))]
        return show_one_region(counts, region, shown_region=shown)
    return hide_region(counts, region, drawn_region=drawn_region)


def _drops(region_dropout: float, generator: torch.Generator) -> bool:
    # without drop-out nothing is drawn here, so that the masks of such runs do not change
    return region_dropout > 0 and bool(torch.rand((), generator=generator) < region_dropout)


def allows(region: Tensor) -> bool:
    """Whether a session has a region, and a neuron outside of it to show."""
    return bool(regions_for("inter_region", region))


SCHEME = MaskingScheme(hide=hide, ratio=1.0, allows=allows)

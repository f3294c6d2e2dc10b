"""Hide neurons at random (MtM, NeurIPS 2024, section 3)."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, draw, mask


def hide_neurons(counts: Tensor, *, ratio: float, generator: torch.Generator) -> Masked:
    """Hide all bins of each (trial, neuron) with probability `ratio`: scheme `neuron`."""
    trial, _, neuron = counts.shape
    drawn = draw((trial, neuron), ratio=ratio, generator=generator)
    return mask(counts, rearrange(drawn, "trial neuron -> trial 1 neuron"))


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide neurons; see `MaskingScheme.hide`."""
    return hide_neurons(counts, ratio=options.ratio, generator=generator)


SCHEME = MaskingScheme(hide=hide)

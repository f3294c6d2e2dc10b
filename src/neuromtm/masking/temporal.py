"""Hide whole bins at random, the objective of NDT (Ye & Pandarinath 2021)."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, draw, mask


def hide_bins(counts: Tensor, *, ratio: float, generator: torch.Generator) -> Masked:
    """Hide all neurons of each (trial, bin) with probability `ratio`: schemes `temporal` and `causal`."""
    trial, bin_, _ = counts.shape
    drawn = draw((trial, bin_), ratio=ratio, generator=generator)
    return mask(counts, rearrange(drawn, "trial bin -> trial bin 1"))


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide bins; see `MaskingScheme.hide`."""
    return hide_bins(counts, ratio=options.ratio, generator=generator)


SCHEME = MaskingScheme(hide=hide)

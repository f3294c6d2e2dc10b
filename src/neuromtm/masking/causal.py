"""Hide whole bins at random, and let a bin see only itself and the past (MtM, NeurIPS 2024, section 3)."""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking import temporal
from neuromtm.masking.masked import Masked, MaskingScheme, Options, mask


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide bins here and there, or in a share of the trials the last ones in one block; see `MaskingScheme.hide`."""
    masked = temporal.hide(counts, region, options, generator)
    if not options.trailing_blocks:
        return masked
    n_trials, n_bins, _ = counts.shape
    chance = torch.rand(2, n_trials, 1, generator=generator, device=generator.device)
    # 1 to half of the bins, all equally likely
    n_shown = n_bins - 1 - (chance[0] * max(1, n_bins // 2)).long()
    last = torch.arange(n_bins, device=generator.device) >= n_shown
    hidden = torch.where(chance[1] < options.trailing_blocks, last, masked.hidden[:, :, 0])
    return mask(counts, rearrange(hidden, "trial bin -> trial bin 1"))


SCHEME = MaskingScheme(hide=hide, ratio=0.6, causal=True)

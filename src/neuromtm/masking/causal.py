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
    chosen, last = draw_last_bins(n_trials, n_bins, share=options.trailing_blocks, generator=generator)
    hidden = torch.where(chosen, last, masked.hidden[:, :, 0])
    return mask(counts, rearrange(hidden, "trial bin -> trial bin 1"))


def draw_last_bins(n_trials: int, n_bins: int, *, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw blocks of last bins, of 1 to half of the bins, all lengths equally likely.

    Args:
        n_trials: number of trials.
        n_bins: bins of a trial.
        share: of the trials whose last bins are to be hidden.
        generator: source of the draws, whose device they are on.

    Returns:
        (trial, 1) bool, the trials chosen; (trial, bin) bool, the last bins of every trial.
    """
    chance = torch.rand(2, n_trials, 1, generator=generator, device=generator.device)
    n_shown = n_bins - 1 - (chance[0] * max(1, n_bins // 2)).long()
    return chance[1] < share, torch.arange(n_bins, device=generator.device) >= n_shown


SCHEME = MaskingScheme(hide=hide, ratio=0.6, causal=True)

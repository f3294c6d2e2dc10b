"""Hide groups of neighbouring neurons, each in one bin, the objective of NDT2 (Ye et al. 2023)."""

import torch
from einops import repeat
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.masked import Masked, MaskingScheme, Options, draw, mask


def hide_tokens(counts: Tensor, *, ratio: float, neurons_per_token: int, generator: torch.Generator) -> Masked:
    """Hide each (trial, bin, group of neighbouring neurons) with probability `ratio`: scheme `random_token`."""
    trial, bin_, neuron = counts.shape
    n_groups = -(-neuron // neurons_per_token)
    drawn = draw((trial, bin_, n_groups), ratio=ratio, generator=generator)
    hidden = repeat(drawn, "trial bin group -> trial bin (group member)", member=neurons_per_token)
    return mask(counts, hidden[..., :neuron])


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide tokens; see `MaskingScheme.hide`."""
    return hide_tokens(counts, ratio=options.ratio, neurons_per_token=options.neurons_per_token, generator=generator)


SCHEME = MaskingScheme(hide=hide)

"""Hide the neurons that the source of the data holds out, as in co-smoothing of the Neural Latents Benchmark.

Source: Pei et al. 2021, Neural Latents Benchmark, section 3.2: held-out neurons are predicted from held-in ones.
"""

import torch
from einops import rearrange
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.masking.causal import draw_last_bins
from neuromtm.masking.masked import Masked, MaskingScheme, Options, mask


def hide_heldout(counts: Tensor, heldout: Tensor, *, n_last_bins: int = 0) -> Masked:
    """Hide all bins of the held-out neurons, and of all neurons the last bins: what the benchmark predicts.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        heldout: (neuron,) bool.
        n_last_bins: how many, the forward bins.
    """
    last = torch.arange(counts.shape[1], device=counts.device) >= counts.shape[1] - n_last_bins
    return mask(counts, rearrange(heldout, "neuron -> 1 1 neuron") | rearrange(last, "bin -> 1 bin 1"))


def hide(counts: Tensor, region: RegionIndex, options: Options, generator: torch.Generator) -> Masked:
    """Hide the held-out neurons, and in a share of the trials the last bins of all neurons; see `MaskingScheme.hide`.

    Only the last bins are drawn.
    """
    assert region.heldout is not None  # `allows` says so
    hidden = rearrange(region.heldout, "neuron -> 1 1 neuron")
    if options.trailing_blocks:
        n_trials, n_bins, _ = counts.shape
        chosen, last = draw_last_bins(n_trials, n_bins, share=options.trailing_blocks, generator=generator)
        hidden = hidden | rearrange(chosen & last, "trial bin -> trial bin 1")
    return mask(counts, hidden)


def allows(region: RegionIndex) -> bool:
    """Whether the source holds out some of the session's neurons, but not all."""
    return region.heldout is not None


SCHEME = MaskingScheme(hide=hide, ratio=1.0, allows=allows)

"""Masking schemes as pure functions: counts, regions and a generator in, a `Masked` out; nothing is changed.

Source: MtM, NeurIPS 2024, section 3 (neuron, causal, intra-region, inter-region masking); temporal masking is
the objective of NDT (Ye & Pandarinath 2021), random tokens that of NDT2 (Ye et al. 2023).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from neuromtm.batch import Scheme

MTM: tuple[Scheme, ...] = ("neuron", "causal", "intra_region", "inter_region")


class Masked(NamedTuple):
    """What a scheme makes of a session's trials."""

    visible: Tensor
    """(trial, bin, neuron) counts, hidden entries set to 0"""
    hidden: Tensor
    """(trial, bin, neuron) bool, the entries the model does not see"""
    target: Tensor
    """(trial, bin, neuron) bool, the hidden entries that the loss scores"""


def mask(counts: Tensor, hidden: Tensor, target: Tensor | None = None) -> Masked:
    """Hide entries.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        hidden: bool, broadcastable to `counts`.
        target: bool, likewise; by default every hidden entry.
    """
    hidden = hidden.expand_as(counts)
    return Masked(counts.masked_fill(hidden, 0), hidden, hidden if target is None else target.expand_as(counts))


def hide_bins(counts: Tensor, *, ratio: float, generator: torch.Generator) -> Masked:
    """Hide each (trial, bin) with all its neurons with probability `ratio`: schemes `temporal` and `causal`."""
    trial, bin_, _ = counts.shape
    drawn = draw((trial, bin_), ratio=ratio, generator=generator)
    return mask(counts, rearrange(drawn, "trial bin -> trial bin 1").to(counts.device))


def hide_neurons(counts: Tensor, *, ratio: float, generator: torch.Generator) -> Masked:
    """Hide each (trial, neuron) with all its bins with probability `ratio`: scheme `neuron`."""
    trial, _, neuron = counts.shape
    drawn = draw((trial, neuron), ratio=ratio, generator=generator)
    return mask(counts, rearrange(drawn, "trial neuron -> trial 1 neuron").to(counts.device))


def hide_tokens(counts: Tensor, *, ratio: float, neurons_per_token: int, generator: torch.Generator) -> Masked:
    """Hide each (trial, bin, group of neighbouring neurons) with probability `ratio`: scheme `random_token`."""
    trial, bin_, neuron = counts.shape
    n_groups = -(-neuron // neurons_per_token)
    drawn = draw((trial, bin_, n_groups), ratio=ratio, generator=generator)
    hidden = repeat(drawn, "trial bin group -> trial bin (group member)", member=neurons_per_token)
    return mask(counts, hidden[..., :neuron].to(counts.device))


def hide_within_region(
    counts: Tensor, region: Tensor, *, drawn_region: int, ratio: float, generator: torch.Generator
) -> Masked:
    """Show one region only, and hide each (trial, neuron) of it with probability `ratio`: `intra_region`.

    The loss scores the hidden neurons of the region, not what lies outside it.

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


def hide_region(counts: Tensor, region: Tensor, *, drawn_region: int) -> Masked:
    """Hide all neurons of one region: `inter_region`."""
    return mask(counts, rearrange(region == drawn_region, "neuron -> 1 1 neuron"))


def show_one_region(counts: Tensor, region: Tensor, *, shown_region: int | None) -> Masked:
    """Show one region alone, or nothing, and score all others of known place: `inter_region` with region drop-out.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        region: (neuron,) number of each neuron's region, -1 unknown.
        shown_region: the region shown; None hides all of them.
    """
    shown = torch.zeros_like(region, dtype=torch.bool) if shown_region is None else region == shown_region
    target = (region >= 0) & ~shown
    return mask(counts, rearrange(~shown, "neuron -> 1 1 neuron"), rearrange(target, "neuron -> 1 1 neuron"))


def hide_last_bins(counts: Tensor, *, n_bins: int) -> Masked:
    """Hide the last `n_bins` bins of all neurons: the forward-prediction task at test."""
    last = torch.zeros(1, counts.shape[1], 1, dtype=torch.bool, device=counts.device)
    last[:, counts.shape[1] - n_bins :] = True
    return mask(counts, last)


def draw(shape: tuple[int, ...], *, ratio: float, generator: torch.Generator) -> Tensor:
    """Independent draws with probability `ratio`; never none at all, so that a loss always has a target."""
    drawn = torch.rand(shape, generator=generator) < ratio
    if not drawn.any():
        drawn.view(-1)[torch.randint(drawn.numel(), (1,), generator=generator)] = True
    return drawn


def known_regions(region: Tensor) -> list[int]:
    """The numbers of the known regions that a session has neurons of, in order."""
    return [int(r) for r in region.unique() if r >= 0]


def regions_for(scheme: Scheme, region: Tensor) -> list[int]:
    """The regions that a region scheme can draw, in order.

    `intra_region` needs two neurons of a region (one to hide, one to see), `inter_region` a neuron outside it
    (known or not) that can be seen. Neurons of unknown region (-1) are never drawn.
    """
    found = known_regions(region)
    if scheme == "intra_region":
        return [r for r in found if (region == r).sum() >= 2]
    if scheme == "inter_region":
        return [r for r in found if (region != r).any()]
    return found


def applicable(schemes: Sequence[Scheme], regions: Sequence[Tensor]) -> list[Scheme]:
    """The schemes that every one of the sessions allows: a session of one region has no `inter_region`."""
    needs_region = ("intra_region", "inter_region")
    return [s for s in schemes if s not in needs_region or all(regions_for(s, region) for region in regions)]

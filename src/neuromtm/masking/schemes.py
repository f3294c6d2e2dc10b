"""Masking schemes as pure functions. They take counts, regions and a generator, and return a `Masked`.

Source: MtM, NeurIPS 2024, section 3 (neuron, causal, intra-region, inter-region masking). Temporal masking is the
objective of NDT (Ye & Pandarinath 2021); masking of random tokens is the objective of NDT2 (Ye et al. 2023).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from einops import rearrange, repeat
from torch import Tensor

from neuromtm.batch import Scheme

MTM: tuple[Scheme, ...] = ("neuron", "causal", "intra_region", "inter_region")


class Masked(NamedTuple):
    """A session's trials after a scheme was applied."""

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
        target: bool, broadcastable to `counts`; by default every hidden entry.
    """
    hidden = hidden.expand_as(counts)
    return Masked(counts.masked_fill(hidden, 0), hidden, hidden if target is None else target.expand_as(counts))


def hide_bins(counts: Tensor, *, ratio: float, generator: torch.Generator) -> Masked:
    """Hide all neurons of each (trial, bin) with probability `ratio`: schemes `temporal` and `causal`."""
    trial, bin_, _ = counts.shape
    drawn = draw((trial, bin_), ratio=ratio, generator=generator)
    return mask(counts, rearrange(drawn, "trial bin -> trial bin 1").to(counts.device))


def hide_neurons(counts: Tensor, *, ratio: float, generator: torch.Generator) -> Masked:
    """Hide all bins of each (trial, neuron) with probability `ratio`: scheme `neuron`."""
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

    The loss scores the hidden neurons of the region. Neurons outside the region are hidden but not scored.

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
    """Show one region alone, or nothing, and score all other known regions: `inter_region` with region drop-out.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        region: (neuron,) number of each neuron's region, -1 unknown.
        shown_region: the region shown; None hides all neurons.
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
    """Draw each entry independently with probability `ratio`; at least one is drawn, so that a loss has a target."""
    drawn = torch.rand(shape, generator=generator) < ratio
    if not drawn.any():
        drawn.view(-1)[torch.randint(drawn.numel(), (1,), generator=generator)] = True
    return drawn


def known_regions(region: Tensor) -> list[int]:
    """The numbers of a session's known regions, in ascending order."""
    return [int(r) for r in region.unique() if r >= 0]


def regions_for(scheme: Scheme, region: Tensor) -> list[int]:
    """The regions that a region scheme can draw, in ascending order.

    `intra_region` needs two neurons in the region: one to hide and one to show. `inter_region` needs a neuron outside
    the region to show; the region of that neuron may be unknown. Neurons of unknown region (-1) are never drawn.
    """
    found = known_regions(region)
    if scheme == "intra_region":
        return [r for r in found if (region == r).sum() >= 2]
    if scheme == "inter_region":
        return [r for r in found if (region != r).any()]
    return found


def applicable(schemes: Sequence[Scheme], regions: Sequence[Tensor]) -> list[Scheme]:
    """The schemes that all of the sessions allow. A session of one region, for example, has no `inter_region`."""
    needs_region = ("intra_region", "inter_region")
    return [s for s in schemes if s not in needs_region or all(regions_for(s, region) for region in regions)]

"""What a masking scheme is, and the pieces that schemes are made of.

A scheme is one file of this folder, `masking/NAME.py`, which holds a `MaskingScheme` by the name `SCHEME`. All is pure
functions: counts, regions and a generator in, a `Masked` out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from neuromtm.batch import RegionIndex


class Masked(NamedTuple):
    """A session's trials after a scheme was applied."""

    visible: Tensor
    """(trial, bin, neuron) counts, hidden entries set to 0"""
    hidden: Tensor
    """(trial, bin, neuron) bool, the entries the model does not see"""
    target: Tensor
    """(trial, bin, neuron) bool, the hidden entries that the loss scores"""


class Options(NamedTuple):
    """What an objective sets for a scheme."""

    ratio: float
    """share to hide"""
    neurons_per_token: int
    """neurons in a token"""
    region_dropout: float
    """probability of region drop-out, see `Objective`"""
    trailing_blocks: float = 0.0
    """share of the trials in which `causal` and `heldout` hide the last bins in one block, see `Objective`"""
    region_per_trial: bool = False
    """whether each trial has a region drawn for itself, and not all trials the same one"""


def every_session(region: RegionIndex) -> bool:
    """Allow any session."""
    return True


@dataclass(frozen=True, kw_only=True)
class MaskingScheme:
    """A masking scheme."""

    hide: Callable[[Tensor, RegionIndex, Options, torch.Generator], Masked]
    """(trial, bin, neuron) counts, the neurons' regions, options, source of every draw -> what is hidden and scored.
    What is drawn depends on the shape of the counts and not on their values. The generator is on the device of the
    counts. A scheme reads nothing back from the device: it draws there, and
    what it must know of the regions is in `RegionIndex.sizes`."""
    ratio: float = 0.3
    """share to hide by default; 1 for a scheme that hides all of what it draws"""
    causal: bool = False
    """whether a bin sees only itself and earlier bins"""
    behavior: Literal["hidden", "shown", "target"] = "hidden"
    """what becomes of the traces of behaviour that a model reads: `hidden` and not scored, `shown`, or hidden and the
    `target`. A model that reads none cannot be trained with a scheme of the last two kinds."""
    allows: Callable[[RegionIndex], bool] = every_session
    """the regions of a session's neurons -> whether the scheme can be used on it"""


def mask(counts: Tensor, hidden: Tensor, target: Tensor | None = None) -> Masked:
    """Hide entries.

    Args:
        counts: (trial, bin, neuron) spikes per bin.
        hidden: bool, broadcastable to `counts`.
        target: bool, broadcastable to `counts`; by default every hidden entry.
    """
    hidden = hidden.expand_as(counts)
    return Masked(counts.masked_fill(hidden, 0), hidden, hidden if target is None else target.expand_as(counts))


def draw(shape: tuple[int, ...], *, ratio: float, generator: torch.Generator, among: Tensor | None = None) -> Tensor:
    """Draw each entry independently with probability `ratio`; at least one is drawn, so that a loss has a target.

    Args:
        shape: of the draw.
        ratio: probability of an entry.
        generator: source of the draw, whose device the draw is on.
        among: bool, broadcastable to `shape`: the entries that can be drawn; by default all.
    """
    chance = torch.rand(shape, generator=generator, device=generator.device)
    if among is not None:
        chance = chance.masked_fill(~among, 2.0)
    # to ask whether any was drawn would wait for the device; the least of all is drawn in any case
    return chance <= chance.min().clamp(min=ratio)


def hide_last_bins(counts: Tensor, *, n_bins: int) -> Masked:
    """Hide the last `n_bins` bins of all neurons: the forward-prediction task at test."""
    last = torch.zeros(1, counts.shape[1], 1, dtype=torch.bool, device=counts.device)
    last[:, counts.shape[1] - n_bins :] = True
    return mask(counts, last)

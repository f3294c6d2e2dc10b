"""The cost of what a masking scheme hides: the loss of masked modelling before it is divided by the targets."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neuromtm.batch import Scheme, SessionGroup
from neuromtm.masking.masked import Masked
from neuromtm.masking.schemes import SCHEMES
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.stitching import StitchedModel, VisibleGroup

LEAST_MEAN_COUNT = 0.01


class MaskedCost(NamedTuple):
    """The cost of some trials. All are scalars on the device."""

    total: Tensor
    """sum of `poisson_nll` over the targets, in nats; where a scheme scores behaviour, that of its weighted cost"""
    n_targets: Tensor
    own_loss: Tensor | None
    """what the architecture adds, see `Output.own_loss`"""
    own_terms: Mapping[str, Tensor]
    """its parts, see `Output.own_terms`"""
    bits: Tensor | None = None
    """sum over the targets of the bits per spike that each gains over its neuron's mean count, see `bits_gained`; None
    if no mean counts were given or the scheme scores behaviour"""


def masked_cost(
    model: StitchedModel,
    groups: Sequence[SessionGroup],
    masked: Sequence[Masked],
    scheme: Scheme,
    *,
    weights: Mapping[str, float] | None = None,
    behavior_weight: float = 1.0,
    mean_counts: Mapping[str, Tensor] | None = None,
) -> MaskedCost:
    """Predict what is hidden, and sum the cost over the targets. Nothing is read back from the device.

    A scheme scores either neurons or behaviour, so the sum is of one kind of cost.

    Args:
        model: that predicts.
        groups: the trials of each session.
        masked: what is hidden of them.
        scheme: that hid it.
        weights: eid -> what the cost of the session's neurons is multiplied by; by default 1. What the architecture
            adds is multiplied by their mean over the sessions.
        behavior_weight: see `Objective`.
        mean_counts: eid -> (neuron,) mean spikes per bin in the training trials, above 0, for `MaskedCost.bits`.
    """
    names, role = model.backbone.behaviors, SCHEMES[scheme].behavior
    shown = [g.traces(names) if names and role == "shown" else None for g in groups]
    visible = [
        VisibleGroup(g.eid, m.visible, m.hidden, g.n_active, traces)
        for g, m, traces in zip(groups, masked, shown, strict=True)
    ]
    output = model(visible, scheme)
    if output.traces is not None and role == "target":
        true = [model.traces_of(g.eid)(g.traces(names)) for g in groups]
        total, n_targets = behavior_cost(*map(_in_a_row, (output.traces, true)))
        return MaskedCost(behavior_weight * total, n_targets, output.own_loss, output.own_terms or {})
    # entries of all groups in a row: a few kernels for all of them, and not a few for each
    log_rates, counts, target = (
        _in_a_row(parts) for parts in (output.log_rates, [g.counts for g in groups], [m.target for m in masked])
    )
    cost, own_loss, bits = poisson_nll(log_rates, counts), output.own_loss, None
    if mean_counts is not None:
        means = _in_a_row([mean_counts[g.eid].expand(g.counts.shape) for g in groups])
        bits = bits_gained(cost, counts, means).masked_fill(~target, 0.0).sum()
    if weights is not None:
        of_groups = [weights[group.eid] for group in groups]
        # filled on the device: to send a list there would make the host wait
        filled = [torch.full_like(g.counts, w, dtype=cost.dtype) for g, w in zip(groups, of_groups, strict=True)]
        cost = cost * _in_a_row(filled)
        own_loss = None if own_loss is None else own_loss * (sum(of_groups) / len(of_groups))
    return MaskedCost(cost.masked_fill(~target, 0.0).sum(), target.sum(), own_loss, output.own_terms or {}, bits)


def bits_gained(cost: Tensor, counts: Tensor, mean_counts: Tensor) -> Tensor:
    """How many bits each entry gains over predicting its neuron's mean count, per spike that it has on average.

    The mean over a neuron's entries is about its bits per spike, and the mean over all entries that of all neurons,
    where a neuron that hardly fires weighs as much as one that fires a lot. In the mean of `poisson_nll` the latter
    outweighs the others.

    Args:
        cost: `poisson_nll` of the entries, of any shape.
        counts: of the same shape, their spikes.
        mean_counts: of the same shape, the mean count of each entry's neuron; what is below 0.01 counts as 0.01 where
            it divides, so that a neuron of a few spikes does not decide alone.

    Returns:
        Of the same shape.
    """
    null = poisson_nll(mean_counts.log(), counts)
    return (null - cost) / (mean_counts.clamp(min=LEAST_MEAN_COUNT) * math.log(2))


def behavior_cost(predicted: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """The cost of standardised traces under a Gaussian of variance 1, in nats without its constant.

    Args:
        predicted: expected traces, of any shape.
        true: of the same shape, NaN where missing; these entries cost nothing and get no gradient.

    Returns:
        The sum of half the squared error over the known entries, and their number.
    """
    known = ~true.isnan()
    # NaN is replaced before the square, not after it, or it would come back in the gradient
    error = (predicted.to(true.dtype) - true.nan_to_num(0.0)).masked_fill(~known, 0.0)
    return error.square().sum() / 2, known.sum()


def _in_a_row(parts: Sequence[Tensor]) -> Tensor:
    """(entry,) the entries of all groups; of one group as they are."""
    return parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])

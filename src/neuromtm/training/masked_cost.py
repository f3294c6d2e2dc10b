"""The cost of what a masking scheme hides: the loss of masked modelling before it is divided by the targets."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neuromtm.batch import Scheme, SessionGroup
from neuromtm.masking.masked import Masked
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.stitching import StitchedModel, VisibleGroup


class MaskedCost(NamedTuple):
    """The cost of some trials. All are scalars on the device."""

    total: Tensor
    """sum of `poisson_nll` over the targets, in nats"""
    n_targets: Tensor
    own_loss: Tensor | None
    """what the architecture adds, see `Output.own_loss`"""
    own_terms: Mapping[str, Tensor]
    """its parts, see `Output.own_terms`"""


def masked_cost(
    model: StitchedModel,
    groups: Sequence[SessionGroup],
    masked: Sequence[Masked],
    scheme: Scheme,
    *,
    weights: Mapping[str, float] | None = None,
) -> MaskedCost:
    """Predict what is hidden, and sum the cost over the targets. Nothing is read back from the device.

    Args:
        model: that predicts.
        groups: the trials of each session.
        masked: what is hidden of them.
        scheme: that hid it.
        weights: eid -> what the session's cost is multiplied by; by default 1. What the architecture adds is
            multiplied by their mean over the sessions.
    """
    visible = [VisibleGroup(g.eid, m.visible, m.hidden, g.n_active) for g, m in zip(groups, masked, strict=True)]
    output = model(visible, scheme)
    # entries of all groups in a row: a few kernels for all of them, and not a few for each
    log_rates, counts, target = (
        _in_a_row(parts) for parts in (output.log_rates, [g.counts for g in groups], [m.target for m in masked])
    )
    cost, own_loss = poisson_nll(log_rates, counts), output.own_loss
    if weights is not None:
        of_groups = [weights[group.eid] for group in groups]
        # filled on the device: to send a list there would make the host wait
        filled = [torch.full_like(g.counts, w, dtype=cost.dtype) for g, w in zip(groups, of_groups, strict=True)]
        cost = cost * _in_a_row(filled)
        own_loss = None if own_loss is None else own_loss * (sum(of_groups) / len(of_groups))
    return MaskedCost(cost.masked_fill(~target, 0.0).sum(), target.sum(), own_loss, output.own_terms or {})


def _in_a_row(parts: Sequence[Tensor]) -> Tensor:
    """(entry,) the entries of all groups; of one group as they are."""
    return parts[0] if len(parts) == 1 else torch.cat([part.reshape(-1) for part in parts])

"""What a model that reads behaviour encodes and decodes: neurons from behaviour alone, and behaviour from neurons."""

import torch
from torch import Tensor

from neuromtm.batch import SessionGroup
from neuromtm.evaluation.tasks import HeldOut
from neuromtm.models.stitching import StitchedModel, VisibleGroup


def encode_neurons(model: StitchedModel, group: SessionGroup) -> HeldOut:
    """Predict all neurons from the traces that the model reads; every neuron is hidden.

    Args:
        model: in evaluation mode, trained with the scheme `encoding`.
        group: some trials of one session.
    """
    hidden = torch.ones_like(group.counts, dtype=torch.bool)
    shown = VisibleGroup(
        group.eid, torch.zeros_like(group.counts), hidden, traces=group.traces(model.backbone.behaviors)
    )
    log_rates = model([shown], "encoding").log_rates[0]
    every = torch.arange(group.counts.shape[2], device=group.counts.device)
    return HeldOut(log_rates, group.counts, every)


def decode_traces(model: StitchedModel, group: SessionGroup) -> Tensor:
    """(trial, bin, trace) traces in their own units, predicted from all neurons; behaviour is hidden.

    Args:
        model: in evaluation mode, trained with the scheme `decoding`.
        group: some trials of one session. Its own traces are not looked at.
    """
    traces = model([VisibleGroup(group.eid, group.counts)], "decoding").traces
    assert traces is not None  # only a model that reads traces is trained with the scheme
    return model.traces_of(group.eid).undo(traces[0].float())

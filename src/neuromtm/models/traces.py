"""Traces of behaviour as channels of a model, beside the neurons: read in, hidden, and read out."""

import torch
from torch import Tensor, nn

from neuromtm.batch import TraceStatistics


class StandardiseTraces(nn.Module):
    """Traces of one session in standard deviations from their mean, over the session's training trials.

    Args:
        n_traces: number of traces.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, n_traces: int):
        super().__init__()
        # saved in checkpoints, which open without the data
        self.register_buffer("center", torch.zeros(n_traces))
        self.register_buffer("scale", torch.ones(n_traces))

    def measure(self, statistics: TraceStatistics) -> None:
        """Take over the statistics of the session's training trials."""
        self.center.copy_(statistics.mean)
        self.scale.copy_(statistics.deviation)

    def forward(self, traces: Tensor) -> Tensor:
        """(..., trace) in their own units -> in standard deviations; NaN stays NaN."""
        return (traces - self.center) / self.scale

    def undo(self, standardised: Tensor) -> Tensor:
        """(..., trace) in standard deviations -> in their own units."""
        return standardised * self.scale + self.center


class BehaviorChannels(nn.Module):
    """Linear maps between standardised traces and a model's width, which all sessions share.

    A neuron is another one in each session, but a trace is the same quantity in all: so a new session starts with maps
    that are trained. A training step may leave them out: most masking schemes hide behaviour and do not score it.

    Args:
        n_traces: number of traces.
        width: the model's width.
        state_size: numbers that describe a bin, see `Backbone.state_size`.
    """

    def __init__(self, *, n_traces: int, width: int, state_size: int):
        super().__init__()
        self.read_in = nn.Linear(n_traces, width, bias=False)
        self.read_out = nn.Linear(state_size, n_traces)
        nn.init.zeros_(self.read_out.weight)  # training starts at the mean of every trace
        nn.init.zeros_(self.read_out.bias)

    def drive(self, standardised: Tensor) -> Tensor:
        """(trial, bin, trace), NaN where hidden or missing -> (trial, bin, width), to which these add nothing."""
        return self.read_in(standardised.nan_to_num(0.0))

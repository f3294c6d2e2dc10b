"""Linear heads that decode behaviour from an architecture's states, trained together with it."""

import torch
from einops import rearrange
from torch import Tensor, nn


class TrialHead(nn.Module):
    """One prediction per trial from all of its bins.

    The inputs are divided by the square root of their number. An optimiser like Adam moves every weight by about the
    same amount, and with many inputs one step would otherwise move the output too far.

    Args:
        n_bins: bins per trial.
        state_size: `Backbone.state_size` of the architecture.
        n_outputs: number of classes, or 1 for a number.
    """

    def __init__(self, *, n_bins: int, state_size: int, n_outputs: int):
        super().__init__()
        self.linear = _untrained(n_bins * state_size, n_outputs)

    def forward(self, states: Tensor) -> Tensor:
        """(trial, bin, state) -> (trial, output)."""
        features = rearrange(states, "trial bin state -> trial (bin state)")
        return self.linear(features / features.shape[1] ** 0.5)


class BinHead(nn.Module):
    """One prediction per bin from that bin's state, by the same map for every bin.

    The state depends on the whole trial, unless the attention is causal.

    Args:
        state_size: `Backbone.state_size` of the architecture.
    """

    def __init__(self, *, state_size: int):
        super().__init__()
        self.linear = _untrained(state_size, 1)

    def forward(self, states: Tensor) -> Tensor:
        """(trial, bin, state) -> (trial, bin)."""
        return rearrange(self.linear(states), "trial bin 1 -> trial bin")


def _untrained(n_inputs: int, n_outputs: int) -> nn.Linear:
    """A linear map that starts at chance: all classes are equally likely, and every trace is at its mean."""
    linear = nn.Linear(n_inputs, n_outputs)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    return linear

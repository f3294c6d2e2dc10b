"""Linear heads that decode behaviour from an architecture's states, trained together with it."""

import torch
from einops import rearrange
from torch import Tensor, nn


class TrialHead(nn.Module):
    """One prediction a trial from all of its bins.

    The many inputs are divided by the square root of their number, so that one step of an optimiser like Adam, which
    moves every weight alike, does not move the output out of proportion.

    Args:
        n_bins: of a trial.
        state_size: of the architecture.
        n_outputs: classes, or 1 for a number.
    """

    def __init__(self, *, n_bins: int, state_size: int, n_outputs: int):
        super().__init__()
        self.linear = _untrained(n_bins * state_size, n_outputs)

    def forward(self, states: Tensor) -> Tensor:
        """(trial, bin, state) -> (trial, output)."""
        features = rearrange(states, "trial bin state -> trial (bin state)")
        return self.linear(features / features.shape[1] ** 0.5)


class BinHead(nn.Module):
    """One prediction a bin from that bin's state, the same map for every bin.

    The state has seen the whole trial, where the prompt's attention allows it.

    Args:
        state_size: of the architecture.
    """

    def __init__(self, *, state_size: int):
        super().__init__()
        self.linear = _untrained(state_size, 1)

    def forward(self, states: Tensor) -> Tensor:
        """(trial, bin, state) -> (trial, bin)."""
        return rearrange(self.linear(states), "trial bin 1 -> trial bin")


def _untrained(n_inputs: int, n_outputs: int) -> nn.Linear:
    """A linear map that begins at chance: every class alike, every trace its mean."""
    linear = nn.Linear(n_inputs, n_outputs)
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    return linear

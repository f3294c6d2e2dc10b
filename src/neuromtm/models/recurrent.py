"""Recurrent networks that read a trial in both directions."""

import torch
from einops import repeat
from torch import Tensor, nn


class Bidirectional(nn.Module):
    """A GRU in each direction, with learned initial states.

    Args:
        width: size of the input.
        size: state size of each direction.
    """

    no_decay = ("start",)  # by `training.optim`

    def __init__(self, width: int, size: int):
        super().__init__()
        self.forward_gru = nn.GRU(width, size, batch_first=True)
        self.backward_gru = nn.GRU(width, size, batch_first=True)
        self.start = nn.Parameter(torch.zeros(2, size))

    def forward(self, x: Tensor, *, causal: bool) -> Tensor:
        """(trial, bin, 2 size) states of both directions; if causal, the backward states are zeros."""
        ahead = self._run(x)
        back = torch.zeros_like(ahead) if causal else self._run_back(x)
        return torch.cat((ahead, back), dim=-1)

    def ends(self, x: Tensor) -> Tensor:
        """(trial, 2 size) the last state of each direction, which has read the whole trial."""
        return torch.cat((self._run(x)[:, -1], self._run_back(x)[:, 0]), dim=-1)

    def _run(self, x: Tensor) -> Tensor:
        return self.forward_gru(x, repeat(self.start[0], "size -> 1 trial size", trial=len(x)))[0]

    def _run_back(self, x: Tensor) -> Tensor:
        start = repeat(self.start[1], "size -> 1 trial size", trial=len(x))
        return self.backward_gru(x.flip(1), start)[0].flip(1)

"""Mean cost of the training objective, kept as sums over batches and ranks."""

import torch
from torch import Tensor

from neuromtm.metrics.sums import Sums


class MeanCost(Sums):
    """Mean cost of all target entries seen on all ranks.

    The sums are float64, so that the mean does not depend on the number of ranks or the size of batches.
    (torchmetrics' MeanMetric leaves out NaN; told not to, by `nan_strategy="disable"`, it ignores the weights.)
    """

    higher_is_better = False
    total: Tensor
    n_targets: Tensor

    def __init__(self):
        super().__init__()
        for name in ("total", "n_targets"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, total: Tensor, n_targets: Tensor) -> None:
        """Add entries.

        Args:
            total: sum of the entries' cost in nats.
            n_targets: number of entries.
        """
        self.total = self.total + total.detach().double()
        self.n_targets = self.n_targets + n_targets

    def compute(self) -> Tensor:
        """The mean in nats; NaN if there was no target, infinite if a cost was NaN because the rates diverged."""
        total = torch.where(self.total.isnan(), torch.inf, self.total)
        return torch.where(self.n_targets > 0, total / self.n_targets, torch.nan)

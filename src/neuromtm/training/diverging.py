"""Steps that diverge: they do not reach the weights, and the training stops or leaves them out."""

from dataclasses import dataclass
from typing import Literal

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, distributed, nn

from neuromtm.batch import Batch
from neuromtm.errors import ConfigError, TrainingError

OnNan = Literal["stop", "skip"]
"""what becomes of a training when a loss or a gradient is not a finite number"""
MOST_IN_A_ROW = 20
"""steps in a row that may be left out; a training that diverges longer does not come back"""


@dataclass(frozen=True)
class _Loss:
    """The loss of a batch, and where it is from."""

    step: int
    batch_idx: int
    doing: str
    eids: tuple[str, ...]
    value: Tensor

    def said(self, where: str) -> str:
        """What it is, and where: here, or on which rank."""
        return (
            f"the loss of step {self.step} is {self.value.item()} {where}, with {self.doing} of {', '.join(self.eids)} "
            f"(batch {self.batch_idx} of its epoch)"
        )


class DivergenceWatch:
    """Keeps steps that diverge from the weights, and tells of them.

    A step whose gradients are not all finite is left out by the fused optimiser on the device. What it left out is read
    only when `look` is called, because each reading makes a GPU wait.

    Args:
        policy: `stop`: the training ends. `skip`: it goes on without these steps, until 20 in a row diverge.
    """

    def __init__(self, policy: OnNan):
        if policy not in ("stop", "skip"):
            raise ConfigError(f"model: on_nan is {policy!r}, not stop or skip.")
        self.policy: OnNan = policy
        self.n_left_out = 0
        """steps that were left out, as far as they are known"""
        self._in_a_row = 0
        self._losses: list[_Loss] = []  # since the last look
        self._left_out: list[Tensor] = []  # a flag a step since then

    def add(self, loss: Tensor, batch: Batch, doing: str, *, step: int, batch_idx: int) -> None:
        """Remember the loss of a batch.

        Args:
            loss: on the device; it is not read.
            batch: its trials.
            doing: what is learned from them, for the message.
            step: number of the optimiser's step.
            batch_idx: number of the batch in its epoch.
        """
        eids = tuple(dict.fromkeys(group.eid for group in batch.groups))
        self._losses.append(_Loss(step, batch_idx, doing, eids, loss.detach()))

    def guard(self, optimizer: torch.optim.Optimizer, norm: Tensor | None = None) -> None:
        """Let the optimiser leave out its next step if a gradient is not finite. All ranks have the same gradients.

        An optimiser that is not fused belongs to a gradient scaler, which leaves out such steps by itself.

        Args:
            optimizer: of the step.
            norm: of all gradients, where it is known from clipping them.
        """
        if not optimizer.defaults.get("fused"):
            return
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if gradients:
            norm = nn.utils.get_total_norm(gradients) if norm is None else norm
            left_out = (~norm.isfinite()).float()
            optimizer.found_inf = left_out  # ty: ignore[missing-attribute]  # a fused optimiser of torch looks for it
            self._left_out.append(left_out)

    def look(self, trainer: lightning.Trainer) -> None:
        """Read what has been left out since the last look. All ranks must call this.

        Raises:
            TrainingError: on all ranks or on none. A rank that stopped alone would leave the others waiting.
        """
        losses, flags = self._losses, self._left_out
        self._losses, self._left_out = [], []
        if not losses:
            return
        finite = torch.stack([loss.value.float() for loss in losses]).isfinite()
        left_out = torch.stack(flags).bool() if flags else finite.new_zeros(0)
        if not trainer.strategy.reduce_boolean_decision(bool(~finite.all() | left_out.any()), all=False):
            self._in_a_row = 0
            return
        bad = next((loss for loss, good in zip(losses, finite.tolist(), strict=True) if not good), None)
        where = _of_any_rank(trainer, bad) or "a gradient is not finite, though the losses are finite"
        steps = left_out.tolist()
        self.n_left_out += sum(steps)
        self._in_a_row = steps[::-1].index(False) if False in steps else self._in_a_row + len(steps)
        kept = "No such step reached the weights, so the checkpoints are good."
        if self.policy == "stop":
            raise TrainingError(
                f"The training diverged: {where}. {kept} Lower model.lr, set trainer.gradient_clip_val, or leave such "
                "steps out by --model.on_nan skip."
            )
        if self._in_a_row >= MOST_IN_A_ROW:
            raise TrainingError(
                f"The training diverged: {self._in_a_row} steps in a row were left out. Of the last ones, {where}. "
                f"{kept} Lower model.lr, or set trainer.gradient_clip_val."
            )
        rank_zero_warn(f"A step is left out: {where}. So far {self.n_left_out} were left out.")


def _of_any_rank(trainer: lightning.Trainer, bad: _Loss | None) -> str | None:
    """What is said of a bad loss, of the first rank that has one; None if none has. All ranks must call this."""
    if trainer.world_size == 1:
        return None if bad is None else bad.said("here")
    found: list[str | None] = [None] * trainer.world_size
    distributed.all_gather_object(found, None if bad is None else bad.said(f"on rank {trainer.global_rank}"))
    return next(filter(None, found), None)

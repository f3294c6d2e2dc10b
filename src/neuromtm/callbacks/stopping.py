"""Ends a training between two steps, on all ranks together, when a signal asks one of them to end."""

from typing import Any

import lightning
import torch
from torch import distributed

from neuromtm.callbacks.checkpoints import LastCheckpoint
from neuromtm.training.stopping import Stopped, StopSignals


class StopBetweenSteps(lightning.Callback):
    """Raises `Stopped` between two steps when a signal has come, after `last.ckpt` was written.

    After each step the ranks ask each other for a signal, because it may reach only one of them, and whether
    `last.ckpt` is old: two bytes between the hosts, which no GPU waits for. A validation is given up between two of
    its batches; the run that goes on validates anew.

    Args:
        signals: what this rank has received.
        last: writes the checkpoint; None if none is wanted.
    """

    def __init__(self, signals: StopSignals, last: LastCheckpoint | None):
        self.signals, self.last = signals, last
        self.agreed: int | None = None
        """number of the signal that all ranks know of"""
        self._hosts: Any = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.agreed = None
        if trainer.world_size > 1 and distributed.get_backend() != "gloo":
            self._hosts = distributed.new_group(backend="gloo")
        self.signals.waits = True

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._stop_if_agreed(trainer)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx: int) -> None:
        self._stop_if_agreed(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if not trainer.fit_loop._should_accumulate():
            self._ask(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._give_up_validation(trainer)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._give_up_validation(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._ask(trainer)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._ask(trainer)
        self.signals.waits = False

    def on_exception(self, trainer: lightning.Trainer, pl_module, exception: BaseException) -> None:
        self.signals.waits = False
        launcher = trainer.strategy.launcher
        if isinstance(exception, Stopped) and not self.agreed and launcher is not None:
            launcher.kill(exception.signal)  # before the training, the ranks that this one started do not know of it

    def _give_up_validation(self, trainer: lightning.Trainer) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._ask(trainer)
        if trainer.global_step == trainer.max_steps:
            return  # it is finished: Lightning would not come back to a training without steps
        if self.agreed and self.last is not None:
            self.last.save_before_validation(trainer)
        self._stop_if_agreed(trainer)

    def _ask(self, trainer: lightning.Trainer) -> None:
        number, old = self.signals.received or 0, self.last is not None and self.last.is_old()
        if trainer.world_size > 1:
            found = torch.tensor([number, old], dtype=torch.uint8)
            distributed.all_reduce(found, op=distributed.ReduceOp.MAX, group=self._hosts)
            number, old = found.tolist()
        self.agreed = number or None
        if self.last is not None:
            self.last.stopping, self.last.due = bool(number), bool(old)

    def _stop_if_agreed(self, trainer: lightning.Trainer) -> None:
        if self.agreed:
            raise Stopped(self.agreed, self.done(trainer))

    def done(self, trainer: lightning.Trainer) -> str:
        """What the training has done and kept, as a part of a sentence."""
        done = f"step {trainer.global_step} is done"
        if self.last is None or not self.last.path.exists():
            return f"{done}, and no checkpoint is kept"
        return f"{done} and kept in {self.last.path}"

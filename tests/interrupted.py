"""Callbacks for runs in other processes: they write down what happens, and send signals at a chosen moment."""

import os
import signal
import subprocess
from pathlib import Path
from typing import Literal

import lightning


class Diary(lightning.Callback):
    """Adds a line for each step of this rank to `<folder>/steps-<rank>.txt`, and one for each validation.

    Args:
        folder: an existing folder.
    """

    def __init__(self, *, folder: str):
        self.folder = Path(folder)

    def _write(self, trainer: lightning.Trainer, *words: object) -> None:
        with (self.folder / f"steps-{trainer.global_rank}.txt").open("a") as file:
            print(*words, file=file)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        self._write(trainer, "step", trainer.global_step, outputs["loss"].item().hex(), lr)

    def on_validation_end(self, trainer, pl_module):
        if not trainer.sanity_checking:
            loss = trainer.callback_metrics["val/loss"].item().hex()
            self._write(trainer, "validation", trainer.global_step, loss, trainer.current_epoch)


class SignalAt(lightning.Callback):
    """Sends a signal to this process or, if `to_all`, to its whole process group, as Ctrl-C does.

    Args:
        signal: name, e.g. `SIGTERM`.
        step: after so many steps.
        during: when the training starts, in the next step, in a validation, or in a test or a prediction. In a step,
            the gradients are there and the weights have not moved yet.
        rank: the process that does it.
        to_all: whether the signal is sent to the whole process group.
    """

    def __init__(
        self,
        *,
        signal: str,
        step: int,
        during: Literal["start", "step", "validation", "test"] = "step",
        rank: int = 0,
        to_all: bool = False,
    ):
        self.signal, self.step, self.during, self.rank, self.to_all = signal, step, during, rank, to_all

    def _send(self, trainer: lightning.Trainer, during: str) -> None:
        if during == self.during and trainer.global_step == self.step and trainer.global_rank == self.rank:
            if self.to_all:  # by another process: a worker of a loader obeys this one
                kill = ["kill", "-s", self.signal.removeprefix("SIG"), "--", f"-{os.getpgrp()}"]
                subprocess.run(kill, check=True, start_new_session=True)
            else:
                os.kill(os.getpid(), signal.Signals[self.signal])

    def on_train_start(self, trainer, pl_module):
        self._send(trainer, "start")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self._send(trainer, "step")

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if not trainer.sanity_checking and batch_idx == 1:
            self._send(trainer, "validation")

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._send(trainer, "test")

    on_predict_batch_start = on_test_batch_start

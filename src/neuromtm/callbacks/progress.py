"""The progress bar of a run: it does not make a GPU wait, and it moves while the neurons of a session are left out."""

import math
import time
from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_info
from rich.progress import TaskID

LOSS = "train/loss"
VALIDATION = ("val/loss", "val/bits_per_spike")
"""what a line after a validation says"""

SHORT_NAMES = {
    "throughput/trials_per_s": "trials/s",
    "throughput/model_flops_utilization": "utilization",
    "throughput/data_wait_share": "data_wait",
}
"""what the bar calls a metric whose name would take too much of a line"""


class RunProgress(RichProgressBar):
    """Lightning's bar, with the training loss as it was at the last logged step.

    `self.log(..., prog_bar=True)` reads its value at every step, whatever the bar shows, and a GPU must wait for that.
    This bar looks itself, once in `trainer.log_every_n_steps`.

    A test shows how many pairs of a trial and a neuron were left out, and the time that the rest will take. Where the
    output is no terminal, as in a log, it says so in a line now and then. A training there prints a line after each
    validation and now and then: its step, its losses, and the time that the rest will take.

    Args:
        line_every_s: seconds from one such line of a test to the next.
        step_line_every_s: seconds from one such line of a training to the next.
        clock: tells seconds.
    """

    def __init__(
        self,
        *,
        line_every_s: float = 30.0,
        step_line_every_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        # so many times a second: Lightning's 100 would take time from the training
        super().__init__(refresh_rate=4)
        self._line_every_s, self._step_line_every_s, self._clock = line_every_s, step_line_every_s, clock
        self._loss: dict[str, float] = {}
        self._first_step = self._last_step = 0
        self._read_at = 0
        self._pairs: TaskID | None = None
        self._n_pairs = self._n_done = 0
        self._began_s = self._last_line_s = 0.0

    def get_metrics(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> dict[str, Any]:
        """What the bar shows of a training."""
        every = trainer.log_every_n_steps  # ty: ignore[missing-attribute]  # Lightning sets it
        step = trainer.global_step
        logged = every and step % every == 0 and step != self._read_at
        if logged and LOSS in trainer.callback_metrics:
            self._read_at = step  # where gradients are accumulated, several batches have the same step
            self._loss = {LOSS: trainer.callback_metrics[LOSS].item()}
        shown = {**super().get_metrics(trainer, pl_module), **self._loss}
        return {SHORT_NAMES.get(name, name): value for name, value in shown.items()}

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._loss, self._read_at = {}, 0
        self._first_step = self._last_step = trainer.global_step
        self._began_s = self._last_line_s = self._clock()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if self._in_a_log and self._clock() - self._last_line_s >= self._step_line_every_s:
            self._print_step(trainer, self._loss)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        super().on_validation_end(trainer, pl_module)
        if self._in_a_log and trainer.state.fn == "fit" and not trainer.sanity_checking:
            found = {
                name: trainer.callback_metrics[name].item() for name in VALIDATION if name in trainer.callback_metrics
            }
            self._print_step(trainer, self._loss | found)

    @property
    def _in_a_log(self) -> bool:
        return self.is_enabled and self.progress is not None and not self.progress.console.is_terminal

    def _print_step(self, trainer: lightning.Trainer, values: dict[str, float]) -> None:
        step, total, now_s = trainer.global_step, trainer.estimated_stepping_batches, self._clock()
        if step == self._last_step and not values:
            return
        line = f"Step {step:,}" + (f" of {total:,}" if math.isfinite(total) else "")
        line += "".join(f", {name} {value:.4f}" for name, value in values.items())
        if math.isfinite(total) and self._first_step < step < total:
            left_s = (now_s - self._began_s) / (step - self._first_step) * (total - step)
            line += f"; {_time(left_s)} to go"
        rank_zero_info(f"{line}.")
        self._last_step, self._last_line_s = step, now_s

    def begin_pairs(self, n_pairs: int) -> None:
        """Begin to leave neurons out.

        Args:
            n_pairs: pairs of a trial and a neuron that this process will leave out.
        """
        self._n_pairs, self._n_done, self._pairs = n_pairs, 0, None
        self._began_s = self._last_line_s = self._clock()
        if self.is_enabled and self.progress is not None and self.progress.console.is_terminal:
            self._pairs = self._add_task(n_pairs, "Neurons left out")

    def advance_pairs(self, n_pairs: int) -> None:
        """Count pairs that were left out."""
        self._n_done += n_pairs
        if self.is_disabled:
            return
        if self._pairs is not None:
            assert self.progress is not None
            self.progress.update(self._pairs, advance=n_pairs)
            self.refresh()
            return
        now_s = self._clock()
        if now_s - self._last_line_s >= self._line_every_s and self._n_done < self._n_pairs:
            self._last_line_s = now_s
            left_s = (now_s - self._began_s) * (self._n_pairs - self._n_done) / self._n_done
            rank_zero_info(f"Neurons left out in turn: {self._n_done / self._n_pairs:.0%}, {_time(left_s)} to go.")


def _time(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"


def progress_of(trainer: lightning.Trainer) -> RunProgress | None:
    """The trainer's bar, if it is one of these."""
    bar = trainer.progress_bar_callback
    return bar if isinstance(bar, RunProgress) else None

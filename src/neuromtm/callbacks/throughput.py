"""How fast training goes, how much of the device's speed it uses, and how long it waits for data."""

import time
from collections import Counter
from collections.abc import Callable

import lightning
import torch

from neuromtm.batch import Batch
from neuromtm.data.datamodule import data_of
from neuromtm.data.loader import ResumableLoader
from neuromtm.training.flops import TrialFlops, matrix_rate, precision_of
from neuromtm.training.masked_modeling import MaskedModeling


class Throughput(lightning.Callback):
    """Logs the speed of the steps since the last logging, once in `trainer.log_every_n_steps`.

    - `throughput/trials_per_s`: trials a second of all ranks together.
    - `throughput/model_flops_utilization`: the model's own matrix products a second, as a share of what the device can
      do of them; see `TrialFlops` and `matrix_rate`.
    - `throughput/data_wait_share`: share of the time in which the training loop waits for the loader's next batch.

    Validation does not count, nor the first batch after it. A GPU works behind the program that drives it; the clock is
    read after the GPU has caught up, which happens here only when values are logged and when validation begins.
    The time of moving a batch to a GPU is not waiting for data.

    Without a known number of FLOPs there is no utilization: for spike tokens, LFADS and decoders. Lightning's own
    `ThroughputMonitor` is not used: it makes a GPU catch up at every batch, takes every batch to be of the same FLOPs,
    and looks the rate up in a table without CPUs.

    Args:
        clock: tells seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter):
        self._clock = clock
        self._flops: TrialFlops | None = None
        self._flops_per_s = 0.0
        self._last_step = 0
        self._begin_window()
        self._resumed_at: tuple[float, float] | None = None  # clock and waiting when counting went on; None in a pause

    def _begin_window(self) -> None:
        self._elapsed_s, self._waited_s = 0.0, 0.0
        self._n_trials: Counter[str] = Counter()  # eid -> trials

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begin_window()
        self._resumed_at, self._last_step, self._flops = None, trainer.global_step, None
        # Lightning sets it, and its class does not say so
        logs = trainer.log_every_n_steps > 0  # ty: ignore[missing-attribute]
        if logs and isinstance(pl_module, MaskedModeling):
            data = data_of(trainer)
            scheme = pl_module.known_objective.schemes[0]
            backbone = pl_module.built_model.backbone
            flops = TrialFlops(backbone, data.sessions.values(), n_bins=data.n_bins, scheme=scheme)
            if flops.known:
                self._flops = flops
                self._flops_per_s = matrix_rate(pl_module.device, precision_of(str(trainer.precision)))

    def on_train_batch_start(self, trainer, pl_module, batch: Batch, batch_idx: int) -> None:
        if self._resumed_at is None:
            self._resumed_at = self._clock(), _waited_s(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch: Batch, batch_idx: int) -> None:
        for group in batch.groups:
            self._n_trials[group.eid] += len(group.trial)
        every_n_steps, step = trainer.log_every_n_steps, trainer.global_step
        if step == self._last_step:  # gradients are accumulated
            return
        self._last_step = step
        if every_n_steps and step % every_n_steps == 0:
            self._pause(trainer, pl_module)
            self._log(trainer, pl_module)
            self._begin_window()
            self._resumed_at = self._clock(), _waited_s(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._resumed_at is not None:
            self._pause(trainer, pl_module)

    def _pause(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert self._resumed_at is not None
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize(pl_module.device)
        started_s, waited_s = self._resumed_at
        self._elapsed_s += self._clock() - started_s
        self._waited_s += _waited_s(trainer) - waited_s
        self._resumed_at = None

    def _log(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        values = {"trials_per_s": self._n_trials.total() * trainer.world_size / self._elapsed_s}
        if isinstance(trainer.train_dataloader, ResumableLoader):
            values["data_wait_share"] = self._waited_s / self._elapsed_s
        if self._flops is not None:
            # one rank's operations over one rank's rate, which is the same as those of all ranks
            values["model_flops_utilization"] = self._flops.of(self._n_trials) / self._elapsed_s / self._flops_per_s
        for name, value in values.items():
            # a tensor on the CPU: showing it asks nothing of a GPU
            pl_module.log(f"throughput/{name}", torch.tensor(value), prog_bar=True)


def _waited_s(trainer: lightning.Trainer) -> float:
    """Seconds for which the training loop has waited for batches so far."""
    loader = trainer.train_dataloader
    return loader.waited_s if isinstance(loader, ResumableLoader) else 0.0

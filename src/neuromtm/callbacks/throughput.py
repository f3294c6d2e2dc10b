"""How fast training goes."""

import time

import lightning

from neuromtm.batch import Batch


class Throughput(lightning.Callback):
    """Logs `throughput/trials_per_s` of all ranks together, over the steps since the last logging.

    The time of validation does not count.
    """

    def __init__(self):
        self._started_s = 0.0
        self._n_trials = 0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restart()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._restart()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch: Batch, batch_idx: int) -> None:
        self._n_trials += batch.n_trials
        if trainer.global_step % trainer.log_every_n_steps == 0:
            elapsed_s = time.perf_counter() - self._started_s
            trials_per_s = self._n_trials * trainer.world_size / elapsed_s
            pl_module.log("throughput/trials_per_s", trials_per_s, prog_bar=True)
            self._restart()

    def _restart(self) -> None:
        self._started_s, self._n_trials = time.perf_counter(), 0

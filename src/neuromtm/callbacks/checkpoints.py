"""The checkpoints that a run keeps: the best one by validation, and the last one to go on from."""

import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_info


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, the checkpoint of the least validation loss.

    Args:
        folder: folder of the checkpoints.
    """

    def __init__(self, folder: Path):
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor="val/loss",
            mode="min",
            enable_version_counter=False,
            # right after a validation, so that a `last.ckpt` written then knows the best one
            save_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the least loss so far, even if the run directory was moved since."""
        assert self.dirpath is not None  # it was given
        best = Path(self.dirpath) / "best.ckpt"
        if not best.exists():  # the checkpoint is of another run, whose best one is not here
            return
        state_dict = state_dict | {"dirpath": self.dirpath, "kth_best_model_path": str(best), "last_model_path": ""}
        scores = {str(best): score for score in state_dict["best_k_models"].values()}
        super().load_state_dict(state_dict | {"best_k_models": scores, "best_model_path": str(best)})


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which a stopped run goes on at the same batch.

    It is written after every validation and at the last step of a training. In between it is written at the end of an
    epoch or after a step, if the one before is old. Lightning's own `save_last` writes only when the best one improves.

    Args:
        folder: folder of the checkpoints.
        every_s: age in seconds from which the one before is old.
    """

    def __init__(self, folder: Path, *, every_s: float = 300.0):
        self.folder, self.every_s = Path(folder), every_s
        self._saved_at_s = 0.0
        self._saved_step = -1

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._saved_at_s = time.monotonic()
        self._saved_step = trainer.global_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        # After the last batch of an epoch, saving waits for its end: a run that goes on must not miss its validation
        if trainer.fit_loop._should_accumulate() or trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        stops = trainer.should_stop or trainer.global_step == trainer.max_steps
        if stops or (trainer.global_step % trainer.log_every_n_steps == 0 and self._is_old(trainer)):
            self._save(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # an epoch that max_steps or a signal cut short ends here too: it was saved after its last batch
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        stops = trainer.should_stop or trainer.global_step == trainer.max_steps
        processed = trainer.fit_loop.epoch_progress.current.processed  # ty: ignore[missing-attribute]  # Lightning's own
        last = processed == trainer.max_epochs
        if stops or last or self._is_old(trainer):
            self._save(trainer)

    def on_exception(self, trainer: lightning.Trainer, pl_module, exception: BaseException) -> None:
        # nothing is saved here: the interrupt may have come in the middle of a step
        last = self.folder / "last.ckpt"
        if isinstance(exception, KeyboardInterrupt) and trainer.state.fn == "fit" and last.exists():
            rank_zero_info(f"Interrupted. Go on from {last} with --ckpt_path last.")

    def _is_old(self, trainer: lightning.Trainer) -> bool:
        old = time.monotonic() - self._saved_at_s >= self.every_s
        return old if trainer.world_size == 1 else trainer.strategy.broadcast(old)

    def _save(self, trainer: lightning.Trainer) -> None:
        quick = trainer.fast_dev_run  # ty: ignore[missing-attribute]  # Lightning sets it, but its class lacks it
        if self._saved_step == trainer.global_step or quick:
            return
        trainer.save_checkpoint(self.folder / "last.ckpt", weights_only=False)
        self._saved_step, self._saved_at_s = trainer.global_step, time.monotonic()

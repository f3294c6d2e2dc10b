"""The checkpoints that a run keeps: the best one by validation, and the last one to go on from."""

import math
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint
from torch import Tensor

from neuromtm.training.continuation import ENDED_EARLY

Criterion = Literal["val/loss", "val/bits_per_spike"]
"""what says which checkpoint is the best"""
MODES: dict[Criterion, str] = {"val/loss": "min", "val/bits_per_spike": "max"}
NEARLY = 0.002
"""bits per spike by which a later checkpoint may be below the most of a training, and is still preferred"""


class BestScore(NamedTuple):
    """How good a training is: the value of its best checkpoint."""

    metric: Criterion
    value: float

    @property
    def cost(self) -> float:
        """The value, with the sign changed if more is better."""
        return self.value if MODES[self.metric] == "min" else -self.value


class BestCheckpoint(ModelCheckpoint):
    """Keeps `best.ckpt`, the checkpoint that is best in validation.

    By bits per spike, it is the last one that reaches the most of the training within `NEARLY`. Where validation is
    level, the later weights are the better ones: the learning rate is lower, and they differ less from step to step.

    Args:
        folder: folder of the checkpoints.
        by: what is compared: the least loss, or the most bits per spike of what the validation masks hide.
    """

    def __init__(self, folder: Path, *, by: Criterion = "val/loss"):
        self.by: Criterion = by
        self.most = -math.inf
        """most bits per spike of the training so far"""
        super().__init__(
            dirpath=folder,
            filename="best",
            monitor=by,
            mode=MODES[by],
            enable_version_counter=False,
            # right after a validation, so that a `last.ckpt` written then knows the best one
            save_on_train_epoch_end=False,
        )

    def check_monitor_top_k(self, trainer: lightning.Trainer, current: Tensor | None = None) -> bool:
        """Whether a validation's weights are the best so far."""
        if self.by == "val/loss" or current is None:
            return super().check_monitor_top_k(trainer, current)
        self.most = max(self.most, float(current))
        return not self.best_k_models or float(current) >= self.most - NEARLY

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {"most": self.most}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the best so far, even if the run directory was moved since."""
        assert self.dirpath is not None  # it was given
        best = Path(self.dirpath) / "best.ckpt"
        if not best.exists():  # the checkpoint is of another run, whose best one is not here
            return
        state_dict = state_dict | {"dirpath": self.dirpath, "kth_best_model_path": str(best), "last_model_path": ""}
        scores = {str(best): score for score in state_dict["best_k_models"].values()}
        self.most = state_dict.get("most", -math.inf)
        super().load_state_dict(state_dict | {"best_k_models": scores, "best_model_path": str(best)})


class ValidatesLastEpoch(Callback):
    """Lets every training end with a validation, so that its last weights may be the best.

    Lightning validates every `check_val_every_n_epoch` epochs alone, and after no epoch that `max_steps` cuts short.
    """

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._look_ahead(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._look_ahead(trainer)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if trainer.global_step == trainer.max_steps:
            self._validate_this_epoch(trainer)
            trainer.should_stop = True  # it ends anyway; this lets Lightning validate in mid-epoch

    def _look_ahead(self, trainer: lightning.Trainer) -> None:
        if trainer.current_epoch + 1 == trainer.max_epochs:
            self._validate_this_epoch(trainer)

    def _validate_this_epoch(self, trainer: lightning.Trainer) -> None:
        if trainer.check_val_every_n_epoch is not None:  # else validations do not go by epochs
            trainer.check_val_every_n_epoch = 1


class LastCheckpoint(Checkpoint):
    """Keeps `last.ckpt`, from which a stopped run goes on at the same batch.

    It is written after every validation and at the last step of a training. In between it is written at the end of an
    epoch or after a step, if the one before is old. Lightning's own `save_last` writes only when the best one improves.

    Args:
        folder: folder of the checkpoints.
        every_s: age in seconds from which the one before is old. A run that is killed loses the steps since the one
            before, which is at most so old, a step and the time of writing older.
    """

    def __init__(self, folder: Path, *, every_s: float = 600.0):
        self.folder, self.every_s = Path(folder), every_s
        self.stopping = False
        """whether the training ends after this step, before its last one"""
        self.due = False
        """on several ranks: whether they agreed that the one before is old"""
        self._saved_at_s = 0.0
        self._saved_step = self._validated_step = -1

    @property
    def path(self) -> Path:
        """The checkpoint."""
        return self.folder / "last.ckpt"

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.stopping = self.due = False
        self._saved_at_s = time.monotonic()
        self._saved_step = trainer.global_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        loop = trainer.fit_loop.epoch_loop
        # Before a validation and after the last batch of an epoch, saving waits for their end: a run that goes on must
        # not miss the validation
        if loop._should_accumulate() or loop.batch_progress.is_last_batch or self._validates_next(trainer):
            return
        if self._ends(trainer) or self._is_due(trainer):
            self._save(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            # the batch at which a validation was given up counts no longer
            trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        self._validated_step = trainer.global_step
        self._saved_step = -1  # what was saved at this step does not know the validation
        # At the end of an epoch, saving waits for it: early stopping asks for the losses of the validation there, and a
        # run that went on from here would not have them
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # an epoch that max_steps or a signal cut short ends here too: it was saved after its last batch
        if not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            return
        validated = self._validated_step == trainer.global_step
        processed = trainer.fit_loop.epoch_progress.current.processed  # ty: ignore[missing-attribute]  # Lightning's own
        if validated or self._ends(trainer) or processed == trainer.max_epochs or self._is_due(trainer):
            self._save(trainer)

    def on_save_checkpoint(self, trainer: lightning.Trainer, pl_module, checkpoint: dict[str, Any]) -> None:
        # by early stopping, of which no counter tells; a signal does not set it
        checkpoint[ENDED_EARLY] = trainer.should_stop and trainer.global_step != trainer.max_steps

    def is_old(self) -> bool:
        """Whether the one before is old, by this rank's clock."""
        return time.monotonic() - self._saved_at_s >= self.every_s

    def save_before_validation(self, trainer: lightning.Trainer) -> None:
        """Write `last.ckpt` in a validation that is given up; the run that goes on from it begins with it.

        All ranks must call this.
        """
        # Lightning goes back to a validation if one batch of it has been started and none is done
        progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
        progress.reset()
        progress.increment_ready()
        progress.increment_started()
        self._saved_step = -1
        self._save(trainer)

    def _ends(self, trainer: lightning.Trainer) -> bool:
        return self.stopping or trainer.should_stop or trainer.global_step == trainer.max_steps

    def _validates_next(self, trainer: lightning.Trainer) -> bool:
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        return trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)

    def _is_due(self, trainer: lightning.Trainer) -> bool:
        return self.is_old() if trainer.world_size == 1 else self.due

    def _save(self, trainer: lightning.Trainer) -> None:
        quick = trainer.fast_dev_run  # ty: ignore[missing-attribute]  # Lightning sets it, but its class lacks it
        if self._saved_step == trainer.global_step or quick:
            return
        trainer.save_checkpoint(self.path, weights_only=False)
        self._saved_step, self._saved_at_s = trainer.global_step, time.monotonic()

"""Watches over the ranks of a run from its start to its end."""

import os

import lightning

from neuromtm.training.rank_watch import RankLoss, RankWatch, comes_from_another_rank
from neuromtm.training.stopping import Stopped


class WatchRanks(lightning.Callback):
    """Ends a run of several ranks when one of them dies or hangs, see `RankWatch`.

    Args:
        timeout_s: a rank that gives no sign of life for so long is lost.
    """

    def __init__(self, *, timeout_s: float):
        self.timeout_s = timeout_s
        self._watch: RankWatch | None = None

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if trainer.world_size == 1:
            return
        loss = getattr(trainer.strategy.launcher, "loss", None) or RankLoss(trainer.global_rank)
        loss.rank = trainer.global_rank
        self._watch = RankWatch(
            (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])),
            rank=trainer.global_rank,
            n_ranks=trainer.world_size,
            timeout_s=self.timeout_s,
            loss=loss,
        )
        trainer.strategy.barrier("watch")
        self._watch.start()

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if self._watch is not None:
            self._watch.stop()
            self._watch = None

    def on_exception(self, trainer: lightning.Trainer, pl_module, exception: BaseException) -> None:
        if self._watch is None:
            return
        if isinstance(exception, Stopped) and exception.done:  # all ranks know of it
            self._watch.stop()
        elif comes_from_another_rank(exception):
            self._watch.find_out()
        else:
            self._watch.report(exception)

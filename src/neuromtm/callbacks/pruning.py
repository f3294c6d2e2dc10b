"""Stop a training early if it is worse than other trials of a search."""

from typing import Protocol

import lightning

from neuromtm.callbacks.checkpoints import BestCheckpoint, BestScore


class Trial(Protocol):
    """What this needs of an Optuna trial."""

    def report(self, value: float, step: int) -> None: ...

    def should_prune(self) -> bool: ...


class Pruning(lightning.Callback):
    """Reports the score of each validation, and ends the training if the search prunes it.

    It reports a cost, which is the less the better, of what says which checkpoint is the best.

    Args:
        trial: the trial of the search that this training is.
    """

    def __init__(self, trial: Trial):
        self.trial = trial
        self.pruned = False
        """whether the search ended the training"""

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        best = trainer.checkpoint_callback
        assert isinstance(best, BestCheckpoint)  # the first of them
        score = BestScore(best.by, float(trainer.callback_metrics[best.by]))
        self.trial.report(score.cost, trainer.global_step)
        if self.trial.should_prune():
            self.pruned = trainer.should_stop = True

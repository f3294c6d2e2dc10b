"""What Lightning's Trainer does of its own accord, and this program does in another way."""

from collections.abc import Callable
from typing import Any

from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.strategies.launchers.subprocess_script import _set_num_threads_if_needed
from lightning.pytorch.trainer import Trainer
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector

from neuromtm.training.rank_watch import ChildWatch, RankLoss


class _OnlyNamedCheckpoints(_CheckpointConnector):
    """Goes on from a checkpoint that was named, and from no `hpc_ckpt` that happens to lie in the run's folder."""

    _hpc_resume_path = None


class _WatchedLauncher(_SubprocessScriptLauncher):
    """Starts the ranks as Lightning does, and says why the run ends if one of them does not end well.

    Lightning's own observer kills the first rank, too, before that one can say anything.
    """

    def launch(self, function: Callable, *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self._call_children_scripts()
        self.loss = RankLoss(self.cluster_environment.node_rank() * self.num_processes, self.procs)
        ChildWatch(self.loss).start()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)


def watch_started_ranks(trainer: Trainer) -> None:
    """Let a Trainer that starts the processes of its other ranks itself say how they end."""
    if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        trainer.strategy.launcher.__class__ = _WatchedLauncher


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep a Trainer from handling signals, from asking the ranks about them in each step, and from requeueing.

    Its handlers save in the middle of a step and requeue by themselves. In each step it asks all ranks for a SIGTERM
    through their devices, so that a GPU stops and the host waits.
    """
    trainer._checkpoint_connector = _OnlyNamedCheckpoints(trainer)
    trainer._signal_connector.register_signal_handlers = _nothing
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing


def end_epochs_once(trainer: Trainer) -> None:
    """Let a training that `max_steps` limits go on behind an epoch that is done, as one that `max_epochs` limits does.

    Lightning would end that epoch a second time, so that the next one had the number and the batches of another.
    """
    trainer.fit_loop._iteration_based_training = _no


def _nothing() -> None:
    pass


def _no() -> bool:
    return False

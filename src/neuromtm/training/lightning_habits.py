"""What Lightning's Trainer does of its own accord under a scheduler, and this program does in another way."""

from lightning.pytorch.trainer import Trainer
from lightning.pytorch.trainer.connectors.checkpoint_connector import _CheckpointConnector


class _OnlyNamedCheckpoints(_CheckpointConnector):
    """Goes on from a checkpoint that was named, and from no `hpc_ckpt` that happens to lie in the run's folder."""

    _hpc_resume_path = None


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep a Trainer from handling signals, from asking the ranks about them in each step, and from requeueing.

    Its handlers save in the middle of a step and requeue by themselves. In each step it asks all ranks for a SIGTERM
    through their devices, so that a GPU stops and the host waits.
    """
    trainer._checkpoint_connector = _OnlyNamedCheckpoints(trainer)
    trainer._signal_connector.register_signal_handlers = _nothing  # ty: ignore[invalid-assignment]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = _nothing  # ty: ignore[invalid-assignment]


def _nothing() -> None:
    pass

"""The model of a run, and the sessions that it is asked about: what every kind of export begins with."""

from pathlib import Path
from typing import NamedTuple

import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import CheckpointError, DataError
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.checkpoint import CheckpointRecord, build_model, load_checkpoint


class Trained(NamedTuple):
    """A trained model and what its checkpoint says of it."""

    model: StitchedModel
    """in evaluation mode"""
    record: CheckpointRecord
    name: str
    """of the file it was read from, for messages"""


def open_trained(run: Path, *, device: str = "cpu") -> Trained:
    """Open the best model of a run.

    Args:
        run: run directory, of which `checkpoints/best.ckpt` is taken, or a checkpoint file.
        device: where it computes.

    Raises:
        CheckpointError: if there is no masked model of neuromtm.
    """
    if not run.exists():
        raise CheckpointError(f"{run}: no such run directory or checkpoint.")
    path = run / "checkpoints" / "best.ckpt" if run.is_dir() else run
    checkpoint = load_checkpoint(path)
    record = CheckpointRecord.from_checkpoint(checkpoint, name=str(path))
    record.require_masked_model(name=str(path))
    model = build_model(record, checkpoint, name=str(path)).to(torch.device(device))
    return Trained(model, record, str(path))


def require_same_sessions(trained: Trained, data: SessionDataModule) -> None:
    """Refuse data that the model was not trained on: other sessions, neurons in another order, other bins.

    Args:
        trained: the model.
        data: set up.

    Raises:
        DataError: if a session or its neurons are not the model's.
        CheckpointError: if the bins have another width.
    """
    trained.record.require_bin_size(data.bin_size_s, name=trained.name)
    known = trained.model.sessions
    for eid, session in data.sessions.items():
        if eid not in known:
            raise DataError(f"{trained.name}: does not know the session {eid}; it knows {', '.join(known)}.")
        if known[eid].neurons != session.neurons:
            raise DataError(
                f"{data.path(eid)}: its neurons, or their order, are not those of {trained.name}. Take the data that "
                "the model was trained on."
            )

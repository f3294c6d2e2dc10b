"""A trained model, opened without a training, and whether it knows the sessions of some data."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from neuromtm.batch import SessionInfo
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import CheckpointError, ConfigError
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.checkpoint import CheckpointRecord, build_model, load_checkpoint


class Trained(NamedTuple):
    """A trained model and what its checkpoint says of it."""

    model: StitchedModel
    """in evaluation mode"""
    record: CheckpointRecord
    name: str
    """of the file it was read from, for messages"""


def device_of(name: str) -> torch.device:
    """The device of an option `--device`.

    Raises:
        ConfigError: if there is none of that name, or nothing can be computed on it here.
    """
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:  # a backend says in its own ways that it is not there
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"--device {name}: nothing can be computed there ({reason}). Take cpu, or cuda.") from error
    return device


def open_trained(run: Path, *, device: str = "cpu") -> Trained:
    """Open the best model of a run.

    Args:
        run: run directory, of which `checkpoints/best.ckpt` is taken, or a checkpoint file.
        device: where it computes.

    Raises:
        CheckpointError: if there is no masked model of neuromtm.
        ConfigError: if nothing can be computed on the device.
    """
    place = device_of(device)
    if not run.exists():
        raise CheckpointError(f"{run}: no such run directory or checkpoint.")
    path = run / "checkpoints" / "best.ckpt" if run.is_dir() else run
    checkpoint = load_checkpoint(path)
    record = CheckpointRecord.from_checkpoint(checkpoint, name=str(path))
    record.require_masked_model(name=str(path))
    model = build_model(record, checkpoint, name=str(path)).to(place)
    return Trained(model, record, str(path))


def require_known_sessions(
    known: Mapping[str, SessionInfo], trials: Mapping[str, str], data: SessionDataModule, *, name: str
) -> None:
    """Check that a model knows every session of the data, with the same neurons and trials.

    Args:
        known: eid -> session of the model.
        trials: eid -> fingerprint of the trials that it was trained on, as far as they are known.
        data: set up.
        name: what the messages call the model.

    Raises:
        CheckpointError: if it does not.
    """
    absent = [eid for eid in data.sessions if eid not in known]
    if absent:
        raise CheckpointError(
            f"{name}: does not know the session {', '.join(absent)}; it knows {', '.join(known)}. Fine-tune on it "
            "first, or choose others by data.sessions."
        )
    changed = [eid for eid, session in data.sessions.items() if session != known[eid]]
    if changed:
        raise CheckpointError(
            f"{name}: the neurons of {', '.join(changed)} are not those it was trained with: the data were prepared "
            "again, or data.min_firing_rate_hz or data.regions differ."
        )
    moved = [eid for eid in data.sessions if eid in trials and trials[eid] != data.fingerprint(eid)]
    if moved:
        raise CheckpointError(
            f"{name}: the trials of {', '.join(moved)} are not those it was trained with: another window, event, "
            "filter, split or data.n_train_trials, so that it may be tested on trials it has learned. Use the data "
            "that it was trained on."
        )

"""Open a trained model: a checkpoint, a run directory or a saved folder."""

from pathlib import Path

import torch

from neuromtm.api.given import checked_device, checked_path
from neuromtm.api.model import Model
from neuromtm.api.saved import is_saved_model, read_saved
from neuromtm.errors import CheckpointError
from neuromtm.evaluation.results import METRICS_FILE, Metrics, read_metrics
from neuromtm.training.checkpoint import CheckpointRecord, build_model, load_checkpoint


def load(path: Path | str, *, device: str | torch.device = "cpu") -> Model:
    """Open a trained model. Its data are not needed.

    Args:
        path: a checkpoint file, a run directory (its `checkpoints/best.ckpt` is taken), or a folder that `Model.save`
            wrote.
        device: where it computes: `cpu`, `cuda`, `cuda:1`.

    Raises:
        CheckpointError: if there is no model of neuromtm, or the model is damaged, of another version, or a decoder.
        ConfigError: if this machine has no such device.
    """
    path = checked_path(path)
    checked_device(device)
    if path.is_dir() and is_saved_model(path):
        checkpoint, metrics = read_saved(path)
    else:
        file = _checkpoint_file(path)
        checkpoint, metrics = load_checkpoint(file), _metrics_of(file)
    record = CheckpointRecord.from_checkpoint(checkpoint, name=str(path))
    record.require_masked_model(name=str(path))
    model = Model(build_model(record, checkpoint, name=str(path)), record, name=str(path), metrics=metrics)
    return model.to(device)


def _checkpoint_file(path: Path) -> Path:
    if not path.exists():
        raise CheckpointError(f"{path}: no such file or folder.")
    if not path.is_dir():
        return path
    if (path / "checkpoints").is_dir():
        return path / "checkpoints" / "best.ckpt"
    if path.name == "checkpoints":
        return path / "best.ckpt"
    raise CheckpointError(
        f"{path}: no model in it. Name a checkpoint file, a run directory (with checkpoints/best.ckpt), or a folder "
        "that Model.save wrote."
    )


def _metrics_of(checkpoint: Path) -> Metrics | None:
    """Test results of this checkpoint, if it is the best one of a run and was tested after it was written."""
    if checkpoint.name != "best.ckpt" or checkpoint.parent.name != "checkpoints":
        return None
    path = checkpoint.parent.parent / METRICS_FILE
    if not path.is_file() or path.stat().st_mtime < checkpoint.stat().st_mtime:
        return None
    return read_metrics(path)

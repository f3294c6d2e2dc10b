"""How Lightning writes and reads a checkpoint."""

from pathlib import Path
from typing import Any

from lightning.fabric.plugins import TorchCheckpointIO

from neuromtm.errors import CheckpointError
from neuromtm.files import reason_of
from neuromtm.training.checkpoint import CheckpointRecord, load_checkpoint, require_training_fields, write_checkpoint

HANDED_OVER = ".temp.ckpt"
"""Lightning's name for the file by which forked ranks hand their weights to the main process"""


def _of_the_file_system(error: BaseException | None) -> str | None:
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return None if error is None else reason_of(error)


class WholeFileCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints under a temporary name and renames them; reads them with `weights_only`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        try:
            write_checkpoint(Path(path), checkpoint)
        except (OSError, RuntimeError) as error:
            reason = _of_the_file_system(error)
            if reason is None:
                raise
            kept = " The one before it stays as it was." if Path(path).exists() else ""
            raise CheckpointError(
                f"{path}: the checkpoint cannot be written ({reason}).{kept} Make room, then go on by "
                "--auto_resume true."
            ) from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = load_checkpoint(path)
        if Path(path).name != HANDED_OVER:
            CheckpointRecord.from_checkpoint(checkpoint, name=str(path))  # before Lightning uses it as one of its own
            require_training_fields(checkpoint, name=str(path))
        return checkpoint

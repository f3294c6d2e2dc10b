"""How Lightning writes and reads a checkpoint."""

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from neuromtm.files import whole_file
from neuromtm.training.checkpoint import CheckpointRecord, load_checkpoint

HANDED_OVER = ".temp.ckpt"
"""Lightning's name for the file by which forked ranks hand their weights to the main process"""


class WholeFileCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints under a temporary name and renames them; reads them with `weights_only`."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        with whole_file(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        checkpoint = load_checkpoint(path)
        if Path(path).name != HANDED_OVER:
            CheckpointRecord.from_checkpoint(checkpoint, name=str(path))  # before Lightning uses it as one of its own
        return checkpoint

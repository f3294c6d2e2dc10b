"""What made a run, in its folder and in each of its checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch

from neuromtm.callbacks.starts import AtStart
from neuromtm.data.datamodule import data_of
from neuromtm.provenance import Start, add_start, describe_start

PROVENANCE_KEY = "neuromtm_provenance"
"""of a checkpoint: what provenance.json held when it was written"""


class Provenance(AtStart):
    """Adds each start of a command to `provenance.json`, and writes it into checkpoints. Rank 0 does, for all ranks.

    A run that goes on adds a start to those before. In a folder without the file they come from the checkpoint.

    Args:
        command: the command line, without the program's name.
        seed: of all draws.
    """

    def __init__(self, command: Sequence[str], *, seed: int | None):
        self.command, self.seed = tuple(command), seed
        self._starts: list[Start] = []
        self._before: list[Start] = []
        self._step = 0

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._step = checkpoint.get("global_step", 0)
        kept = checkpoint.get(PROVENANCE_KEY)
        starts = kept.get("starts") if isinstance(kept, dict) else None
        self._before = starts if isinstance(starts, list) and trainer.state.fn == "fit" else []

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        if self._starts:
            checkpoint[PROVENANCE_KEY] = {"starts": self._starts}

    def started(self, trainer: lightning.Trainer, command: str) -> None:
        if not trainer.is_global_zero:
            return
        device = trainer.strategy.root_device
        start = describe_start(
            self.command,
            data=data_of(trainer).root,
            seed=self.seed,
            n_ranks=trainer.world_size,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            cuda=torch.version.cuda,
            checkpoint=None if trainer.ckpt_path is None else str(trainer.ckpt_path),
            step=self._step,
        )
        self._starts = add_start(Path(trainer.default_root_dir), start, before=self._before)

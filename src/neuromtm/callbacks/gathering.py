"""Predictions of single trials, from all ranks."""

from collections.abc import Mapping
from typing import Any

import lightning
import numpy as np
import torch

from neuromtm.data.datamodule import data_of


def gathered_by_session(
    trainer: lightning.Trainer, predicted: Mapping[str, Mapping[int, np.ndarray]]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Eid -> sorted trial numbers and the predictions of these trials, from all ranks.

    Args:
        trainer: whose ranks are asked; all of them must call this.
        predicted: eid -> number of the trial -> prediction, of this rank.
    """
    parts: list[Any] = [predicted]
    if trainer.world_size > 1:
        parts = [None] * trainer.world_size
        torch.distributed.all_gather_object(parts, predicted)
    gathered = {}
    for eid in data_of(trainer).sessions:
        by_trial = {trial: value for part in parts for trial, value in part.get(eid, {}).items()}
        if by_trial:
            trials = np.array(sorted(by_trial))
            gathered[eid] = trials, np.stack([by_trial[trial] for trial in trials])
    return gathered

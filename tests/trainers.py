"""A Trainer for tests."""

from pathlib import Path
from typing import Any

import lightning


def quiet_trainer(folder: Path | None = None, **options: Any) -> lightning.Trainer:
    """A Trainer on the CPU that shows nothing, and writes nothing but what is asked for.

    Args:
        folder: where it writes; by default the working directory.
        options: of `lightning.Trainer`, in place of those here or beside them.
    """
    quiet = {
        "accelerator": "cpu",
        "default_root_dir": folder,
        "logger": False,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }
    return lightning.Trainer(**quiet | options)

"""Compile an architecture for training, and say so where that cannot be."""

from lightning.pytorch.utilities import rank_zero_info

from neuromtm.models.compiling import compilable_parts
from neuromtm.models.interface import Backbone
from neuromtm.training.architecture import first_line


def compile_training(backbone: Backbone) -> None:
    """Compile the heavy parts of an architecture for training, or say why it trains uncompiled."""
    parts = compilable_parts(backbone)
    if not parts:
        rank_zero_info(f"model.compile: {type(backbone).__name__} has no part that is compiled, so it trains as it is.")
    for part in parts:
        part.compile_training(_say_uncompiled)


def _say_uncompiled(error: Exception) -> None:
    rank_zero_info(f"model.compile: no compiler works here ({first_line(error)}), so the training runs uncompiled.")

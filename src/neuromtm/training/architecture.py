"""The architecture that a checkpoint names: found, checked and made, without importing what the user did not."""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch

from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.errors import CheckpointError, UserError
from neuromtm.models.interface import Backbone

OWN_PACKAGE = __name__.partition(".")[0]
ALLOW = "NEUROMTM_ALLOW"
"""environment variable: packages, or full names of classes, that configurations and checkpoints may name, with commas
between them"""


def is_allowed_by_user(class_path: str) -> bool:
    """Whether the user lets files name a class.

    Args:
        class_path: full name of the class.
    """
    allowed = (name.strip() for name in os.environ.get(ALLOW, "").split(","))
    return any(name and f"{class_path}.".startswith(f"{name}.") for name in allowed)


def make_backbone(class_path: str, options: Mapping[str, Any], *, name: str) -> Backbone:
    """Make an architecture, with untrained weights.

    To import a module is to run it. A checkpoint may therefore name any class of neuromtm, but a class of another
    package only if that was imported before, by the user or because `model.backbone` names it, or is in the
    environment variable `NEUROMTM_ALLOW`.

    Args:
        class_path: full name of the class.
        options: its constructor's arguments. Those that it did not have yet are as in `Backbone.former_options`.
        name: name of the file, for messages.

    Raises:
        CheckpointError: if the class cannot be found, is of a package that was not imported, is no backbone, or cannot
            be made with these options.
    """
    cls = _class(class_path, name=name)
    if not (isinstance(cls, type) and issubclass(cls, Backbone)):
        raise CheckpointError(f"{name}: its architecture {class_path} is no Backbone.")
    given = {**cls.former_options, **options}
    _require_memory(cls, given, name=name)
    try:
        return cls(**given)
    except TypeError as error:
        raise CheckpointError(
            f"{name}: its architecture {class_path} takes other options now ({error}). Use the version of neuromtm "
            "that wrote it."
        ) from error
    except (UserError, RuntimeError, ValueError, ArithmeticError, MemoryError, AssertionError) as error:
        raise CheckpointError(
            f"{name}: its architecture {class_path} cannot be made ({first_line(error)}). Use another one."
        ) from error


def _require_memory(cls: type[Backbone], options: Mapping[str, Any], *, name: str) -> None:
    """Refuse an architecture whose weights do not fit into memory, before they are made."""
    try:
        with torch.device("meta"):  # shapes only
            weights = cls(**options).parameters()
            needed = sum(one.numel() * one.element_size() for one in weights)
    except Exception:
        return  # it says what is wrong with it when it is made
    free = free_host_memory()
    if needed > free:
        raise CheckpointError(
            f"{name}: its architecture {cls.__module__}.{cls.__qualname__} cannot be made: its weights take "
            f"{size_text(needed)} of memory, but {size_text(free)} are free."
        )


def _class(class_path: str, *, name: str) -> object:
    module, _, qualname = class_path.rpartition(".")
    is_known = class_path.partition(".")[0] == OWN_PACKAGE or module in sys.modules
    if not is_known and not is_allowed_by_user(class_path):
        raise CheckpointError(
            f"{name}: its architecture {class_path} is of another package: import {module or 'it'} before, if you "
            f"trust it. On the command line, name the architecture by model.backbone, or set {ALLOW}={module or '...'}."
        )
    try:
        return getattr(importlib.import_module(module), qualname)
    except (ImportError, AttributeError, ValueError) as error:
        raise CheckpointError(
            f"{name}: its architecture {class_path} cannot be imported ({error}). Use the version of neuromtm that "
            "wrote it."
        ) from error


def first_line(error: Exception) -> str:
    """The beginning of what an error says, for a message of one line."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__

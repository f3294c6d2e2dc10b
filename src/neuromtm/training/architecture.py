"""The architecture that a checkpoint names: found, checked and made, without importing what the user did not."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from neuromtm.errors import CheckpointError, UserError
from neuromtm.models.interface import Backbone

OWN_PACKAGE = __name__.partition(".")[0]


def make_backbone(class_path: str, options: Mapping[str, Any], *, name: str) -> Backbone:
    """Make an architecture, with untrained weights.

    To import a module is to run it. A checkpoint may therefore name any class of neuromtm, but a class of another
    package only if that was imported before: by the user, or because `model.backbone` names it.

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
    try:
        return cls(**{**cls.former_options, **options})
    except TypeError as error:
        raise CheckpointError(
            f"{name}: its architecture {class_path} takes other options now ({error}). Use the version of neuromtm "
            "that wrote it."
        ) from error
    except (UserError, RuntimeError, ValueError, ArithmeticError, MemoryError, AssertionError) as error:
        raise CheckpointError(
            f"{name}: its architecture {class_path} cannot be made ({first_line(error)}). Use another one."
        ) from error


def _class(class_path: str, *, name: str) -> object:
    module, _, qualname = class_path.rpartition(".")
    if class_path.partition(".")[0] != OWN_PACKAGE and module not in sys.modules:
        raise CheckpointError(
            f"{name}: its architecture {class_path} is of another package: import {module or 'it'} before, if you "
            "trust it. On the command line, name the architecture by model.backbone."
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

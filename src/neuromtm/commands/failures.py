"""Tell the user's errors, which are printed in one line, from the program's own, which are shown in full."""

import re
import sys

from neuromtm.commands.open_files import too_many
from neuromtm.data.workers import lost_worker
from neuromtm.errors import ConfigError, UserError


def users_own(error: BaseException | None) -> UserError | None:
    """The user's error behind an exception; None if it is a fault of the program."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning is not None and isinstance(error, lightning.MisconfigurationException):
        return ConfigError(str(error))
    if not isinstance(error, UserError) and (found := too_many(error) or lost_worker(error)) is not None:
        return found
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{error.filename}: {error.strerror}.")
    # jsonargparse wraps what a constructor raises
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
"""Python's name of a type -> what a user may give"""
NOT_OF_ITS_KIND = re.compile(r"""Parser key "([\w.]+)": Expected a <class '(int|float|bool)'>\. Got value: (\S+)""")


def in_plain_words(message: str) -> str:
    """What jsonargparse says of a command line, in the user's words where they are known; else as it is.

    Args:
        message: of the parser.
    """
    said = " ".join(message.split())
    if "neuromtm.models.interface.Backbone is abstract" in said:
        return (
            "model.backbone: options of an architecture are given, but no class_path. In fine-tuning the architecture "
            "is that of the checkpoint (model.pretrained): leave model.backbone out. For a new model name its "
            "class_path."
        )
    found = NOT_OF_ITS_KIND.search(said)
    if found is None:
        return message
    option, kind, value = found.groups()
    within = re.match(r'Parser key "([\w.]+)": .*Problem with given class_path', said)
    name = f"{within.group(1)}.init_args.{option}" if within else option
    return f"{name} is {value}, not {KINDS[kind]}."

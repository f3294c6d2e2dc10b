"""Tell the user's errors, which are printed in one line, from the program's own, which are shown in full."""

import sys

from neuromtm.errors import ConfigError, UserError


def users_own(error: BaseException | None) -> UserError | None:
    """The user's error behind an exception; None if it is a fault of the program."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning is not None and isinstance(error, lightning.MisconfigurationException):
        return ConfigError(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{error.filename}: {error.strerror}.")
    # jsonargparse wraps what a constructor raises
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error

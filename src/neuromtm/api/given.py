"""Checks of plain arguments from the user: paths, texts, numbers, devices. Arrays are checked in `counts`."""

import os
import reprlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from neuromtm.errors import ConfigError, DataError, UserError


def is_whole(value: object) -> bool:
    """Whether it is a whole number, and not a bool."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is one finite number, and not a bool."""
    return is_whole(value) or (isinstance(value, float | np.floating) and isfinite(value))


def is_text(value: object) -> bool:
    """Whether it is a text that a file can hold: not empty, without NUL, and of whole characters."""
    if not isinstance(value, str) or not value or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_names(values: object, *, what: str) -> list[str]:
    """Take a list of names, such as uuids.

    Raises:
        DataError: if it is a single text, has no order, or has an entry that is no text.
    """
    if isinstance(values, str | bytes) or not isinstance(values, Sequence | np.ndarray):
        raise DataError(f"{what} is {reprlib.repr(values)}, not a list of names.")
    names = list(values)
    if bad := [name for name in names if not is_text(name)]:
        raise DataError(f"{what} has an entry that is no text: {reprlib.repr(bad[0])}. Give names.")
    return [str(name) for name in names]


def checked_options(values: object) -> dict[str, object]:
    """Take options by their names on the command line; None for none.

    Raises:
        ConfigError: if it is no mapping from names.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
        raise ConfigError(f"options is {reprlib.repr(values)}, not a mapping from names of options to values.")
    return dict(values)


def checked_path(value: object, *, what: str = "path") -> Path:
    """Take a path.

    Raises:
        ConfigError: if it is none, or is empty.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not is_text(text):
        raise ConfigError(f"{what} is {reprlib.repr(value)}, not a path.")
    return Path(text)


def checked_folder(value: object, *, what: str) -> Path:
    """Take the path of a folder that is there and can be written to, or that can be made.

    Raises:
        ConfigError: if it is none.
    """
    folder = checked_path(value, what=what)
    there = next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
    if not there.is_dir():
        raise ConfigError(f"{what} {folder}: {there} is a file. Name another folder.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"{what} {folder}: no permission to write to {there}. Name another folder.")
    return folder


@contextmanager
def failures_named() -> Generator[None]:
    """Turn an error of the file system about a path into a `UserError` that names it."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(f"{error.filename}: {error.strerror}. Name another place.") from error


def checked_device(value: object) -> torch.device:
    """Take the name of a device.

    Raises:
        ConfigError: if it is none, or can hold no numbers.
    """
    if not isinstance(value, str | torch.device):
        raise ConfigError(f"device is {reprlib.repr(value)}, not a name. Use 'cpu' or 'cuda'.")
    if value == "gpu":
        raise ConfigError("device 'gpu' cannot be used here: did you mean 'cuda'?")
    try:
        device = torch.device(value)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {str(value)!r} cannot be used here ({reason}). Use 'cpu'.") from error
    if device.type == "meta":
        raise ConfigError("device 'meta' cannot be used here: it holds no numbers. Use 'cpu'.")
    return device


def require_flag(value: object, *, what: str) -> None:
    """Refuse what is neither True nor False, such as the text 'no', which Python takes for true.

    Raises:
        ConfigError: if it is not.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{what} is {reprlib.repr(value)}, not True or False.")

"""Whether a shard can be opened at all, and how many at once."""

import errno
import os
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from neuromtm.errors import ShardError

MAX_OPEN_FILES = 64
OF_THE_MACHINE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM)
"""reasons for which a good file cannot be opened"""


def place_problem(path: Path) -> str | None:
    """Why a path that exists is no file of its own folder; None if it is one.

    Args:
        path: of a shard; a data folder may come from anybody, and a link in it lead anywhere.
    """
    if path.is_symlink() and path.resolve().parent != path.parent.resolve():
        return "is a link out of its folder, which is not followed. Copy the file to this place."
    return None if path.is_file() else "is no regular file. Delete it and prepare it again."


def machine_problem(error: Exception) -> str | None:
    """What hinders a good file from being opened, and what to do; None if the file itself may be at fault.

    Args:
        error: of the opening or reading.
    """
    number = error.errno if isinstance(error, OSError) else None
    if number not in OF_THE_MACHINE:
        return None
    reason = f"cannot be opened ({os.strerror(number)})."
    if number in (errno.EMFILE, errno.ENFILE):
        return f"{reason} {more_files()}"
    return f"{reason} The file need not be damaged: mend this and start again."


def more_files() -> str:
    """What to do where too many files are open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return f"This process may open {most} files: allow more (ulimit -n 4096), or take fewer data.n_workers."


def most_open_files() -> int:
    """How many shards a process keeps open; it needs other files, too."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OPEN_FILES if most == resource.RLIM_INFINITY else max(1, min(MAX_OPEN_FILES, most // 4))


@contextmanager
def damage_named(path: Path) -> Generator[None]:
    """Turn any error of HDF5 about damaged content into one that names the file."""
    try:
        yield
    except (
        OSError,
        LookupError,
        RuntimeError,
        ValueError,
        TypeError,
        AttributeError,
        MemoryError,
        ArithmeticError,
    ) as error:
        raise ShardError(f"{path}: its content is damaged ({error}). Delete it and prepare it again.") from error

"""Files of anybody's folder are looked at before they are opened: a pipe would be waited for, a device has no end."""

import errno
import stat
from pathlib import Path

A_PIPE = "not a regular file, but a pipe or a device"
"""in a message, after the path"""


def is_pipe(path: Path) -> bool:
    """Whether a path, or what it links to, is a pipe, a socket or a device. One that is absent or a folder is none."""
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # the opening says why
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def require_regular(path: Path) -> Path:
    """Refuse a pipe, a socket or a device before it is opened.

    Returns:
        The path. The opening has its own words for one that is absent or a folder.

    Raises:
        OSError: as the opening of a file that cannot be read.
    """
    if is_pipe(path):
        raise OSError(errno.EINVAL, A_PIPE, str(path))
    return path


def regular_text(path: Path, *, encoding: str = "utf-8", errors: str | None = None) -> str:
    """The text of a file, which is no pipe and no device.

    Raises:
        OSError, UnicodeDecodeError: if it cannot be read.
    """
    return require_regular(Path(path)).read_text(encoding=encoding, errors=errors)

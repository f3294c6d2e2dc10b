"""How many files the program may have open: loader workers and many sessions need more than some systems begin with."""

import errno
import resource
from contextlib import suppress

from neuromtm.data.shard_access import more_files
from neuromtm.errors import UserError

ENOUGH = 65_536
SAID_BY_TORCH = ("Too many open files", "received 0 items of ancdata")


def raise_limit() -> None:
    """Raise the soft limit as far as the hard one allows, and no further than `ENOUGH`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(ENOUGH, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # a system may have a further limit of its own
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def too_many(error: BaseException | None) -> UserError | None:
    """The user's error behind one of too many open files; None if it is another."""
    while error is not None:
        of_the_system = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
        of_torch = isinstance(error, RuntimeError) and any(text in str(error) for text in SAID_BY_TORCH)
        if of_the_system or of_torch:
            return UserError(f"Too many open files. {more_files()}")
        error = error.__cause__ or error.__context__
    return None

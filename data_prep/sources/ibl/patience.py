"""What to do when the network fails: try again with growing pauses, and say in the end why it failed."""

import http.client
import time
import urllib.error
from collections.abc import Callable
from typing import TypeVar

Answer = TypeVar("Answer")

LONGEST_PAUSE_S = 60.0
PASSING_STATUS = (408, 425, 429)
"""beside all from 500 on: the server asks to come again"""
NOT_FOUND = 404
REFUSED = (401, 403)


class DamagedFile(Exception):
    """A fetched file is not the one that the database lists."""


class Patience:
    """Calls again what failed for a reason that may pass.

    Args:
        retries: how many more times to call.
        pause_s: before the first of them; each further pause is twice as long, up to a minute.
    """

    def __init__(self, *, retries: int = 5, pause_s: float = 1.0):
        self.retries = retries
        self.pause_s = pause_s

    def __call__(self, call: Callable[[], Answer]) -> Answer:
        """The answer of a call.

        Raises:
            Exception: the last one of the call.
        """
        for retry in range(self.retries):
            try:
                return call()
            except Exception as error:
                if not may_pass(error):
                    raise
            time.sleep(min(self.pause_s * 2**retry, LONGEST_PAUSE_S))
        return call()


def status_of(error: BaseException) -> int | None:
    """The status with which a server answered; None if it gave no answer."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code
    return getattr(getattr(error, "response", None), "status_code", None)


def may_pass(error: BaseException) -> bool:
    """Whether a call that failed so may succeed later: a timeout, a lost connection, a server in trouble, damage."""
    status = status_of(error)
    if status is not None:
        return status >= 500 or status in PASSING_STATUS
    passing = (ConnectionError, TimeoutError, urllib.error.URLError, http.client.HTTPException, DamagedFile)
    if isinstance(error, passing):
        return True
    # those of requests, whose import takes long
    names = {cls.__name__ for cls in type(error).__mro__ if cls.__module__ == "requests.exceptions"}
    return bool(names & {"ConnectionError", "Timeout", "ChunkedEncodingError", "ContentDecodingError"})


def reason_of_failure(error: BaseException) -> str:
    """Why a call failed, in words for the user."""
    status = status_of(error)
    if status in REFUSED:
        return f"the server refuses it ({status}): this account may not read it, or the login has expired"
    if status is not None:
        return f"the server answers with an error ({status})"
    return str(error) if isinstance(error, DamagedFile) else f"{type(error).__name__}: {error}"

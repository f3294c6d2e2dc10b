"""Signals that ask a command to end. It ends in order at the first one, and at once at the second.

Nothing heavy is imported here, so that signals are heeded from the start of a command.
"""

import os
import signal
import threading
import time
from types import FrameType

from neuromtm.training.run_lock import release_all

SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)
TOGETHER_S = 0.5
"""signals that come so close together are one: `timeout` and some schedulers send two"""


class Stopped(BaseException):
    """A command ends because a signal asked it to. It is no `Exception`: nothing on its way takes it for a failure.

    Args:
        number: of the signal.
        done: what the command has done and kept until then, as a part of a sentence.
    """

    def __init__(self, number: int, done: str | None = None):
        self.signal, self.done = signal.Signals(number), done
        super().__init__(self.signal.name)


class StopSignals:
    """Heeds SIGUSR1, SIGTERM and SIGINT while it is entered.

    The first of them raises `Stopped` where the program is, like a `KeyboardInterrupt`. While `waits` is set it is
    only noted in `received`, so that a step of the training is finished. The second one ends the process, as a signal
    does that is not heeded.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.waits = False
        self._received_at_s = 0.0
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():  # no other one may set handlers
            self._before = {one: signal.signal(one, self._heed) for one in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for one, handler in self._before.items():
            signal.signal(one, handler)  # ty: ignore[invalid-argument-type]  # what `signal.signal` gave
        self._before = {}

    def _heed(self, number: int, _: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at_s = signal.Signals(number), time.monotonic()
            if not self.waits:
                raise Stopped(number)
        elif time.monotonic() - self._received_at_s > TOGETHER_S:
            signal.signal(number, signal.SIG_DFL)
            release_all()
            os.kill(os.getpid(), number)

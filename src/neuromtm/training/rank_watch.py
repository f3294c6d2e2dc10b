"""Ends a run within a minute when one of its ranks dies or hangs, and says which one and where.

A rank that waits for another one in an exchange does not know whether that one is at work or gone. Each rank therefore
has a thread that gives signs of life, whatever long work the rank itself does.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from signal import Signals
from typing import NoReturn

from torch.distributed import DistError, TCPStore

from neuromtm.training.run_lock import release_all

LOST = 1
"""exit status of a run that lost a rank"""
NAME = "neuromtm/watch"


def here(rank: int) -> str:
    """What a rank is called in messages."""
    return f"rank {rank} on {socket.gethostname()}"


def comes_from_another_rank(error: BaseException) -> bool:
    """Whether an exchange failed because another rank is gone, which says nothing of the reason."""
    # gloo has no class of its own
    return isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


class RankLoss:
    """The end of a run that lost a rank.

    Args:
        rank: number of this process.
        children: the processes of the next ranks, which this one has started.
    """

    def __init__(self, rank: int, children: Sequence[subprocess.Popen] = ()):
        self.rank, self.children = rank, children
        self.reason: str | None = None
        self.in_order = threading.Event()
        """set when this process ends by itself"""
        self._known, self._lock = threading.Event(), threading.Lock()

    def tell(self, reason: str, *, grace_s: float) -> None:
        """End this process, unless it ends by itself meanwhile, e.g. because of an error that all ranks have."""
        with self._lock:
            if self.reason is None:
                self.reason = reason
                self._known.set()
        if not self.in_order.wait(grace_s):
            self.end()

    def wait(self, most_s: float) -> None:
        """Wait until it is known which rank is lost, and end this process. Return if it does not become known."""
        if self._known.wait(most_s):
            self.end()

    def end(self) -> NoReturn:
        """Print the reason and end this process and those that it has started."""
        # the first rank speaks for all, unless it is the lost one
        if self.rank == 0 or (self.reason or "").startswith("rank 0 "):
            print(f"neuromtm: {self.reason}, so the run ends.", file=sys.stderr, flush=True)
        for child in self.children:
            child.kill()
        release_all()
        os._exit(LOST)  # the program itself may be waiting for the lost rank


class RankWatch:
    """Exchanges signs of life with the other ranks, in a thread of its own.

    The first rank looks at the signs of all others, and the others look for its answers.

    Args:
        store: address and port at which the ranks found each other.
        rank: number of this process.
        n_ranks: number of processes.
        timeout_s: a rank that gives no sign for so long is lost.
        loss: is told of a lost rank.
        clock: seconds.
    """

    def __init__(
        self,
        store: tuple[str, int],
        *,
        rank: int,
        n_ranks: int,
        timeout_s: float,
        loss: RankLoss,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.rank, self.n_ranks, self.timeout_s, self.loss = rank, n_ranks, timeout_s, loss
        self.every_s = min(2.0, timeout_s / 5)
        self._clock = clock
        # a connection of its own: the ranks' own one may be waiting
        self._store = TCPStore(*store, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=timeout_s))
        self._names: dict[int, str] = {}
        self._signs: dict[int, tuple[bytes, float]] = {}
        self._answered_at_s = self._looked_at_s = clock()
        self._stopped_s = 0.0
        self._stops = threading.Event()
        self._store.set(f"{NAME}/name/{rank}", here(rank))
        self._store.set(f"{NAME}/sign/{rank}", "0")

    def start(self) -> None:
        """Begin to watch. All ranks must have been made before."""
        watched = range(1, self.n_ranks) if self.rank == 0 else (0,)
        self._names = {other: self._store.get(f"{NAME}/name/{other}").decode() for other in watched}
        now_s = self._answered_at_s = self._clock()
        self._signs = dict.fromkeys(watched, (b"", now_s))
        for work in (self._talk, self._time):
            threading.Thread(target=work, name=f"rank-watch{work.__name__}", daemon=True).start()

    def report(self, error: BaseException) -> None:
        """Tell the other ranks why this one fails."""
        self.loss.in_order.set()
        text = " ".join(str(error).split())[:300]
        with suppress(DistError):
            self._store.set(f"{NAME}/failed", f"{here(self.rank)} failed with {type(error).__name__}: {text}")

    def find_out(self) -> None:
        """End the run as soon as it is known which rank is gone. Return if none is."""
        self.timeout_s, most_s = min(self.timeout_s, 5 * self.every_s), 2 * self.timeout_s
        self.loss.wait(most_s)

    def stop(self) -> None:
        """End in order. The first rank waits for the others, which still need its answers."""
        self.loss.in_order.set()
        with suppress(DistError):
            self._store.set(f"{NAME}/ended/{self.rank}", "")
            others = [f"{NAME}/ended/{other}" for other in range(1, self.n_ranks)] if self.rank == 0 else []
            ends_at_s = self._clock() + self.timeout_s
            while others and not self._store.check(others) and self._clock() < ends_at_s and self.loss.reason is None:
                time.sleep(0.05)
        self._stops.set()

    def _talk(self) -> None:
        number = 0
        try:
            while not self._stops.wait(self.every_s):
                number += 1
                self._store.set(f"{NAME}/sign/{self.rank}", str(number))
                failed = self._store.check([f"{NAME}/failed"])
                self._answered_at_s = self._clock()
                if failed:
                    self._tell(self._store.get(f"{NAME}/failed").decode())
                if self.rank == 0:
                    self._read_signs()
        except DistError:
            if not self._stops.is_set():
                self._tell(self._why_alone())

    def _why_alone(self) -> str:
        stopped_s = max(self._stopped_s, self._clock() - self._looked_at_s)
        if self.rank and stopped_s > self._longest_gap_s:
            # the others took this process for lost, and have said so
            return f"{here(self.rank)} was stopped for {stopped_s:.0f} s, and the others have ended without it"
        return f"{self._names[0]} is gone" if self.rank else f"{here(0)} cannot reach its own store"

    @property
    def _longest_gap_s(self) -> float:
        """A process that was not stopped looks at the clock more often."""
        return self.every_s + self.timeout_s / 2

    def _read_signs(self) -> None:
        for other, (before, _) in list(self._signs.items()):
            sign = self._store.get(f"{NAME}/sign/{other}")
            if sign != before:
                self._signs[other] = sign, self._clock()
            if self._store.check([f"{NAME}/ended/{other}"]):
                del self._signs[other]

    def _time(self) -> None:
        """Look at the clock in a thread that waits for nobody."""
        self._looked_at_s = self._clock()
        while not self._stops.wait(self.every_s):
            now_s = self._clock()
            if now_s - self._looked_at_s > self._longest_gap_s:  # this process itself was stopped for a while
                self._stopped_s = now_s - self._looked_at_s
                self._answered_at_s = now_s
                self._signs = {other: (sign, now_s) for other, (sign, _) in self._signs.items()}
            self._looked_at_s = now_s
            if self.rank != 0 and now_s - self._answered_at_s > self.timeout_s:
                self._tell(self._silent(0, now_s - self._answered_at_s))
            for other, (_, at_s) in list(self._signs.items()):
                if self.rank == 0 and now_s - at_s > self.timeout_s:
                    reason = self._silent(other, now_s - at_s)
                    self._store.set(f"{NAME}/failed", reason)
                    self._tell(reason)

    def _silent(self, other: int, for_s: float) -> str:
        return f"{self._names[other]} has given no sign of life for {for_s:.0f} s"

    def _tell(self, reason: str) -> None:
        # long enough that every rank has looked for the reason
        self.loss.tell(reason, grace_s=2 * self.every_s + 1)


class ChildWatch(threading.Thread):
    """Notices when a process of another rank ends that this one has started, even before the ranks have met.

    Args:
        loss: is told of it, and knows the processes.
    """

    def __init__(self, loss: RankLoss):
        super().__init__(name="child-watch", daemon=True)
        self.loss = loss

    def run(self) -> None:
        while any(child.poll() != 0 for child in self.loss.children):
            for rank, child in enumerate(self.loss.children, start=self.loss.rank + 1):
                if child.returncode:
                    self.loss.tell(f"{here(rank)} {_how_it_ended(child.returncode)}", grace_s=5.0)
                    return
            time.sleep(0.5)


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended with exit status {status}"
    name = Signals(-status).name
    return f"was ended by {name}" + (", perhaps for want of memory" if name == "SIGKILL" else "")

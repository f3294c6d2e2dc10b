"""Processes that each make one call after the other. None of them outlives this process, however it ends."""

import contextlib
import multiprocessing
import os
import pickle
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

from neuromtm.errors import ConfigError

SECONDS_TO_END = 10.0
"""a process is killed if it does not end so long after it was asked to"""


class Returned(NamedTuple):
    """How a call ended."""

    name: str
    value: Any
    """what it returned; None if it did not"""
    problem: str
    """why it returned nothing, in a sentence; empty if it returned"""
    peak_bytes: int
    """most memory of its process since the call began; 0 if unknown"""


class Workers:
    """Up to so many processes. They are started when they are first needed, afresh and not by a fork.

    A process that is killed ends its own call only. At the end of the block all are ended, and files that are half
    written are removed by them.

    Args:
        most: number of processes.
    """

    def __init__(self, most: int):
        self.most = most
        self._idle: list[_Worker] = []
        self._busy: dict[str, _Worker] = {}

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        workers = [*self._idle, *self._busy.values()]
        for worker in workers:
            worker.process.terminate()
        for worker in workers:
            worker.process.join(SECONDS_TO_END)
            if worker.process.is_alive():
                worker.process.kill()
            worker.process.join()
            worker.connection.close()
        self._idle, self._busy = [], {}

    @property
    def n_busy(self) -> int:
        return len(self._busy)

    def used_bytes(self, name: str) -> int:
        """Memory that the process of a call takes now; 0 where the system does not say."""
        return _resident(self._busy[name].process.pid)

    def start(self, name: str, call: Callable[[], Any]) -> None:
        """Begin a call in a process that is idle.

        Args:
            name: of the call; no other of this name is running.
            call: of functions and data that can be sent to another process.

        Raises:
            ConfigError: if it cannot be sent.
        """
        assert self.n_busy < self.most
        try:
            sent = pickle.dumps(call)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ConfigError(
                f"--jobs: {name} cannot be prepared in another process, as its source hands over what cannot be sent "
                f"there ({error}). Give --jobs 1."
            ) from error
        worker = self._idle.pop() if self._idle else _Worker()
        self._busy[name] = worker
        with contextlib.suppress(BrokenPipeError):  # it was killed while it was idle: `wait` finds that
            worker.connection.send_bytes(sent)

    def wait(self) -> list[Returned]:
        """Wait until at least one call has ended.

        Raises:
            Exception: what a call raised.
        """
        of_connection = {worker.connection: name for name, worker in self._busy.items()}
        return [self._returned(of_connection[ready]) for ready in wait([*of_connection])]  # ty: ignore

    def _returned(self, name: str) -> Returned:
        worker = self._busy.pop(name)
        try:
            value, problem, error, peak_bytes = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            worker.process.join()
            worker.connection.close()
            return Returned(name, None, _end_in_words(worker.process.exitcode), 0)
        self._idle.append(worker)
        if error is not None:
            raise error
        return Returned(name, value, problem, peak_bytes)


class _Worker:
    """A process, and the connection to it."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        resource_tracker.ensure_running()  # starting it would let interruptions through again
        # Ctrl-C goes to all processes of a terminal; this one ends the others in order
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process: BaseProcess = context.Process(target=_work, args=(theirs,), daemon=True)
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()


def _end_in_words(exit_code: int | None) -> str:
    if exit_code == -signal.SIGKILL:
        return (
            "its process was killed, perhaps as memory ran out. Run the same command again with fewer --jobs, which "
            "prepares what is missing."
        )
    how = f"by the signal {signal.Signals(-exit_code).name}" if exit_code and exit_code < 0 else f"with {exit_code}"
    return f"its process ended {how}. Run the same command again with --jobs 1, which shows more."


# ---- in the process


def _work(connection: Connection) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that files that are half written are removed
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            sent = connection.recv_bytes()
        except EOFError:
            return
        _forget_peak()
        value, problem, error = None, "", None
        try:
            value = pickle.loads(sent)()
        except MemoryError:
            problem = "memory ran out. Run the same command again with fewer --jobs, or wider bins."
        except Exception as raised:  # whatever it is, the other process raises it
            error = _sendable(raised)
        try:
            connection.send((value, problem, error, _peak()))
        except BrokenPipeError:  # nobody waits for it any more
            return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(SECONDS_TO_END)
    os._exit(1)


def _sendable(error: Exception) -> Exception:
    text = "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # its class decides what goes wrong
        return RuntimeError(f"in a process of --jobs:\n{text}")
    return error


def _forget_peak() -> None:
    with contextlib.suppress(OSError):  # no Linux: the peak is then that of all its calls
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def _resident(pid: int | None) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0

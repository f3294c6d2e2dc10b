"""Runs a function in a forked process, with bounds on time, memory, files and processes."""

import contextlib
import faulthandler
import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

FURTHER_BYTES = 2 * 1024**3
"""memory that the function may take beyond what this process has"""
LARGEST_FILE = 256 * 1024**2
MOST_PROCESSES = 64
"""that the function may start; one more ends it"""
TOO_MANY_PROCESSES = 97
FAULT = 70
"""exit status of a function that ends by another exception than SystemExit"""


class Ended(NamedTuple):
    """A function that has ended."""

    status: int
    """exit status; below 0 the number of the signal that killed it"""
    out: str
    err: str
    in_time: bool
    """False if it was ended after its time; `err` then says where it was"""


def in_fork(run: Callable[[], object], *, folder: Path, limit_s: float) -> Ended:
    """Run a function in a copy of this process, in a folder of its own and a session of its own.

    Args:
        run: its value is the exit status; None is 0.
        folder: where it works. What it prints goes into two files beside this folder.
        limit_s: seconds after which it is ended.
    """
    outputs = [folder.with_name(f"{folder.name}.{name}") for name in ("out", "err")]
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            _work(run, folder, outputs, limit_s)
        finally:  # never go on with the work of the parent
            os._exit(FAULT)
    handle = os.pidfd_open(child)
    ready, _, _ = select.select([handle], [], [], limit_s + 10)
    os.close(handle)
    _kill_all(child)
    _, status = os.waitpid(child, 0)
    out, err = (path.read_text(encoding="utf-8", errors="surrogateescape") for path in outputs)
    return Ended(os.waitstatus_to_exitcode(status), out, err, bool(ready) and "Timeout (" not in err)


def _kill_all(group: int) -> None:
    """End the child, if it has not ended, and what it started."""
    with contextlib.suppress(ProcessLookupError):  # it had no time to make a group of its own, or none of it is left
        os.killpg(group, signal.SIGKILL)


def _work(run: Callable[[], object], folder: Path, outputs: list[Path], limit_s: float) -> None:
    os.setsid()
    os.chdir(folder)
    for number, path in enumerate(outputs, start=1):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    faulthandler.dump_traceback_later(limit_s, exit=True, file=sys.stderr)
    _limit()
    try:
        status = run()
    except SystemExit as ended:
        status = ended.code
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        traceback.print_exc()
        status = FAULT
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(int(status or 0))  # ty: ignore[invalid-argument-type]


def _limit() -> None:
    with open("/proc/self/status") as file:
        has = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData"))
    resource.setrlimit(resource.RLIMIT_DATA, (has + FURTHER_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    started = 0

    def count(event: str, _: object) -> None:
        nonlocal started
        if event in ("os.fork", "os.posix_spawn", "subprocess.Popen"):
            started += 1
            if started > MOST_PROCESSES:
                os.write(2, b"too many processes\n")
                os._exit(TOO_MANY_PROCESSES)

    sys.addaudithook(count)

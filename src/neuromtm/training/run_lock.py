"""One training at a time in a run directory: a folder in it says who is at work, on file systems without locks too.

What a killed process leaves behind must not stand in the way of the next one. So a lock counts no more if its process
is dead, if Slurm has started its job again or no longer has it, or if it has given no sign of life for some minutes.
"""

import contextlib
import errno
import getpass
import json
import os
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from neuromtm.errors import ConfigError
from neuromtm.regular_files import regular_text
from neuromtm.training.slurm import has_left_the_queue, n_requeues, slurm_job

LOCK = ".training"
"""the folder in a run directory"""
HOLDER_FILE = "holder.json"
SIGN_EVERY_S = 60.0
"""seconds from one sign of life to the next: the time of writing of the holder's file"""
SILENT_S = 300.0
"""a lock of another machine counts no more after so many seconds without a sign of life"""
LOST = 1
"""exit status of a training whose run directory was taken over while it was stopped"""


@dataclass(frozen=True)
class Holder:
    """Who trains in a run directory."""

    name: str
    """of this lock alone"""
    user: str
    process: int
    host: str
    since: str
    machine: str
    """tells apart starts of a machine, and containers in which a process has another number"""
    began: str
    """when the process began, in the machine's own count: a number of a process is given again"""
    job: str | None
    """of Slurm"""
    n_requeues: int

    @classmethod
    def here(cls) -> "Holder":
        """This process."""
        return cls(
            name=uuid.uuid4().hex,
            user=_user(),
            process=os.getpid(),
            host=socket.gethostname(),
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
            machine=_machine(),
            began=_began(os.getpid()),
            job=slurm_job(),
            n_requeues=n_requeues(),
        )

    def is_gone(self, me: "Holder", silent_s: float) -> bool:
        """Whether this holder will not go on.

        Args:
            me: who asks.
            silent_s: seconds since its last sign of life.
        """
        if self.machine == me.machine:
            return not _lives(self.process, self.began)
        if self.job is not None and (self.job, self.n_requeues) != (me.job, me.n_requeues):
            if self.job == me.job:
                return True  # Slurm has started this job again
            if has_left_the_queue(self.job):
                return True
        return silent_s > SILENT_S

    def __str__(self) -> str:
        job = "" if self.job is None else f"job {self.job}, "
        return f"{self.user}, {job}process {self.process} on {self.host}, since {self.since}"


class RunLock:
    """Holds a run directory while it is entered.

    Args:
        run_dir: it is made if it is not there, and removed again if nothing has come into it.
        sign_every_s: seconds from one sign of life to the next.
    """

    def __init__(self, run_dir: Path, *, sign_every_s: float = SIGN_EVERY_S):
        self.run_dir, self.folder, self.sign_every_s = Path(run_dir), Path(run_dir) / LOCK, sign_every_s
        self._me = Holder.here()
        self._made: list[Path] = []
        self._ends = threading.Event()

    def acquire(self) -> None:
        """Take the run directory.

        Raises:
            ConfigError: if another training is at work there.
        """
        self._made = [path for path in (self.run_dir, *self.run_dir.parents) if not path.exists()]
        self.run_dir.mkdir(parents=True, exist_ok=True)
        own = self._aside()
        own.mkdir()
        try:
            (own / HOLDER_FILE).write_text(json.dumps(asdict(self._me)), encoding="utf-8")
            while not _renamed(own, self.folder):  # a folder replaces no other one that holds something
                self._remove_if_gone()
        finally:
            shutil.rmtree(own, ignore_errors=True)
        _HELD.append(self)
        threading.Thread(target=self._give_signs, name="run-lock", daemon=True).start()

    def release(self) -> None:
        """Give the run directory free. It may be called again."""
        self._ends.set()
        if self not in _HELD:
            return
        _HELD.remove(self)
        if _holder_in(self.folder) == self._me:
            shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something in it
            for path in self._made:
                path.rmdir()

    def _aside(self) -> Path:
        return self.run_dir / f"{LOCK}.{uuid.uuid4().hex}"

    def _remove_if_gone(self) -> None:
        holder = _holder_in(self.folder)
        if holder is None and not self.folder.exists():
            return  # it has just ended
        if holder is not None and not holder.is_gone(self._me, self._silent_s()):
            raise ConfigError(
                f"{self.run_dir}: a training is at work there ({holder}). Wait until it has ended, or choose another "
                f"--run_dir. If it no longer runs, remove {self.folder}."
            )
        # of several that see it gone, one gets the folder's name
        aside = self._aside()
        if not _renamed(self.folder, aside):
            return
        if _holder_in(aside) != holder and _renamed(aside, self.folder):
            return  # somebody else was quicker, and is at work
        shutil.rmtree(aside, ignore_errors=True)

    def _silent_s(self) -> float:
        """Seconds since the holder's last sign of life, by the clock of the file system: machines' own differ."""
        now = self._aside()
        try:
            now.touch()
            return now.stat().st_mtime - (self.folder / HOLDER_FILE).stat().st_mtime
        except OSError:
            return 0.0  # it has just ended
        finally:
            now.unlink(missing_ok=True)

    def _give_signs(self) -> None:
        while not self._ends.wait(self.sign_every_s):
            holder = _holder_in(self.folder)
            if holder is not None and holder != self._me and not self._ends.is_set():
                self._give_way(holder)
            with contextlib.suppress(OSError):  # the disk may come back
                os.utime(self.folder / HOLDER_FILE)

    def _give_way(self, holder: Holder) -> None:
        """End at once: two trainings that write to one folder would spoil it."""
        print(
            f"neuromtm: {self.run_dir}: this process gave no sign of life for minutes, and another one went on "
            f"({holder}), so this one ends.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(LOST)


_HELD: list[RunLock] = []


def release_all() -> None:
    """Give free what this process holds; for one that ends without unwinding."""
    for lock in list(_HELD):
        lock.release()


def _renamed(folder: Path, to: Path) -> bool:
    """Give a folder another name; False if there is something of that name, or no such folder any more."""
    try:
        folder.rename(to)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
            raise
        return False
    return True


def _holder_in(folder: Path) -> Holder | None:
    """None if there is none, or its file is damaged."""
    try:
        holder = Holder(**json.loads(regular_text(folder / HOLDER_FILE)))
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    texts = (holder.name, holder.user, holder.host, holder.since, holder.machine, holder.began, holder.job or "")
    numbers = (holder.process, holder.n_requeues)
    good = all(isinstance(text, str) for text in texts) and all(type(n) is int and 0 <= n < 2**31 for n in numbers)
    return holder if good else None


def _lives(process: int, began: str) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # another user's
    return _state_of(process) not in ("Z", "X") and _began(process) == began


def _state_of(process: int) -> str:
    """One letter: Z and X are processes that have ended, and that nobody has asked for their exit status."""
    return _of_system(lambda: _stat_of(process)[0])


def _began(process: int) -> str:
    """When a process began, in ticks since the machine did; empty if the system does not say."""
    return _of_system(lambda: _stat_of(process)[19])


def _stat_of(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()  # the name may hold anything


def _machine() -> str:
    boot = _of_system(lambda: Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    return f"{socket.gethostname()} {boot} {_of_system(lambda: os.readlink('/proc/self/ns/pid'))}"


def _of_system(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except (OSError, IndexError):
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may have no name for its user
        return f"user {os.getuid()}"

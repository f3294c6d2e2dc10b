"""What signals do to the worker processes of a loader, and what is said when one of them dies."""

import multiprocessing
import os
import re
import signal
import threading

from neuromtm.errors import UserError

LOST = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([^.]+)|exited unexpectedly)")
"""how torch says that a worker is gone; it may say so in any line of the main thread"""
KILLED, BUS_ERROR = signal.strsignal(signal.SIGKILL), signal.strsignal(signal.SIGBUS)


def leave_signals_to_the_parent(_: int) -> None:
    """Let a worker live on when a signal is sent to all processes of a run, as by Ctrl-C or a scheduler.

    The training process still needs the worker's batches to end in order. It ends its workers itself: if one does not
    end when told, by SIGTERM, which is obeyed if it comes from there.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_by_the_parent, args=(parent.pid,), daemon=True).start()


def _end_by_the_parent(parent: int | None) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def lost_worker(error: BaseException | None) -> UserError | None:
    """The user's error behind a worker that is gone; None if the error is another one."""
    found = None
    while error is not None:
        # torch says it twice where it waits for a batch: the first one, behind the other, knows the signal
        found = (LOST.search(str(error)) if isinstance(error, RuntimeError) else None) or found
        error = error.__cause__ or error.__context__
    return None if found is None else UserError(_what_became_of(found[1], found[2]))


def _what_became_of(process: str, by: str | None) -> str:
    how = "is gone" if by is None else f"was ended by a signal ({by})"
    mend = "take fewer data.n_workers; 0 reads in the main process"
    if by in (None, KILLED):
        how += ", perhaps for want of memory"
        mend = f"give the job more memory, or {mend}"
    if by == BUS_ERROR:
        how += ", perhaps because the shared memory (/dev/shm) is full"
        mend = f"allow more of it, or {mend}"
    return (
        f"A process that reads batches (loader worker {process}) {how}. {mend[0].upper()}{mend[1:]}. Then start again "
        "by the same command; a training goes on from its last checkpoint with --auto_resume true."
    )

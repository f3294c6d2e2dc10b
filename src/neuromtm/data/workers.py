"""What signals do to the worker processes of a loader."""

import multiprocessing
import os
import signal
import threading


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

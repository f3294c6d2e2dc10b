"""How far a command is with its sessions, and how long the rest will take."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO


class SessionProgress:
    """A bar in a terminal. Elsewhere, as in a log, a line now and then.

    Args:
        total: number of sessions.
        line_every_s: seconds from one such line to the next.
        file: where it is shown; by default the standard error.
        clock: tells seconds.
    """

    def __init__(
        self,
        total: int,
        *,
        line_every_s: float = 60.0,
        file: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._total, self._line_every_s, self._clock = total, line_every_s, clock
        self._file = sys.stderr if file is None else file
        self._n_done = self._n_worked = 0
        self._worked_s = 0.0
        self._last_s = self._last_line_s = clock()
        columns = SpinnerColumn(), TextColumn("sessions"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        left = TextColumn("{task.fields[left]}")
        console = Console(file=self._file)
        self._in_a_terminal = console.is_terminal
        self._bar = Progress(
            *(*columns, left),
            console=console,
            transient=True,
            redirect_stdout=False,
            disable=not self._in_a_terminal,
        )
        self._task = self._bar.add_task("", total=total, left="")

    def __enter__(self) -> "SessionProgress":
        self._bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, error, trace)

    def advance(self, *, worked: bool) -> None:
        """Count a session.

        Args:
            worked: whether it was worked on. A session that was done before takes no time, and says nothing of the
                others.
        """
        now_s = self._clock()
        self._n_done += 1
        if worked:
            self._n_worked += 1
            self._worked_s += now_s - self._last_s
        self._last_s = now_s
        n_left = self._total - self._n_done
        left = _in_words(self._worked_s / self._n_worked * n_left) if n_left and self._n_worked else ""
        self._bar.update(self._task, advance=1, left=left and f"{left} to go")
        if left and not self._in_a_terminal and now_s - self._last_line_s >= self._line_every_s:
            self._last_line_s = now_s
            line = f"neuromtm-prep: {self._n_done:,} of {self._total:,} sessions; {left} to go."
            print(line, file=self._file, flush=True)


def _in_words(seconds: float) -> str:
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"

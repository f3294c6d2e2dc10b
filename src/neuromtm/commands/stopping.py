"""How a command ends that a signal asked to end: one line, the requeue under Slurm, the exit status."""

import os
import re
import subprocess
import sys
from typing import NoReturn

from neuromtm.training.slurm import slurm_job
from neuromtm.training.stopping import Stopped

STOPPED = 75
"""exit status after a signal that was obeyed; EX_TEMPFAIL of sysexits.h: the same command may go on later"""
TRAINS = ("fit", "search")
"""commands that go on where they were, so that their job is requeued"""
RANK_VARIABLES = ("RANK", "SLURM_PROCID", "LOCAL_RANK")


def end_stopped(stopped: Stopped, command: str) -> NoReturn:
    """Say what was done, let Slurm start the job again if it is a training, and end the process.

    The status of the first rank is `STOPPED`, that of the others 0: whoever started them would take another one for a
    failure and end the first.

    Args:
        stopped: why.
        command: what was carried out, e.g. `fit`.
    """
    if not _is_first_rank():
        sys.exit(0)
    done = stopped.done or f"{command} is not done, and nothing is half written"
    begun, job = f"neuromtm: {stopped.signal.name}: {done}.", slurm_job() if command in TRAINS else None
    problem = None if job is None else _hindrance(job)
    if job is not None and problem is None:
        # said first: Slurm may kill the job while it answers
        print(f"{begun} Job {job} is requeued and goes on from there.", file=sys.stderr, flush=True)
        if (problem := _requeue(job)) is None:
            sys.exit(STOPPED)
        begun = "neuromtm:"
    print(f"{begun} {_what_next(command, job, problem)}", file=sys.stderr, flush=True)
    sys.exit(STOPPED)


def _is_first_rank() -> bool:
    ranks = [os.environ[name] for name in RANK_VARIABLES if name in os.environ]
    return not ranks or ranks[0] == "0"


def _what_next(command: str, job: str | None, problem: str | None) -> str:
    if command not in TRAINS:
        return "Start it again by the same command."
    resume = "" if command == "search" else " with --auto_resume true"
    if job is None:
        return f"Go on by the same command{resume}."
    return f"Job {job} is not requeued: {problem}. Go on by the same command{resume}."


def _hindrance(job: str) -> str | None:
    """Why a job is not to be requeued; None if nothing is known against it."""
    try:
        return "it was cancelled" if _is_cancelled(_scontrol("show", "job", "-o", job).stdout) else None
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol cannot be run ({error})"


def _requeue(job: str) -> str | None:
    """Ask Slurm to start the job again. Gives the problem if it does not."""
    try:
        asked = _scontrol("requeue", job)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"scontrol cannot be run ({error})"
    return None if asked.returncode == 0 else f"scontrol says {' '.join(asked.stderr.split()) or asked.returncode}"


def _scontrol(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True, timeout=60)


def _is_cancelled(job: str) -> bool:
    """Whether a user ended the job, from Slurm's description: it ends, and not because its time is up."""
    state = re.search(r"\bJobState=(\w+)", job)
    reason = re.search(r"\bReason=(\w+)", job)
    ends = state is not None and state[1] in ("CANCELLED", "COMPLETING")
    return ends and (reason is None or reason[1] != "TimeLimit")

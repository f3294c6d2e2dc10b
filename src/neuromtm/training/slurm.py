"""The Slurm job that a process runs in, and whether another one still exists. Nothing heavy is imported here."""

import os
import subprocess

INTERACTIVE = ("bash", "interactive")
"""names of Slurm jobs in which a user works by hand"""


def slurm_job() -> str | None:
    """The Slurm job that this command runs in; None outside of Slurm and where a user works by hand."""
    if "SLURM_JOB_ID" not in os.environ or os.environ.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        return f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    return os.environ["SLURM_JOB_ID"]


def n_requeues() -> int:
    """How often Slurm has started this job again."""
    return int(os.environ.get("SLURM_RESTART_COUNT") or 0)


def has_left_the_queue(job: str) -> bool:
    """Whether Slurm no longer has a job. One that cannot be asked about counts as there.

    Args:
        job: its number, with that of the task in an array, e.g. `12_3`.
    """
    try:
        asked = subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    gone = asked.returncode != 0 and "Invalid job id" in asked.stderr
    return gone or (asked.returncode == 0 and not asked.stdout.strip())

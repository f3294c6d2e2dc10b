"""What `slurm/status` shows of a run's log."""

import pytest

from tests.slurm.running import script

START = "runs/x: job 12_1 on n[1-2], requeued {n} times\n"
STEPS_SHOWN = "Step 1,800 of 3,600, train/loss 0.2411; about 4 min to go."
KILLED = "srun: error: n2: task 1: Killed\n"


@pytest.mark.parametrize(
    ("log", "queue", "shown"),
    [
        (f"{STEPS_SHOWN}\n/x/y.py:3: UserWarning: many\n  warn()\n", True, STEPS_SHOWN),
        ("Seed set to 0\n/x/y.py:3: UserWarning: many\n  warn()\n", True, "Seed set to 0"),
        (f"{STEPS_SHOWN}\n{START.format(n=1)}Seed set to 1\n", True, "Seed set to 1"),
        (f"{STEPS_SHOWN}\n{KILLED}", False, "srun: error: n2: task 1: Killed"),
        (
            f"{STEPS_SHOWN}\n{KILLED}neuromtm: rank 1 on n2 has given no sign of life for 60 s, so the run ends.\n",
            False,
            "srun: error: n2: task 1: Killed",
        ),
        (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0.\nsrun: error: n1: task 0: Out Of Memory\n",
            False,
            "srun: error: n1: task 0: Out Of Memory",
        ),
        (
            "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch.\n",
            False,
            "slurmstepd: error: Detected 1 oom_kill event in StepId=12.batch. (on n[1-2])",
        ),
        (
            "neuromtm: rank 1 on n2 has given no sign of life for 60 s, so the run ends.\n"
            "srun: error: n1: task 0: Exited with exit code 1\n[W1128 TCPStore.cpp:125] [c10d] recvValue failed\n"
            "frame #0: c10::Error\nneuromtm: rank 0 on n1 is gone, so the run ends.\n",
            False,
            "neuromtm: rank 1 on n2 has given no sign of life for 60 s, so the run ends.",
        ),
        (
            f"neuromtm: SIGUSR1: step 9 is done.\n{START.format(n=1)}Traceback (most recent call last):\n"
            '  File "x"\nValueError: odd\nsrun: error: n1: task 0: Exited with exit code 1\n',
            False,
            "ValueError: odd",
        ),
        (
            "srun: error: n1: task 0: Exited with exit code 9\n",
            False,
            "srun: error: n1: task 0: Exited with exit code 9",
        ),
    ],
)
def test_of_a_log_the_state_shows_how_far_a_run_is_or_why_it_failed(sweep, slurm, log, queue, shown):
    assert sweep().returncode == 0
    run, job, path = (sweep.folder / "jobs.csv").read_text().splitlines()[1].split(",")
    (sweep.folder / path).write_text(START.format(n=0) + log)
    if queue:
        (slurm / "queue").write_text(f"{job}|RUNNING|None\n")
    (row,) = [line for line in script("status", sweep.folder).stdout.splitlines() if line.startswith(run)]
    assert row.split(maxsplit=3)[1:] == ["running" if queue else "failed", job, shown]

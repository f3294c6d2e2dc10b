"""Never two trainings in one run directory, and what a killed one leaves does not stand in the way of the next."""

import dataclasses
import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from neuromtm.commands.cli import NeuromtmCLI
from neuromtm.errors import ConfigError
from neuromtm.training import run_lock
from neuromtm.training.checkpoint import load_checkpoint
from neuromtm.training.run_lock import HOLDER_FILE, LOCK, SILENT_S, Holder, RunLock, release_all
from tests.running import neuromtm, neuromtm_process, pretrain, refusal
from tests.training.test_killed import QUICK, callbacks, signal_at

HOLDS = """
import sys, time
from neuromtm.training.run_lock import RunLock
RunLock(sys.argv[1]).acquire()
print("held", flush=True)
time.sleep(600)
"""
RACES = """
import sys
from neuromtm.training.run_lock import RunLock
sys.stdin.read(1)
try:
    RunLock(sys.argv[1]).acquire()
    print("got", flush=True)
except Exception:
    print("none", flush=True)
sys.stdin.read()
"""


def held_by_a_process(run_dir: Path) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(run_dir)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def left_by(run_dir: Path, *, silent_s: float = 0.0, **changes: object) -> None:
    """A lock that another process has left, by default one of another machine."""
    changes = {"machine": "elsewhere", "host": "elsewhere", "name": "other"} | changes
    (run_dir / LOCK).mkdir(parents=True)
    path = run_dir / LOCK / HOLDER_FILE
    path.write_text(json.dumps(dataclasses.asdict(dataclasses.replace(Holder.here(), **changes))))
    written_s = time.time() - silent_s
    os.utime(path, (written_s, written_s))


def take(run_dir: Path) -> None:
    """Take a run directory and give it free."""
    lock = RunLock(run_dir)
    lock.acquire()
    lock.release()


def test_the_second_one_hears_who_is_at_work_and_a_killed_one_stands_in_nobody_s_way(tmp_path):
    first = held_by_a_process(tmp_path)
    try:
        with pytest.raises(ConfigError) as refused:
            take(tmp_path)
        said = (
            f"a training is at work there ({getpass.getuser()}, process {first.pid} on {socket.gethostname()}, since 2"
        )
        assert said in str(refused.value)
        assert str(refused.value).endswith(f"If it no longer runs, remove {tmp_path / LOCK}.")
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(ConfigError):
            take(tmp_path)  # it may wake again
    finally:
        first.kill()
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # dead, and nobody has asked for its status
    take(tmp_path)
    assert not list(tmp_path.iterdir())
    first.wait()


def test_the_number_of_a_process_that_another_one_has_now_says_nothing(tmp_path):
    left_by(tmp_path, machine=Holder.here().machine, process=os.getppid(), began="1")
    take(tmp_path)
    left_by(tmp_path, machine=Holder.here().machine, process=os.getppid(), began=run_lock._began(os.getppid()))
    with pytest.raises(ConfigError):
        take(tmp_path)


def test_on_another_machine_signs_of_life_count(tmp_path):
    left_by(tmp_path / "alive", silent_s=SILENT_S - 60)
    with pytest.raises(ConfigError, match="on elsewhere"):
        take(tmp_path / "alive")
    left_by(tmp_path / "silent", silent_s=SILENT_S + 60)
    take(tmp_path / "silent")


def test_signs_of_life_are_given(tmp_path):
    lock = RunLock(tmp_path, sign_every_s=0.01)
    lock.acquire()
    path = tmp_path / LOCK / HOLDER_FILE
    os.utime(path, (0, 0))
    while path.stat().st_mtime == 0:
        time.sleep(0.01)
    lock.release()


@pytest.mark.parametrize(
    ("own", "other", "queue", "taken"),
    [
        (("7", "1"), ("7", 0), "", True),  # the same job, started again
        (("7", "0"), ("7", 0), "7 R", False),  # two trainings in one job
        (("8", "0"), ("7", 0), "7 R", False),
        (("8", "0"), ("7", 0), "", True),  # Slurm no longer has it
        ((None, None), ("7", 0), "", True),
    ],
)
def test_slurm_says_whether_a_job_goes_on(tmp_path, monkeypatch, own, other, queue, taken):
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\necho '{queue}'\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for name, value in zip(("SLURM_JOB_ID", "SLURM_RESTART_COUNT"), own, strict=True):
        monkeypatch.delenv(name, raising=False) if value is None else monkeypatch.setenv(name, value)
    left_by(tmp_path / "run", job=other[0], n_requeues=other[1])
    if taken:
        take(tmp_path / "run")
    else:
        with pytest.raises(ConfigError, match="job 7, process"):
            take(tmp_path / "run")


def test_a_damaged_lock_is_removed_and_folders_that_were_made_go_again(tmp_path):
    (tmp_path / LOCK).mkdir()
    (tmp_path / LOCK / HOLDER_FILE).write_text("{")
    take(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    take(tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_many_at_once_one_gets_what_a_killed_one_left(tmp_path):
    left_by(tmp_path, silent_s=SILENT_S + 60)
    script = "import sys; from neuromtm.training.run_lock import RunLock\nsys.stdin.read(1)\n"
    script += (
        "try: RunLock(sys.argv[1]).acquire(); print('got', flush=True)\nexcept Exception: print('none', flush=True)\n"
    )
    script += "sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], **pipes) for _ in range(4)]
    for process in processes:
        process.stdin.write("x")
        process.stdin.flush()
    said = [process.stdout.readline() for process in processes]
    for process in processes:
        process.communicate()
    assert sorted(said) == ["got\n", *["none\n"] * 3]


def test_what_one_process_holds_is_given_free_when_it_ends_without_unwinding(tmp_path):
    RunLock(tmp_path).acquire()
    release_all()
    assert not list(tmp_path.iterdir())


def test_a_process_that_was_taken_for_dead_ends_when_it_wakes(tmp_path):
    script = HOLDS.replace("RunLock(sys.argv[1])", "RunLock(sys.argv[1], sign_every_s=0.01)")
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    (tmp_path / LOCK / HOLDER_FILE).unlink()
    (tmp_path / LOCK).rmdir()
    left_by(tmp_path)
    process.send_signal(signal.SIGCONT)
    assert "another one went on" in process.communicate()[1]
    assert process.returncode == 1
    assert (tmp_path / LOCK).exists()


# ---- trainings


@pytest.fixture
def command(root, sessions_dir, tmp_path):
    return pretrain(root, sessions_dir, *QUICK, "--run_dir", tmp_path / "run")


class Instantiated(NeuromtmCLI):
    """Stops before it runs anything."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def test_a_training_is_refused_where_another_is_at_work_and_a_test_is_not(command, tmp_path, capsys):
    Instantiated(list(map(str, command)))
    assert not (tmp_path / "run").exists()
    first = held_by_a_process(tmp_path / "run")
    try:
        for more in (("--auto_resume=true",), ()):
            assert f"process {first.pid} on" in refusal(capsys, *command, *more)
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
        Instantiated(["test", *map(str, command[1:])])
        assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK]
    finally:
        first.kill()
        first.wait()


def test_other_ranks_of_a_run_take_no_lock(command, tmp_path, monkeypatch):
    first = held_by_a_process(tmp_path / "run")
    try:
        monkeypatch.setenv("NODE_RANK", "1")
        Instantiated([*map(str, command), "--auto_resume=true"])
    finally:
        first.kill()
        first.wait()


def test_a_killed_training_goes_on_at_once(command, tmp_path):
    config = callbacks(tmp_path, signal_at(2, "SIGKILL"))
    options = ("--checkpoint_every_n_minutes=0.000001", "--trainer.max_steps=4")
    killed = neuromtm_process(*command, "--config", config, *options, check=False, start_new_session=True)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "run" / LOCK / HOLDER_FILE).exists()
    neuromtm(*command, "--auto_resume=true", *options)
    assert not (tmp_path / "run" / LOCK).exists()
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 4

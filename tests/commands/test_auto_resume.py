"""A training that starts, goes on and is left alone by one command; and under Slurm, whose jobs start again."""

import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from neuromtm.commands.stopping import STOPPED
from neuromtm.training.checkpoint import load_checkpoint
from tests.running import neuromtm, neuromtm_process, pretrain, refusal
from tests.training.test_killed import QUICK, callbacks, signal_at

N_STEPS = 18
"""three epochs of six batches"""


@pytest.fixture
def command(root, sessions_dir, tmp_path):
    """A training's command line."""
    return pretrain(root, sessions_dir, *QUICK, "--run_dir", tmp_path / "run")


def last(tmp_path) -> Path:
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


def stopped_after(tmp_path, command, step, *more, by="SIGTERM", during="step"):
    """End a training in this process by a signal."""
    config = callbacks(tmp_path, signal_at(step - 1 if during == "step" else step, by, during=during))
    with pytest.raises(SystemExit) as ended:
        neuromtm(*command, "--config", config, *more)
    assert ended.value.code == STOPPED
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_finished_training_is_left_alone(command, tmp_path, caplog):
    neuromtm(*command)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with caplog.at_level("INFO"):
        neuromtm(*command, "--auto_resume", "true")
    assert f"{last(tmp_path)}: the training is finished: all 3 epochs are done." in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_training_that_ended_early_is_left_alone(command, tmp_path, caplog):
    early = tmp_path / "early.yaml"
    early.write_text(
        "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.EarlyStopping,"
        " init_args: {monitor: val/loss, stopping_threshold: 1000.0}}]}"
    )
    neuromtm(*command, "--config", early)
    assert load_checkpoint(last(tmp_path))["global_step"] < N_STEPS
    with caplog.at_level("INFO"):
        neuromtm(*command, "--config", early, "--auto_resume", "true")
    assert "the training is finished: it was ended early" in caplog.text


def test_a_training_of_all_its_steps_is_left_alone(command, tmp_path, caplog):
    steps = ("--trainer.max_steps", "7", "--auto_resume", "true")
    neuromtm(*command, *steps)
    with caplog.at_level("INFO"):
        neuromtm(*command, *steps)
    assert "the training is finished: all 7 steps are done" in caplog.text


def test_a_signal_in_the_last_step_leaves_a_finished_training(command, tmp_path, capsys, caplog):
    stopped_after(tmp_path, command, N_STEPS)
    assert "neuromtm: SIGTERM: step 18 is done and kept in" in capsys.readouterr().err
    neuromtm(*command, "--auto_resume", "true")
    assert load_checkpoint(last(tmp_path))["global_step"] == N_STEPS
    with caplog.at_level("INFO"):
        neuromtm(*command, "--auto_resume", "true")
    assert "the training is finished" in caplog.text


def test_a_training_given_up_in_its_last_validation_validates_when_it_goes_on(command, tmp_path):
    stopped_after(tmp_path, command, N_STEPS, during="validation")
    neuromtm(*command, "--auto_resume", "true", "--config", callbacks(tmp_path))
    diary = (tmp_path / "steps-0.txt").read_text().splitlines()
    assert [line.split()[1] for line in diary if line.startswith("validation")] == ["6", "12", "18"]


def test_a_run_killed_before_its_first_checkpoint_starts_again(command, tmp_path):
    config = callbacks(tmp_path, signal_at(0, "SIGTERM", during="start"))
    with pytest.raises(SystemExit) as ended:
        neuromtm(*command, "--config", config)
    assert ended.value.code == STOPPED
    assert (tmp_path / "run" / "config.yaml").exists()
    assert not last(tmp_path).exists()
    neuromtm(*command, "--auto_resume", "true")
    assert load_checkpoint(last(tmp_path))["global_step"] == N_STEPS
    assert "auto_resume: false" in (tmp_path / "run" / "config.yaml").read_text()


def test_going_on_where_there_is_no_checkpoint_is_refused_unless_it_may_begin(capsys, command, tmp_path):
    line = refusal(capsys, *command, "--ckpt_path", "last")
    assert f"{last(tmp_path)} does not exist" in line
    assert "--auto_resume true" in line
    assert not (tmp_path / "run").exists()


def test_two_words_for_the_checkpoint_are_refused(capsys, command):
    assert "leave out --ckpt_path best" in refusal(capsys, *command, "--auto_resume", "true", "--ckpt_path", "best")


def test_other_options_than_the_run_began_with_are_refused(capsys, command, tmp_path):
    stopped_after(tmp_path, command, 4)
    line = refusal(capsys, *command, "--auto_resume", "true", "--model.lr", "0.5")
    assert "model.lr was" in line
    assert load_checkpoint(last(tmp_path))["global_step"] == 4


def test_a_damaged_checkpoint_is_no_reason_to_begin_anew(capsys, command, tmp_path):
    stopped_after(tmp_path, command, 4)
    last(tmp_path).write_bytes(last(tmp_path).read_bytes()[:-100])
    assert "not a readable checkpoint" in refusal(capsys, *command, "--auto_resume", "true")


@pytest.mark.parametrize("scoring", ["test", "predict"])
def test_a_test_that_a_signal_ends_leaves_nothing_half_written(pretrained, tmp_path, capsys, scoring):
    run = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    config = callbacks(tmp_path, signal_at(0, "SIGTERM", during="test"))
    with pytest.raises(SystemExit) as ended:
        neuromtm(scoring, *run, "--run_dir", tmp_path / "run", "--config", config)
    assert ended.value.code == STOPPED
    assert f"{scoring} is not done, and nothing is half written" in capsys.readouterr().err
    written = {path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith("events.")}
    assert written == {f"config.{scoring}.yaml", "provenance.json"}


# ---- Slurm


@pytest.fixture
def slurm(monkeypatch, tmp_path):
    """A job of Slurm, with a program in the place of `scontrol`. Gives a function that lists its calls."""
    calls, program = tmp_path / "calls.txt", tmp_path / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$1" = show ] && cat {tmp_path}/job.txt\nexit 0\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (tmp_path / "job.txt").write_text("JobId=77 JobName=train JobState=RUNNING Reason=None\n")
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    job = {"JOB_ID": "77", "JOB_NAME": "train", "NTASKS": "1", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    return lambda: calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize("by", ["SIGUSR1", "SIGTERM"])
def test_a_job_requeues_itself_and_goes_on_by_the_same_command(command, tmp_path, slurm, monkeypatch, capsys, by):
    stopped_after(tmp_path, command, 8, by=by)
    assert slurm()[-1] == "requeue 77"
    assert "Job 77 is requeued and goes on from there." in capsys.readouterr().err
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")  # as in the job that Slurm starts again
    neuromtm(*command, "--config", callbacks(tmp_path))  # without --auto_resume, and config.yaml is there
    diary = (tmp_path / "steps-0.txt").read_text().splitlines()
    assert [int(line.split()[1]) for line in diary if line.startswith("step")] == list(range(1, N_STEPS + 1))


def test_a_task_of_an_array_requeues_only_itself(command, tmp_path, slurm, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "70")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    stopped_after(tmp_path, command, 2)
    assert slurm() == ["show job -o 70_3", "requeue 70_3"]


@pytest.mark.parametrize(
    ("state", "requeued"),
    [
        ("JobState=COMPLETING Reason=None", False),  # scancel
        ("JobState=COMPLETING Reason=TimeLimit", True),
        ("", True),
    ],
)
def test_a_job_that_was_cancelled_does_not_requeue_itself(command, tmp_path, slurm, capsys, state, requeued):
    (tmp_path / "job.txt").write_text(state)
    stopped_after(tmp_path, command, 2)
    assert ("requeue 77" in slurm()) == requeued
    assert ("Job 77 is not requeued: it was cancelled." in capsys.readouterr().err) != requeued


def test_a_job_by_hand_does_not_requeue_itself(command, tmp_path, slurm, monkeypatch, capsys):
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    stopped_after(tmp_path, command, 2)
    assert not slurm()
    assert "Go on by the same command with --auto_resume true." in capsys.readouterr().err


def test_a_job_that_slurm_does_not_requeue_says_so(command, tmp_path, slurm, capsys):
    (tmp_path / "bin" / "scontrol").write_text('#!/bin/sh\n[ "$1" = show ] || { echo "Job is held" >&2; exit 1; }\n')
    stopped_after(tmp_path, command, 2)
    assert "Job 77 is not requeued: scontrol says Job is held. Go on by the same" in capsys.readouterr().err


def test_a_job_without_scontrol_says_so(command, tmp_path, slurm, capsys, monkeypatch):
    (tmp_path / "bin" / "scontrol").unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    stopped_after(tmp_path, command, 2)
    assert "Job 77 is not requeued: scontrol cannot be run" in capsys.readouterr().err


def test_a_checkpoint_of_a_former_requeue_is_not_gone_on_from_in_silence(capsys, command, tmp_path, slurm, pretrained):
    (tmp_path / "run").mkdir()
    stale = tmp_path / "run" / "hpc_ckpt_1.ckpt"
    stale.write_bytes((pretrained / "checkpoints" / "last.ckpt").read_bytes())
    assert "holds a run already (hpc_ckpt_1.ckpt)" in refusal(capsys, *command)
    test = ("test", "--config", pretrained / "config.yaml", "--run_dir", tmp_path / "run")
    assert "There is no trained model to run: give --ckpt_path" in refusal(capsys, *test)


# ---- what a disk does


def test_a_full_disk_leaves_the_checkpoint_before(capsys, command, tmp_path):
    stopped_after(tmp_path, command, 4)
    before = last(tmp_path).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        line = refusal(capsys, *command, "--auto_resume", "true")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "the checkpoint cannot be written (File too large)" in line
    assert last(tmp_path).read_bytes() == before
    assert torch.load(last(tmp_path), weights_only=True)["global_step"] == 4
    assert not list(last(tmp_path).parent.glob(".*"))
    neuromtm(*command, "--auto_resume", "true")
    assert load_checkpoint(last(tmp_path))["global_step"] == N_STEPS


NO_LOCKS = """
#include <errno.h>
int flock(int fd, int operation) { (void)fd; (void)operation; errno = ENOLCK; return -1; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc, which builds the stand-in for such a file system")
def test_a_file_system_without_locks_holds_a_run(command, tmp_path):
    library = tmp_path / "nolock.so"
    (tmp_path / "nolock.c").write_text(NO_LOCKS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, tmp_path / "nolock.c"], check=True)
    env = {**os.environ, "LD_PRELOAD": str(library)}
    lock = "import fcntl, sys; fcntl.flock(sys.stdin, fcntl.LOCK_EX)"
    locked = subprocess.run([sys.executable, "-c", lock], env=env, capture_output=True, text=True)
    assert "No locks available" in locked.stderr
    neuromtm_process(*command, "--trainer.max_steps=2", env=env)
    assert load_checkpoint(last(tmp_path))["global_step"] == 2

"""Runs that a signal ends, in processes of their own, and go on as if they had never ended."""

import random
import socket
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from neuromtm.training.checkpoint import load_checkpoint
from tests.running import neuromtm, neuromtm_process, pretrain, scalars

N_BATCHES = 6
"""of an epoch: three sessions of 28 training trials, 16 a batch"""
N_EPOCHS = 3
QUICK = (
    "--behavior.validate=false",
    "--figures.n_val_sessions=0",
    "--activity.n_val_neurons=1",
    "--activity.n_val_regions=1",
    "--trainer.log_every_n_steps=1",
    "--data.eval_batch_size=4",  # so that a validation has several batches
    f"--trainer.max_epochs={N_EPOCHS}",
)
STOPPED = 75


def callbacks(folder: Path, *more: dict) -> Path:
    """A configuration file with the diary and other callbacks."""
    early = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/loss", "patience": 9},
    }
    diary = {"class_path": "tests.interrupted.Diary", "init_args": {"folder": str(folder)}}
    path = folder / f"callbacks-{len(more)}.yaml"
    path.write_text(yaml.safe_dump({"trainer": {"callbacks": [early, diary, *more]}}))
    return path


def signal_at(step: int, signal: str, **options) -> dict:
    return {"class_path": "tests.interrupted.SignalAt", "init_args": {"signal": signal, "step": step, **options}}


class Run:
    """A training and its folder."""

    def __init__(self, root: Path, data: Path, folder: Path, *options: object):
        folder.mkdir()
        self.folder, self.run_dir = folder, folder / "run"
        self.command = pretrain(root, data, *QUICK, "--run_dir", self.run_dir, *options)

    def in_this_process(self, *more: object) -> None:
        neuromtm(*self.command, "--config", callbacks(self.folder), *more)

    def killed(self, *signals: dict, more: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        config = callbacks(self.folder, *signals)
        return neuromtm_process(*self.command, "--config", config, *more, check=False, start_new_session=True)

    def diary(self, rank: int = 0) -> list[str]:
        return (self.folder / f"steps-{rank}.txt").read_text().splitlines()

    def last(self):
        return load_checkpoint(self.run_dir / "checkpoints" / "last.ckpt")


@pytest.fixture(scope="module")
def uninterrupted(root, sessions_dir, tmp_path_factory):
    run = Run(root, sessions_dir, tmp_path_factory.mktemp("uninterrupted") / "run")
    run.in_this_process()
    assert sum(line.startswith("step") for line in run.diary()) == N_EPOCHS * N_BATCHES
    return run


def assert_the_same(run: Run, whole: Run) -> None:
    """Final weights, moments, schedule, the callbacks' memories and the best checkpoint are the same."""
    found, expected = run.last(), whole.last()
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "loops"):
        assert_equal(found[key], expected[key])
    for name in ("EarlyStopping", "BestCheckpoint"):
        theirs, ours = (
            next(state for key, state in one["callbacks"].items() if key.startswith(name)) for one in (expected, found)
        )
        for key in ("wait_count", "best_score", "best_model_score"):
            assert ours.get(key) == theirs.get(key)
    best = [load_checkpoint(one.run_dir / "checkpoints" / "best.ckpt") for one in (run, whole)]
    assert_equal(best[0]["state_dict"], best[1]["state_dict"])
    assert best[0]["global_step"] == best[1]["global_step"]


def assert_equal(found, expected) -> None:
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_equal(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("signal", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_a_run_that_a_signal_ends_goes_on_at_the_very_batch(root, sessions_dir, uninterrupted, tmp_path, signal):
    step = random.randrange(1, N_EPOCHS * N_BATCHES - 1)  # any must do
    run = Run(root, sessions_dir, tmp_path / signal)
    # to all processes, as by Ctrl-C, by `timeout` and by Slurm: the loaders' workers must live until the step is done
    ended = run.killed(signal_at(step, signal, to_all=True), more=("--data.n_workers=2",))
    last = run.run_dir / "checkpoints" / "last.ckpt"
    assert ended.returncode == STOPPED, ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("neuromtm: ")]
    assert line.startswith(f"neuromtm: {signal}: step {step + 1} is done and kept in {last}.")
    assert "Traceback" not in ended.stderr
    run.in_this_process("--auto_resume", "true")
    assert run.diary() == uninterrupted.diary()
    assert_the_same(run, uninterrupted)
    assert scalars(run.run_dir)["train/loss"] == scalars(uninterrupted.run_dir)["train/loss"]


@pytest.mark.parametrize("kept", [False, True], ids=["before the first checkpoint", "after a periodic checkpoint"])
def test_a_killed_run_loses_the_steps_since_its_last_checkpoint(root, sessions_dir, uninterrupted, tmp_path, kept):
    step = random.randrange(1, N_BATCHES - 1)  # before the first validation, which would be kept too
    run = Run(root, sessions_dir, tmp_path / "run")
    often = ("--checkpoint_every_n_minutes=0.000001",) if kept else ()
    assert run.killed(signal_at(step, "SIGKILL"), more=often).returncode == -9
    assert (run.run_dir / "config.yaml").exists()
    assert (run.run_dir / "checkpoints" / "last.ckpt").exists() == kept
    before = run.diary()
    assert len(before) == step
    run.in_this_process("--auto_resume", "true")
    assert run.diary() == (uninterrupted.diary() if kept else before + uninterrupted.diary())
    assert_the_same(run, uninterrupted)


# ---- two ranks


TWO = ("--trainer.devices=2", "--trainer.strategy=auto")
FORKED = ("--trainer.devices=2", "--trainer.strategy=ddp_fork")
"""trains as `TWO` does, and starts at once"""


@pytest.fixture(scope="module")
def uninterrupted_ranks(root, sessions_dir, tmp_path_factory):
    run = Run(root, sessions_dir, tmp_path_factory.mktemp("two") / "run")
    run.in_this_process(*FORKED)
    return run


def test_two_ranks_end_together_when_a_signal_reaches_one(root, sessions_dir, uninterrupted_ranks, tmp_path):
    run, step = Run(root, sessions_dir, tmp_path / "run"), random.randrange(1, 3 * N_EPOCHS - 1)
    ended = run.killed(signal_at(step, "SIGTERM", rank=1), more=TWO)
    assert ended.returncode == STOPPED, ended.stderr
    assert f"neuromtm: SIGTERM: step {step + 1} is done and kept in" in ended.stderr
    assert ended.stderr.count("neuromtm: ") == 1
    assert "Traceback" not in ended.stderr
    run.in_this_process("--auto_resume", "true", *FORKED)
    for rank in (0, 1):
        assert run.diary(rank) == uninterrupted_ranks.diary(rank)
    assert_the_same(run, uninterrupted_ranks)


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        ("SIGKILL", "was ended by SIGKILL, perhaps for want of memory"),
        ("SIGSTOP", "has given no sign of life for"),
    ],
)
def test_a_run_whose_rank_dies_or_hangs_ends_and_says_which(root, sessions_dir, tmp_path, signal, reason):
    run = Run(root, sessions_dir, tmp_path / "run")
    ended = run.killed(signal_at(2, signal, rank=1), more=(*TWO, "--rank_timeout_s", "5"))
    assert ended.returncode == 1
    assert f"neuromtm: rank 1 on {socket.gethostname()} {reason}" in ended.stderr
    assert "Traceback" not in ended.stderr

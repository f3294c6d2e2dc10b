"""A loader's worker is killed: the command ends in one sentence, and what was kept before is good."""

import multiprocessing
import os
import signal
from pathlib import Path

import lightning
import pytest

from neuromtm.commands.failures import users_own
from neuromtm.files import TEMPORARY
from neuromtm.training.checkpoint import load_checkpoint
from tests.running import neuromtm, neuromtm_process, pretrain, refusal

STEP = 3
FIT = (
    *("--data.n_workers=2", "--checkpoint_every_n_minutes=0.000001", "--trainer.max_epochs=2"),
    *("--behavior.validate=false", "--figures.n_val_sessions=0", "--activity.n_val_neurons=1"),
    "--activity.n_val_regions=1",
)


class KillsAWorker(lightning.Callback):
    """Kills a worker of a loader when a step begins, and in the first batch of a test or prediction."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == STEP:
            self._kill()

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self._kill()

    on_predict_batch_start = on_test_batch_start

    def _kill(self) -> None:
        worker, *_ = multiprocessing.active_children()
        os.kill(worker.pid, signal.SIGKILL)


KILLS = "--trainer.callbacks=tests.faults.test_lost_worker.KillsAWorker"


def assert_said(line: str) -> None:
    assert line.startswith("neuromtm: A process that reads batches (loader worker ")
    assert "was ended by a signal (Killed), perhaps for want of memory." in line
    assert "fewer data.n_workers" in line


def temporary_files(folder: Path) -> list[Path]:
    return list(folder.rglob(f"*{TEMPORARY}"))


def test_a_training_that_loses_a_worker_ends_and_goes_on_from_its_last_checkpoint(root, sessions_dir, tmp_path):
    run = tmp_path / "run"
    command = pretrain(root, sessions_dir, *FIT, "--run_dir", run)
    ended = neuromtm_process(*command, KILLS, check=False)
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("neuromtm: ")]
    assert_said(line)
    assert "Traceback" not in ended.stderr
    last = run / "checkpoints" / "last.ckpt"
    assert load_checkpoint(last)["global_step"] in (STEP, STEP + 1)  # the system says it a little later
    assert not temporary_files(run)
    neuromtm(*command, "--auto_resume", "true")
    assert load_checkpoint(last)["global_step"] == 12  # of two epochs


@pytest.mark.parametrize("command", ["test", "predict"])
def test_a_test_and_a_prediction_that_lose_a_worker_say_so(pretrained, tmp_path, capsys, command):
    own = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    assert_said(refusal(capsys, command, *own, "--run_dir", tmp_path, "--data.n_workers=1", KILLS))
    assert not multiprocessing.active_children()
    assert not temporary_files(tmp_path)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "DataLoader worker (pid 7) is killed by signal: Killed. ",
            "worker 7) was ended by a signal (Killed), perhaps ",
        ),
        (
            "DataLoader worker (pid 7) is killed by signal: Bus error. It is ...",
            "the shared memory (/dev/shm) is full.",
        ),
        ("DataLoader worker (pid 7) is killed by signal: Segmentation fault. ", "(Segmentation fault). Take fewer "),
        ("DataLoader worker (pid(s) 7, 8) exited unexpectedly", "worker 7, 8) is gone, perhaps for want of memory."),
        ("DataLoader worker (pid 7) exited unexpectedly with exit code 1. Details ...", "worker 7) is gone, perhaps "),
    ],
)
def test_whatever_torch_says_of_a_lost_worker_is_one_sentence(said, expected):
    error = ValueError("met on the way")
    error.__context__ = RuntimeError(said)
    assert expected in str(users_own(error))
    assert users_own(RuntimeError("DataLoader timed out")) is None

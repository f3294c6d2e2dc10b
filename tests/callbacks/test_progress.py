"""The progress bar: it reads the device at logged steps only, and it moves while neurons are left out of a session."""

import io
import itertools
import logging
import re

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger

from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.callbacks.progress import RunProgress, progress_of
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.models import stitching
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS
from tests.trainers import quiet_trainer
from tests.training.test_host_reads import HostReads


class WithoutReads(MaskedModeling):
    """Trained by an optimiser that reads nothing on a CPU either."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class Watched(lightning.Callback):
    """Counts the reads from the start of each step to the start of the next."""

    def __init__(self, reads):
        self.reads, self.before = reads, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.before.append(self.reads.found.total())


class Shown(RunProgress):
    """Keeps what it shows."""

    def __init__(self):
        super().__init__()
        self.metrics = []

    def get_metrics(self, trainer, pl_module):
        self.metrics.append(super().get_metrics(trainer, pl_module))
        return self.metrics[-1]


def make_trainer(folder, *callbacks, **options):
    shown = {"num_sanity_val_steps": 2, "enable_progress_bar": True}
    return quiet_trainer(folder, callbacks=list(callbacks), **shown | options)


def small():
    return NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=64)


def test_steps_that_are_not_logged_read_nothing_and_the_bar_shows_the_loss_of_the_last_one_that_was(
    sessions_dir, tmp_path
):
    data = SessionDataModule(root=str(sessions_dir), batch_size=4)
    bar, reads = Shown(), HostReads()
    watched = Watched(reads)
    trainer = make_trainer(
        tmp_path,
        *(bar, LearningRateMonitor("step"), watched),
        logger=CSVLogger(tmp_path),
        max_epochs=1,
        limit_train_batches=15,
        limit_val_batches=0,
        log_every_n_steps=10,
        gradient_clip_val=1.0,
    )
    with reads:
        trainer.fit(WithoutReads(small()), data)
    assert trainer.progress_bar_callback is bar
    assert trainer.global_step == 15
    with_reads = {step for step in range(14) if watched.before[step + 1] > watched.before[step]}
    # the loss is asked whether it is finite at steps 0 and 10, and logged and shown at the tenth step
    assert with_reads == {0, 9, 10}
    assert all("train/loss" not in shown for shown in bar.metrics[:9])
    assert len({shown["train/loss"] for shown in bar.metrics[9:]}) == 1


def bar_at(*times_s):
    """A bar whose clock shows these times, one after the other."""
    return RunProgress(line_every_s=30, clock=iter(times_s).__next__)


def test_without_a_terminal_a_line_now_and_then_says_how_far_a_test_is(caplog):
    bar = bar_at(0, 10, 20, 40, 50, 130, 500)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        bar.begin_pairs(1000)
        for n_pairs in (50, 50, 50, 50, 50, 750):
            bar.advance_pairs(n_pairs)
    assert [record.message for record in caplog.records] == [
        "Neurons left out in turn: 15%, about 4 min to go.",
        "Neurons left out in turn: 25%, about 6 min to go.",
    ]


@pytest.mark.parametrize("terminal", [True, False])
def test_in_a_log_a_training_says_its_step_and_losses_after_each_validation_and_now_and_then(
    terminal, sessions_dir, tmp_path, caplog
):
    times = itertools.count(0, 30)  # a look at the clock is 30 seconds after the one before
    bar = RunProgress(step_line_every_s=100, clock=lambda: float(next(times)))
    bar._console_kwargs = {"file": io.StringIO(), "force_terminal": terminal}
    data = SessionDataModule(root=str(sessions_dir), batch_size=4)
    options = {"max_steps": 16, "max_epochs": -1, "val_check_interval": 8, "check_val_every_n_epoch": None}
    trainer = make_trainer(tmp_path, bar, log_every_n_steps=4, logger=CSVLogger(tmp_path), **options)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        trainer.fit(MaskedModeling(small()), data)
    lines = [record.message for record in caplog.records if record.message.startswith("Step ")]
    if terminal:
        assert not lines
        return
    number = r"-?\d+\.\d{4}"
    of_a_validation = (
        rf"Step 8 of 16, train/loss {number}, val/loss {number}, val/bits_per_spike {number}; about \d+ (s|min) to go\."
    )
    assert re.fullmatch(of_a_validation, next(line for line in lines if "val/loss" in line))
    assert re.fullmatch(rf"Step 16 of 16, .*val/bits_per_spike {number}\.", lines[-1])
    between = [line for line in lines if "val/loss" not in line]
    assert between[0].startswith(
        "Step 4 of 16, train/loss "
    )  # 120 s after the start; "to go" is the time of 12 more steps
    assert between[0].endswith("about 8 min to go.")


def test_a_bar_that_is_disabled_says_nothing(caplog):
    bar = bar_at(0, 100)
    bar.disable()  # on every rank but the first
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        bar.begin_pairs(10)
        bar.advance_pairs(5)
    assert not caplog.records


@pytest.mark.parametrize("terminal", [True, False])
def test_a_test_moves_the_bar_within_a_session_to_its_end(terminal, pretrained, sessions_dir, tmp_path, monkeypatch):
    monkeypatch.setattr(stitching, "PAIRS_AT_ONCE", 16)
    bar, text, steps = RunProgress(), io.StringIO(), []
    bar._console_kwargs = {"file": text, "force_terminal": terminal}
    advance = bar.advance_pairs
    monkeypatch.setattr(bar, "advance_pairs", lambda n_pairs: (steps.append(n_pairs), advance(n_pairs)))
    data = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]])
    trainer = make_trainer(tmp_path, bar, ActivityTasks())
    trainer.test(MaskedModeling(), data, ckpt_path=str(pretrained / "checkpoints" / "best.ckpt"), verbose=False)
    session, n_trials = data.sessions[EIDS[0]], len(data.trials("test")[EIDS[0]])
    in_company = [r for r in session.regions if r in session.region_names and session.regions.count(r) > 1]
    assert sum(steps) == bar._n_done == bar._n_pairs == n_trials * (session.n_neurons + len(in_company))
    assert len(steps) > 5  # there is one batch
    assert ("\x1b" in text.getvalue()) == ("Neurons left out" in text.getvalue()) == terminal


def test_another_bar_or_none_is_left_alone(tmp_path):
    assert progress_of(make_trainer(tmp_path, enable_progress_bar=False)) is None
    assert progress_of(make_trainer(tmp_path)) is None

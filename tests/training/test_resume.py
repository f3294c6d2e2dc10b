"""A run that was stopped goes on as if it had not been: the same batches, masks, dropout, rates and weights."""

from contextlib import suppress
from itertools import pairwise

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import nn

from neuromtm.callbacks.checkpoints import LastCheckpoint
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import CheckpointError, ConfigError
from neuromtm.masking.objective import Objective
from neuromtm.training import optim
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES, objective_of
from tests.trainers import quiet_trainer

N_BATCHES = 6
"""three sessions of 28 training trials, 16 a batch"""


class Trace(lightning.Callback):
    """Keeps step, loss and learning rate of every step."""

    def __init__(self):
        self.steps: list[tuple[int, float, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.steps.append((trainer.global_step, float(outputs["loss"]), trainer.optimizers[0].param_groups[0]["lr"]))


class Stopped(Exception):
    """Stands for whatever ends a run."""


class Stop(lightning.Callback):
    """Ends a run in the middle: before a step, or when an epoch begins."""

    def __init__(self, *, before_step: int | None = None, at_epoch: int | None = None):
        self.before_step, self.at_epoch = before_step, at_epoch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.before_step:
            raise Stopped

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.at_epoch:
            raise Stopped


def train(
    data_dir,
    folder,
    *callbacks,
    n_workers=0,
    from_last=False,
    max_epochs=3,
    schedule="one_cycle",
    every_s=0.0,
    lr=1e-2,
    backbone="NDT1",
    weight_decay=0.01,
    stitcher_weight_decay=None,
    beta2=0.999,
    objective=None,
    **options,
):
    """Train a small model; gives the trace and the weights."""
    lightning.seed_everything(0)
    module = MaskedModeling(
        BACKBONES[backbone](),
        objective=objective,
        lr=lr,
        weight_decay=weight_decay,
        stitcher_weight_decay=stitcher_weight_decay,
        beta2=beta2,
        schedule=schedule,
        warmup_fraction=0.15 if schedule == "one_cycle" else 0.0,
    )
    data = SessionDataModule(root=str(data_dir), n_workers=n_workers)
    trace = Trace()
    trainer = quiet_trainer(
        folder,
        enable_checkpointing=True,
        max_epochs=max_epochs,
        log_every_n_steps=1,
        gradient_clip_val=1.0,
        plugins=[WholeFileCheckpointIO()],
        callbacks=[trace, *callbacks, LastCheckpoint(folder, every_s=every_s)],
        **options,
    )
    with suppress(Stopped):
        trainer.fit(module, data, ckpt_path=folder / "last.ckpt" if from_last else None)
    return trace.steps, {name: value.clone() for name, value in module.state_dict().items()}


def assert_goes_on(data_dir, tmp_path, stop, *, every_s=0.0, **options):
    whole, weights = train(data_dir, tmp_path / "whole", every_s=every_s, **options)
    first, _ = train(data_dir, tmp_path / "stopped", stop, every_s=every_s, **options)
    rest, resumed = train(data_dir, tmp_path / "stopped", from_last=True, every_s=every_s, **options)
    assert 0 < len(first) < len(whole)
    assert [*first, *rest] == whole
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    assert weights.keys() == resumed.keys()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_architecture_goes_on_as_if_it_had_not_been_stopped(backbone, sessions_dir, tmp_path):
    options = {"max_epochs": 2, "backbone": backbone, "objective": objective_of(backbone)}
    assert_goes_on(sessions_dir, tmp_path, Stop(before_step=N_BATCHES + 2), **options)


def test_a_run_that_reads_behaviour_goes_on_as_if_it_had_not_been_stopped(sessions_dir, tmp_path):
    options = {"backbone": "NDT1-behavior", "objective": Objective(schemes=["neuron", "encoding", "decoding"])}
    assert_goes_on(sessions_dir, tmp_path, Stop(before_step=N_BATCHES + 2), max_epochs=2, **options)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_run_stopped_in_mid_epoch_goes_on_at_the_very_batch(sessions_dir, tmp_path, n_workers):
    assert_goes_on(sessions_dir, tmp_path, Stop(before_step=N_BATCHES + 2), n_workers=n_workers)


@pytest.mark.parametrize("n_workers", [0, 2])
def test_a_run_stopped_behind_an_epoch_goes_on_with_the_next(sessions_dir, tmp_path, n_workers):
    assert_goes_on(sessions_dir, tmp_path, Stop(at_epoch=1), n_workers=n_workers)


def test_a_run_stopped_behind_the_last_batch_of_an_epoch_goes_on_with_the_next(sessions_dir, tmp_path):
    # saved without a validation, since only every second epoch has one
    assert_goes_on(sessions_dir, tmp_path, Stop(at_epoch=1), check_val_every_n_epoch=2)


def test_a_run_saved_at_a_validation_in_mid_epoch_goes_on_there(sessions_dir, tmp_path):
    assert_goes_on(sessions_dir, tmp_path, Stop(before_step=N_BATCHES + 2), every_s=1e9, val_check_interval=2)


def test_epochs_cut_short_go_on_at_their_own_batches(sessions_dir, tmp_path):
    assert_goes_on(sessions_dir, tmp_path, Stop(at_epoch=1), limit_train_batches=4)
    assert_goes_on(sessions_dir, tmp_path / "mid", Stop(before_step=6), limit_train_batches=4)


def test_accumulated_gradients_go_on(sessions_dir, tmp_path):
    assert_goes_on(sessions_dir, tmp_path, Stop(before_step=5), accumulate_grad_batches=2)


def test_more_steps_after_max_steps_in_mid_epoch_go_on_at_the_very_batch(sessions_dir, tmp_path):
    options = {"max_epochs": -1, "schedule": "constant", "every_s": 1e9}
    whole, weights = train(sessions_dir, tmp_path / "whole", max_steps=N_BATCHES + 4, **options)
    first, _ = train(sessions_dir, tmp_path / "stopped", max_steps=N_BATCHES + 2, **options)
    rest, resumed = train(sessions_dir, tmp_path / "stopped", from_last=True, max_steps=N_BATCHES + 4, **options)
    assert [*first, *rest] == whole
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


@pytest.mark.parametrize("check_val_every_n_epoch", [1, 2], ids=["validated", "not validated"])
def test_more_epochs_after_the_last_go_on_with_the_next(sessions_dir, tmp_path, check_val_every_n_epoch):
    options = {"schedule": "constant", "every_s": 1e9, "check_val_every_n_epoch": check_val_every_n_epoch}
    whole, _ = train(sessions_dir, tmp_path / "whole", max_epochs=2, **options)
    first, _ = train(sessions_dir, tmp_path / "stopped", max_epochs=1, **options)
    rest, _ = train(sessions_dir, tmp_path / "stopped", max_epochs=2, from_last=True, **options)
    assert [*first, *rest] == whole


def test_the_learning_rate_moves_at_every_step(sessions_dir, tmp_path):
    steps, _ = train(sessions_dir, tmp_path)
    rates = [lr for _, _, lr in steps]
    assert all(before != after for before, after in pairwise(rates))
    assert max(rates) <= 1e-2


def test_another_learning_rate_on_resuming_is_refused_not_ignored(sessions_dir, tmp_path):
    train(sessions_dir, tmp_path, max_epochs=1)
    with pytest.raises(ConfigError, match=r"model.lr was 0.01 and is now 0.02.*model.pretrained"):
        train(sessions_dir, tmp_path, from_last=True, max_epochs=2, lr=0.02)


def test_another_weight_decay_of_stitchers_on_resuming_is_refused(sessions_dir, tmp_path):
    train(sessions_dir, tmp_path, max_epochs=1)
    with pytest.raises(ConfigError, match=r"model.stitcher_weight_decay was 0.01 and is now 0.5"):
        train(sessions_dir, tmp_path, from_last=True, max_epochs=2, stitcher_weight_decay=0.5)


def test_another_memory_of_the_second_moment_on_resuming_is_refused(sessions_dir, tmp_path):
    train(sessions_dir, tmp_path, max_epochs=1)
    with pytest.raises(ConfigError, match=r"model.beta2 was 0.999 and is now 0.98"):
        train(sessions_dir, tmp_path, from_last=True, max_epochs=2, beta2=0.98)


def two_groups(model, *, weight_decay, stitcher_weight_decay):
    """The optimiser's groups as they were before stitchers had one of their own."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    matrices, others = [], []
    for parameter in model.parameters():
        (matrices if parameter.ndim >= 2 and id(parameter) not in embeddings else others).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_run_of_an_optimiser_with_two_groups_goes_on(backbone, sessions_dir, tmp_path, monkeypatch):
    # without decay the groups make no difference, so that every weight must find its own moments again
    options = {"max_epochs": 2, "backbone": backbone, "weight_decay": 0.0, "objective": objective_of(backbone)}
    whole, weights = train(sessions_dir, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        patch.setattr(optim, "parameter_groups", two_groups)
        first, _ = train(sessions_dir, tmp_path / "stopped", Stop(before_step=N_BATCHES + 2), **options)
    saved = torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert len(saved["optimizer_states"][0]["param_groups"]) == len(saved["lr_schedulers"][0]["base_lrs"]) == 2
    rest, resumed = train(sessions_dir, tmp_path / "stopped", from_last=True, **options)
    assert [*first, *rest] == whole
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_an_optimiser_with_two_groups_of_other_weights_is_refused(sessions_dir, tmp_path):
    train(sessions_dir, tmp_path, max_epochs=1)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    saved["optimizer_states"][0]["param_groups"].pop()
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"not of the weights of this model.*model.pretrained"):
        train(sessions_dir, tmp_path, from_last=True, max_epochs=2)


def test_early_stopping_goes_on_after_a_validation(sessions_dir, tmp_path):
    early = lambda: EarlyStopping("val/loss", patience=9)  # noqa: E731
    whole, _ = train(sessions_dir, tmp_path / "whole", early())
    first, _ = train(sessions_dir, tmp_path / "stopped", early(), Stop(at_epoch=1), every_s=1e9)
    rest, _ = train(sessions_dir, tmp_path / "stopped", early(), from_last=True, every_s=1e9)
    assert [*first, *rest] == whole

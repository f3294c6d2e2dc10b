"""What a training asks of its batches, how they come to the device, and that it learns the same wherever they lie."""

import warnings

import lightning
import numpy as np
import pytest
import torch

from neuromtm.batch import Batch
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES
from tests.trainers import quiet_trainer


class Seen(lightning.Callback):
    """Keeps the batches and the losses of a training, and saves after the second step."""

    def __init__(self, folder):
        self.folder = folder
        self.batches: list[Batch] = []
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.batches.append(batch)
        self.losses.append(float(outputs["loss"]))
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.folder / "two.ckpt")


def train(sessions_dir, folder, *, backbone="NDT1", wants_active_counts=None, ckpt_path=None, **options) -> Seen:
    """Three steps."""
    lightning.seed_everything(0)
    module, seen = MaskedModeling(BACKBONES[backbone](), lr=1e-2), Seen(folder)
    if wants_active_counts is not None:
        module.model.backbone.wants_active_counts = wants_active_counts
    trainer = quiet_trainer(folder, max_steps=3, limit_val_batches=0, callbacks=[seen])
    data = SessionDataModule(root=str(sessions_dir), batch_size=8, sessions_per_batch=2, **options)
    trainer.fit(module, data, ckpt_path=ckpt_path)
    return seen


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cache", ["device", "memory"])
def test_a_training_learns_the_same_wherever_the_counts_lie(sessions_dir, tmp_path, cache):
    losses = [train(sessions_dir, tmp_path, cache=c, n_workers=n).losses for c, n in (("none", 0), (cache, 2))]
    assert len(losses[0]) == 3
    assert losses[0] == losses[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cache", ["device", "memory", "none"])
def test_a_model_that_wants_active_neurons_counted_gets_them_also_after_a_resume(sessions_dir, tmp_path, cache):
    options = {"cache": cache, "wants_active_counts": True}
    first = train(sessions_dir, tmp_path, **options)
    again = train(sessions_dir, tmp_path, **options, ckpt_path=tmp_path / "two.ckpt")
    assert len(again.batches) == 1
    for batch in (*first.batches, *again.batches):
        for group in batch.groups:
            np.testing.assert_array_equal(group.n_active, np.count_nonzero(group.counts, axis=2))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("wants", [None, False])
def test_for_other_models_nothing_is_counted(sessions_dir, tmp_path, wants):
    seen = train(sessions_dir, tmp_path, wants_active_counts=wants)
    assert all(group.n_active is None for batch in seen.batches for group in batch.groups)


def test_the_data_module_moves_the_batches(sessions_dir, tmp_path, monkeypatch):
    moved, move = [], SessionDataModule.transfer_batch_to_device
    monkeypatch.setattr(SessionDataModule, "transfer_batch_to_device", lambda *of: moved.append(of[1]) or move(*of))
    with warnings.catch_warnings(record=True) as said:
        train(sessions_dir, tmp_path)
    assert len(moved) == 3
    assert not [warning for warning in said if "transfer_batch_to_device" in str(warning.message)]


@pytest.mark.parametrize(("device", "waits"), [("cpu", True), ("cuda", False)])
def test_only_a_gpu_gets_its_batches_without_waiting(monkeypatch, device, waits):
    asked = []
    monkeypatch.setattr(Batch, "to", lambda batch, device, non_blocking: asked.append((device.type, non_blocking)))
    SessionDataModule(root="nowhere").transfer_batch_to_device(Batch(()), torch.device(device), 0)
    assert asked == [(device, not waits)]

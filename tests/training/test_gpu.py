"""What only a GPU can show: a whole training step in which the host never waits for it."""

import lightning
import pytest
import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES, objective_of
from tests.trainers import quiet_trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
N_WARM_UP = 4
"""steps in which libraries load, memory is reserved, and the schemes are met first"""


class NoWaiting(lightning.Callback):
    """Makes every read of the device an error, from the start of a batch to its end."""

    n_steps = 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step >= N_WARM_UP:
            torch.cuda.set_sync_debug_mode("error")

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.n_steps += torch.cuda.get_sync_debug_mode() == 2
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true"])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_whole_step_never_waits_for_the_gpu(sessions_dir, tmp_path, backbone, precision):
    waits_never = NoWaiting()
    trainer = quiet_trainer(
        tmp_path,
        accelerator="gpu",
        devices=1,
        precision=precision,
        max_steps=N_WARM_UP + 8,
        log_every_n_steps=1000,
        gradient_clip_val=1.0,
        limit_val_batches=0,
        callbacks=[waits_never],
    )
    data = SessionDataModule(root=str(sessions_dir), batch_size=8, sessions_per_batch=2, cache="device")
    try:
        trainer.fit(MaskedModeling(BACKBONES[backbone](), objective=objective_of(backbone)), data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert waits_never.n_steps == 8

"""The learning rate ends at zero with the last step of a training, whatever ends it."""

import lightning
import pytest

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.masked_modeling import MaskedModeling
from tests.trainers import quiet_trainer


class Rates(lightning.Callback):
    """Writes down the learning rate of each step."""

    def __init__(self):
        self.found = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step > len(self.found):
            self.found.append(trainer.lr_scheduler_configs[0].scheduler.get_last_lr()[0])


@pytest.mark.parametrize(
    "end",
    [
        {"max_epochs": 2},
        {"max_epochs": 2, "accumulate_grad_batches": 2},
        {"max_epochs": 2, "limit_train_batches": 3},
        {"max_epochs": 5, "max_steps": 4},
        {"max_epochs": 1, "max_steps": 100},
    ],
    ids=str,
)
def test_the_rate_is_zero_after_the_last_step_and_not_before(sessions_dir, tmp_path, end):
    rates = Rates()
    trainer = quiet_trainer(tmp_path, **end, limit_val_batches=0, callbacks=[rates])
    module = MaskedModeling(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=32), lr=1e-3)
    trainer.fit(module, SessionDataModule(root=str(sessions_dir), batch_size=16))
    assert len(rates.found) == trainer.global_step >= 3
    assert rates.found[-1] == pytest.approx(0, abs=1e-12)
    assert min(rates.found[:-1]) > 1e-6

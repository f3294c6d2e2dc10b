"""The LightningModule: what it refuses while it trains."""

import lightning
import pytest

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import TrainingError
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.masked_modeling import MaskedModeling


def test_a_loss_that_is_not_finite_stops_training_and_names_session_and_scheme(sessions_dir, tmp_path):
    data = SessionDataModule(root=str(sessions_dir), n_sessions=1)
    module = MaskedModeling(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=64), lr=1e30)
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_epochs=20,
        logger=False,
        log_every_n_steps=1,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises(TrainingError, match=r"loss of step \d+ is .* with \w+ masking of sim") as caught:
        trainer.fit(module, data)
    assert next(iter(data.sessions)) in str(caught.value)

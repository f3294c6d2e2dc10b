"""The LightningModule: what it refuses while it trains, and how it weighs sessions."""

import lightning
import pytest
import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import TrainingError
from neuromtm.masking.masked import mask
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.masked_cost import masked_cost
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES, make_group, make_model, make_session
from tests.running import EIDS
from tests.trainers import quiet_trainer


def test_a_loss_that_is_not_finite_stops_training_and_names_session_and_scheme(sessions_dir, tmp_path):
    data = SessionDataModule(root=str(sessions_dir), n_sessions=1)
    module = MaskedModeling(NDT1(width=16, n_layers=1, n_heads=2, mlp_width=16, max_bins=64), lr=1e30)
    trainer = quiet_trainer(tmp_path, max_epochs=20, log_every_n_steps=1)
    with pytest.raises(TrainingError, match=r"loss of step \d+ is .* with \w+ masking of sim") as caught:
        trainer.fit(module, data)
    assert next(iter(data.sessions)) in str(caught.value)


def test_the_loss_per_spike_weighs_sessions_alike():
    """Two sessions, of which one fires ten times as much: the weighted cost is the sum of each one's own."""
    model = make_model([make_session("a"), make_session("b")])
    groups = [make_group(model.sessions[eid]) for eid in "ab"]
    masked = [mask(group.counts, torch.arange(7) > 3) for group in groups]
    alone = [masked_cost(model, [g], [m], "neuron").total for g, m in zip(groups, masked, strict=True)]
    weighted = masked_cost(model, groups, masked, "neuron", weights={"a": 0.5, "b": 4.0})
    torch.testing.assert_close(weighted.total, 0.5 * alone[0] + 4.0 * alone[1])
    assert weighted.n_targets == masked_cost(model, groups, masked, "neuron").n_targets
    only = masked_cost(model, groups[:1], masked[:1], "neuron", weights={"a": 0.5, "b": 4.0})
    torch.testing.assert_close(only.total, 0.5 * alone[0])


def test_the_architecture_s_own_loss_is_weighted_too():
    model = make_model([make_session("a")], backbone="LFADS").train()
    group = make_group(model.sessions["a"])
    found = []
    for weights in (None, {"a": 3.0}):
        torch.manual_seed(0)
        model.backbone.n_steps.fill_(5)
        cost = masked_cost(model, [group], [mask(group.counts, torch.arange(7) > 3)], "neuron", weights=weights)
        found.append(cost.own_loss)
    torch.testing.assert_close(found[1], 3.0 * found[0])


def test_the_weights_are_the_sessions_mean_counts_and_validation_has_none(sessions_dir, tmp_path):
    losses = {}
    for loss_per in ("entry", "spike"):
        lightning.seed_everything(0)
        module = MaskedModeling(BACKBONES["NDT1"](), lr=1e-12, loss_per=loss_per)
        trainer = quiet_trainer(tmp_path, max_steps=1, log_every_n_steps=1, val_check_interval=1)
        data = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]])
        trainer.fit(module, data)
        losses[loss_per] = [trainer.callback_metrics[name].item() for name in ("train/loss", "val/loss")]
    mean = data.mean_counts(EIDS[0]).mean().item()
    assert losses["spike"][0] == pytest.approx(losses["entry"][0] / mean, rel=1e-4)
    assert losses["spike"][1] == pytest.approx(losses["entry"][1], rel=1e-5)

"""Which weights decay, how the learning rate moves, and that a step touches only what it uses."""

from itertools import pairwise

import lightning
import pytest
import torch
from torch import nn

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import module_key
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.optim import learning_rate_factor, parameter_groups
from tests.models.small_models import BACKBONES, make_model
from tests.running import EIDS
from tests.trainers import quiet_trainer


def small(**options):
    return NDT1(width=16, n_layers=1, n_heads=2, mlp_width=32, max_bins=32, **options)


def factors(schedule, n_steps=100, warmup_fraction=0.15):
    factor = learning_rate_factor(schedule, n_steps=n_steps, warmup_fraction=warmup_fraction)
    return [factor(step) for step in range(n_steps)]


def test_one_cycle_rises_from_a_tenth_and_falls_to_almost_nothing():
    f = factors("one_cycle")
    assert f[0] == pytest.approx(0.1)
    assert f[15] == max(f) == 1.0
    assert all(a < b for a, b in pairwise(f[:16]))
    assert all(a > b for a, b in pairwise(f[15:]))
    assert 0 < f[-1] < 1e-3


def test_cosine_rises_in_a_line_and_falls_along_a_cosine():
    f = factors("cosine")
    assert f[:15] == pytest.approx([(i + 1) / 15 for i in range(15)])
    assert f[15 + 42] == pytest.approx(0.5, abs=0.02)
    assert 0 < f[-1] < 1e-3


def test_constant_stays_at_its_maximum_after_the_rise():
    f = factors("constant")
    assert f[0] == pytest.approx(1 / 15)
    assert set(f[14:]) == {1.0}


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("n_steps", [1, 2, 3])
@pytest.mark.parametrize("warmup_fraction", [0.0, 0.15, 1.0])
def test_no_step_of_a_short_training_is_lost(schedule, n_steps, warmup_fraction):
    assert all(0 < f <= 1 for f in factors(schedule, n_steps, warmup_fraction))


def fit(data_dir, folder, *, module=None, data=None, callbacks=(), max_steps=2, **options):
    """A few steps; gives the module, whose trainer is at hand."""
    lightning.seed_everything(0)
    module = module or MaskedModeling(small(), lr=1e-2)
    trainer = quiet_trainer(folder, max_steps=max_steps, limit_val_batches=0, callbacks=list(callbacks), **options)
    trainer.fit(module, data or SessionDataModule(root=str(data_dir)))
    return module


def test_weights_of_sessions_added_at_set_up_are_optimised_and_only_matrices_decay(sessions_dir, tmp_path):
    module = MaskedModeling(small(), weight_decay=0.3, stitcher_weight_decay=0.2, beta2=0.9)
    fit(sessions_dir, tmp_path, module=module, max_steps=1)
    (optimizer,) = module.trainer.optimizers
    assert all(group["betas"] == (0.9, 0.9) for group in optimizer.param_groups)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(module.model.named_parameters())
    assert {id(p) for p in named.values()} == set(decay)
    linear = {f"{name}.weight" for name, m in module.model.named_modules() if isinstance(m, nn.Linear)}
    of_sessions = {name for name in linear if name.startswith("stitchers.")}
    assert {name.split(".")[1] for name in of_sessions} == {module_key(eid) for eid in EIDS}
    assert {name for name, p in named.items() if decay[id(p)] == 0.2} == of_sessions
    assert {name for name, p in named.items() if decay[id(p)] == 0.3} == linear - of_sessions


def test_stitchers_decay_like_shared_matrices_unless_told_otherwise():
    assert MaskedModeling(small(), weight_decay=0.3).stitcher_weight_decay == 0.3
    assert MaskedModeling(small(), weight_decay=0.3, stitcher_weight_decay=0.0).stitcher_weight_decay == 0.0
    with pytest.raises(ConfigError, match="stitcher_weight_decay is -1, not a number from 0"):
        MaskedModeling(small(), stitcher_weight_decay=-1)
    with pytest.raises(ConfigError, match="beta2 is 1, not from 0 to below 1"):
        MaskedModeling(small(), beta2=1)


ENCODER = [
    f"backbone.encoder.blocks.{i}.{name}.weight"
    for i in range(2)
    for name in ("attention.to_qkv", "attention.to_out", "mlp.0", "mlp.3")
]
RECURRENT = [
    *(
        f"backbone.{name}.{direction}_gru.weight_{which}_l0"
        for name in ("initial_encoder", "input_encoder")
        for direction in ("forward", "backward")
        for which in ("ih", "hh")
    ),
    *(f"backbone.{name}.weight_{which}" for name in ("controller", "generator") for which in ("ih", "hh")),
    *(f"backbone.{name}.weight" for name in ("to_initial", "to_input", "to_generator", "to_factors")),
]
CROSS = [
    f"backbone.{part}.{name}.weight" for part in ("read", "decode") for name in ("to_query", "to_key_value", "to_out")
]
DECAYING: dict[str, tuple[list[str], list[str]]] = {
    "NDT1": (["backbone.embed.weight", *ENCODER], ["read_in.weight", "read_out.weight"]),
    "NDT1-as-published": (["backbone.embed.weight", *ENCODER], ["read_in.weight", "read_out.weight"]),
    "NDT1-behavior": (
        ["backbone.embed.weight", *ENCODER, "backbone.channels.read_in.weight", "backbone.channels.read_out.weight"],
        ["read_in.weight", "read_out.weight"],
    ),
    "NDT2": (["backbone.embed.weight", *ENCODER], ["weight_in", "weight_out"]),
    "NDT2-rope-regions-masks": (
        ["backbone.region.weight", "backbone.embed.weight", *ENCODER],
        ["weight_in", "mask_in", "weight_out"],
    ),
    "SpikeTokens": (
        [*ENCODER, *CROSS, "backbone.mlp.1.weight", "backbone.mlp.4.weight"],
        ["neurons.weight", "read_out.weight"],
    ),
    "LFADS": (RECURRENT, ["read_in.weight", "read_out.weight"]),
    "LFADS-posterior-mean": (RECURRENT, ["read_in.weight", "mask_in.weight", "read_out.weight"]),
}
"""of each architecture, the shared weights that decay and those of a stitcher: a list of all, by name"""


@pytest.mark.parametrize("backbone", BACKBONES)
def test_what_decays_is_this_list(backbone):
    model = make_model(backbone=backbone)
    shared, stitchers, others = parameter_groups(model, weight_decay=0.1, stitcher_weight_decay=0.2)
    assert [group["weight_decay"] for group in (shared, stitchers, others)] == [0.1, 0.2, 0.0]
    name_of = {id(p): name for name, p in model.named_parameters()}
    found = [{name_of[id(p)] for p in group["params"]} for group in (shared, stitchers, others)]
    of_shared, of_stitcher = DECAYING[backbone]
    assert found[0] == set(of_shared)
    assert found[1] == {f"stitchers.session:{eid}.{name}" for eid in "ab" for name in of_stitcher}
    assert found[2] == set(name_of.values()) - found[0] - found[1]


def test_weights_held_fixed_are_in_no_group():
    model = make_model()
    model.stitchers.requires_grad_(False)
    shared, stitchers, others = parameter_groups(model, weight_decay=0.1, stitcher_weight_decay=0.1)
    assert shared["params"]
    assert stitchers["params"] == []
    assert {id(p) for p in others["params"]}.isdisjoint(map(id, model.stitchers.parameters()))


class Batches(lightning.Callback):
    """Keeps the names of weights and moments that a step changed, with the sessions of the step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._before = self._state(trainer, pl_module)

    def _state(self, trainer, pl_module):
        moments = trainer.optimizers[0].state
        state = {}
        for name, weights in pl_module.model.named_parameters():
            state[name] = weights.detach().clone()
            state |= {f"{name} {what}": value.clone() for what, value in moments.get(weights, {}).items()}
        return state

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        after = self._state(trainer, pl_module)
        changed = {n for n, value in after.items() if not torch.equal(self._before.get(n, torch.zeros(())), value)}
        self.steps.append(([group.eid for group in batch.groups], changed))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_step_on_one_session_leaves_all_others_bit_identical(sessions_dir, tmp_path, precision):
    steps = Batches()
    module = MaskedModeling(small(), lr=1e-2, weight_decay=0.1, stitcher_weight_decay=0.5)
    fit(sessions_dir, tmp_path, module=module, callbacks=[steps], max_steps=10, precision=precision)
    (optimizer,) = module.trainer.optimizers
    assert all(group["fused"] for group in optimizer.param_groups)
    # all sessions were trained before, so that momentum and decay would move them
    seen = {eid for (eid,), _ in steps.steps[:6]}
    assert seen == set(EIDS)
    for (eid,), changed in steps.steps:
        stitchers = {name.split(".")[1] for name in changed if name.startswith("stitchers.")}
        assert stitchers == {module_key(eid)}


class GradientNorm(lightning.Callback):
    """Keeps the norm of the gradients of each step as the optimiser saw them."""

    def __init__(self, norm=2.0):
        self.norm, self.norms = norm, []

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if grads:
            self.norms.append(float(torch.stack([g.norm(self.norm) for g in grads]).norm(self.norm)))


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_to_the_norm_asked_for(sessions_dir, tmp_path, precision):
    free, clipped = GradientNorm(), GradientNorm()
    fit(sessions_dir, tmp_path, callbacks=[free], max_steps=4, precision=precision)
    fit(sessions_dir, tmp_path, callbacks=[clipped], max_steps=4, precision=precision, gradient_clip_val=1e-3)
    assert max(free.norms) > 1e-2
    assert max(clipped.norms) <= 1e-3 * 1.001


def test_gradients_are_clipped_to_the_value_asked_for(sessions_dir, tmp_path):
    clipped = GradientNorm(norm=torch.inf)
    options = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}
    fit(sessions_dir, tmp_path, callbacks=[clipped], max_steps=4, **options)
    assert clipped.norms == pytest.approx([1e-3] * 3)  # those of a step are seen when the next begins


def test_the_schedule_ends_with_the_steps_of_the_configuration(sessions_dir, tmp_path):
    def n_steps(**options):
        module = MaskedModeling(small())
        fit(sessions_dir, tmp_path, module=module, **options)
        return module._n_steps()

    assert n_steps(max_steps=5) == 5
    assert n_steps(max_steps=-1, max_epochs=2) == 2 * 6
    assert n_steps(max_steps=-1, max_epochs=2, accumulate_grad_batches=4) == 2 * 2
    assert n_steps(max_steps=-1, max_epochs=2, limit_train_batches=0.5) == 2 * 3
    assert n_steps(max_steps=4, max_epochs=2) == 4

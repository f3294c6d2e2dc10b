"""Which weights decay, how the learning rate moves, and that a step touches only what it uses."""

from itertools import pairwise

import lightning
import pytest
import torch
from torch import nn

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import module_key
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.optim import learning_rate_factor, parameter_groups
from tests.running import EIDS


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
    trainer = lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=max_steps,
        limit_val_batches=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(module, data or SessionDataModule(root=str(data_dir)))
    return module


def test_weights_of_sessions_added_at_set_up_are_optimised_and_only_matrices_decay(sessions_dir, tmp_path):
    module = fit(sessions_dir, tmp_path, module=MaskedModeling(small(), weight_decay=0.3), max_steps=1)
    (optimizer,) = module.trainer.optimizers if isinstance(module.trainer.optimizers, list) else [None]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = dict(module.model.named_parameters())
    assert {id(p) for p in named.values()} == set(decay)
    decaying = {name for name, p in named.items() if decay[id(p)]}
    linear = {f"{name}.weight" for name, m in module.model.named_modules() if isinstance(m, nn.Linear)}
    assert decaying == linear
    assert any(module_key(EIDS[0]) in name for name in decaying)
    assert {decay[id(named[name])] for name in decaying} == {0.3}


def test_embeddings_and_tokens_do_not_decay():
    matrices, others = parameter_groups(small(rope=False), weight_decay=0.1)
    model_shapes = {tuple(p.shape) for p in others["params"]}
    assert (32, 16) in model_shapes  # learned positions
    assert all(p.ndim >= 2 for p in matrices["params"])


class Batches(lightning.Callback):
    """Keeps every weight before and after each step, with the session of the step."""

    def __init__(self):
        self.steps = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self._before = {n: p.detach().clone() for n, p in pl_module.model.named_parameters()}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        after = dict(pl_module.model.named_parameters())
        changed = {n for n, before in self._before.items() if not torch.equal(before, after[n])}
        self.steps.append(([group.eid for group in batch.groups], changed))


def test_a_step_on_one_session_leaves_all_others_bit_identical(sessions_dir, tmp_path):
    steps = Batches()
    fit(sessions_dir, tmp_path, callbacks=[steps], max_steps=10)
    # all sessions were trained before, so that momentum and decay would move them
    seen = {eid for (eid,), _ in steps.steps[:6]}
    assert seen == set(EIDS)
    for (eid,), changed in steps.steps:
        stitchers = {name.split(".")[1] for name in changed if name.startswith("stitchers.")}
        assert stitchers == {module_key(eid)}


class GradientNorm(lightning.Callback):
    def __init__(self):
        self.norms = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self._module = pl_module

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if grads:
            self.norms.append(float(torch.stack([g.norm() for g in grads]).norm()))


def test_gradients_are_clipped_to_the_norm_asked_for(sessions_dir, tmp_path):
    free, clipped = GradientNorm(), GradientNorm()
    fit(sessions_dir, tmp_path, callbacks=[free], max_steps=4)
    fit(sessions_dir, tmp_path, callbacks=[clipped], max_steps=4, gradient_clip_val=1e-3)
    assert max(free.norms) > 1e-2
    assert max(clipped.norms) <= 1e-3 * 1.001


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

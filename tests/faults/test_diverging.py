"""A loss or a gradient that is no finite number: the weights do not see it, and the training says where it was."""

from itertools import pairwise

import lightning
import pytest
import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError, TrainingError
from neuromtm.masking.objective import Objective
from neuromtm.models.ndt1 import NDT1
from neuromtm.training import diverging
from neuromtm.training.distributed import StitchedDDP
from neuromtm.training.diverging import MOST_IN_A_ROW
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.optim import make_optimizer
from tests.data.small_shards import Session, write_folder

BAD = (2, 3)
"""steps that are spoilt, none of them logged"""


class Spoilt(MaskedModeling):
    """Has losses or gradients of some steps that are not finite."""

    what, steps = "loss", BAD
    rank = 0
    """where the losses are spoilt"""
    sessions: dict[int, str]

    def training_step(self, batch, batch_idx):
        self.sessions[self.global_step] = batch.groups[0].eid
        return super().training_step(batch, batch_idx)

    def watch_loss(self, loss, batch, doing):
        if self.what == "loss" and self.global_step in self.steps and self.global_rank == self.rank:
            loss.data.fill_(torch.nan)
        super().watch_loss(loss, batch, doing)

    def on_before_optimizer_step(self, optimizer):
        if self.global_step in self.steps:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(torch.inf if self.what == "gradient" else torch.nan)
        super().on_before_optimizer_step(optimizer)


class Weights(lightning.Callback):
    """Keeps the weights after each step."""

    def __init__(self):
        self.after = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.after.append(torch.cat([p.detach().flatten() for p in pl_module.parameters()]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_folder(folder, Session("a"), Session("b"))
    return folder


def train(folder, what, steps, on_nan, *, clip=None):
    torch.manual_seed(0)
    backbone = NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=8)
    module = Spoilt(backbone, objective=Objective(schemes=("temporal",)), lr=1e-2, on_nan=on_nan)
    module.what, module.steps, module.sessions, weights = what, steps, {}, Weights()
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=24,
        log_every_n_steps=6,
        logger=False,
        callbacks=[weights],
        gradient_clip_val=clip,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    try:
        trainer.fit(module, SessionDataModule(root=str(folder), batch_size=4))
    except TrainingError as error:
        return module, weights.after, str(error)
    return module, weights.after, ""


@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_step_that_diverges_never_reaches_the_weights(folder, what, clip):
    module, after, said = train(folder, what, BAD, "stop", clip=clip)
    assert said.startswith("The training diverged: ")
    assert "so the checkpoints are good" in said
    if what == "loss":
        where = f"the loss of step 2 is nan here, with temporal masking of {module.sessions[2]} (batch 2 of its epoch)"
        assert where in said
    assert len(after) == 6  # it is seen in the next step that is logged, or at the end of the epoch
    assert all(weights.isfinite().all() for weights in after)
    for step in BAD:
        assert torch.equal(after[step], after[step - 1])
    assert not torch.equal(after[4], after[3])


def test_a_training_that_skips_goes_on_without_these_steps_and_names_them(folder):
    with pytest.warns(UserWarning, match=r"the loss of step 2 is nan here, .* So far 2 were left out"):
        module, after, said = train(folder, "loss", BAD, "skip")
    assert (said, len(after), module.divergence.n_left_out) == ("", 24, 2)
    assert torch.isfinite(after[-1]).all()


def test_a_training_that_diverges_for_good_ends_although_it_may_skip(folder):
    with pytest.warns(UserWarning, match="A step is left out"):
        _, after, said = train(folder, "loss", range(1, 99), "skip")
    assert "steps in a row were left out" in said
    assert len(after) <= MOST_IN_A_ROW + 6
    assert torch.equal(after[-1], after[0])


class OfEachRank(lightning.Callback):
    """Writes down what a rank has after each step."""

    def __init__(self, folder):
        self.folder, self.weights, self.moments = folder, [], []

    def on_train_batch_end(self, trainer, pl_module, *_):
        moments = [own for state in trainer.optimizers[0].state.values() for own in state.values()]
        self.weights.append(_flat(pl_module.parameters()))
        self.moments.append(_flat(moments))

    def on_train_end(self, trainer, pl_module):
        n_left_out = pl_module.divergence.n_left_out
        found = {"weights": self.weights, "moments": self.moments, "n_left_out": n_left_out}
        torch.save(found, self.folder / f"{trainer.global_rank}.pt")


def _flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_two_ranks_leave_out_the_same_step_when_one_has_a_bad_loss(folder, tmp_path, monkeypatch, precision):
    def keep(text):
        with (tmp_path / f"said-{torch.distributed.get_rank()}.txt").open("a") as file:
            print(text, file=file)

    monkeypatch.setattr(diverging, "rank_zero_warn", keep)
    torch.manual_seed(0)
    backbone = NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=8)
    module = Spoilt(backbone, objective=Objective(schemes=("temporal",)), lr=1e-2, on_nan="skip")
    module.rank, module.sessions = 1, {}
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=StitchedDDP(start_method="fork"),
        precision=precision,
        max_steps=6,
        log_every_n_steps=3,
        logger=False,
        callbacks=[OfEachRank(tmp_path)],
        num_sanity_val_steps=0,
        limit_val_batches=0,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, SessionDataModule(root=str(folder), batch_size=2))
    one, other = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    assert one["n_left_out"] == other["n_left_out"] == len(BAD)
    assert len(one["weights"]) == 6
    for what in ("weights", "moments"):
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(one[what], other[what], strict=True))
    changed = [not torch.equal(before, after) for before, after in pairwise(one["weights"])]
    assert changed == [step not in BAD for step in range(1, 6)]
    # the first rank, which speaks for all, knows it from the other one
    assert "the loss of step 2 is nan on rank 1, with temporal masking of " in (tmp_path / "said-0.txt").read_text()


def test_nothing_is_changed_where_nothing_diverges():
    """Weights and moments are the very ones of an optimiser that nobody watches."""
    found = []
    for watched in (False, True):
        torch.manual_seed(0)
        module = MaskedModeling(NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=8))
        options = {"weight_decay": 0.1, "stitcher_weight_decay": 0.1, "n_steps": 5, "warmup_fraction": 0.1}
        made = make_optimizer(module, lr=0.01, schedule="constant", fused=True, **options)["optimizer"]
        for _ in range(5):
            for parameter in module.parameters():
                parameter.grad = torch.randn_like(parameter)
            if watched:
                module.divergence.guard(made)
            made.step()
        found.append([*module.parameters(), *(moment for state in made.state.values() for moment in state.values())])
    assert len(found[0]) > 10
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_an_unknown_policy_is_refused():
    with pytest.raises(ConfigError, match="on_nan is 'ignore', not stop or skip"):
        MaskedModeling(on_nan="ignore")  # ty: ignore[invalid-argument-type]

"""Averaged weights: what validations and checkpoints hold, and that training goes on as if nothing had stopped it."""

from functools import partial
from itertools import count

import lightning
import pytest
import torch

from neuromtm.api.loading import load
from neuromtm.callbacks.averaging import EMA_KEY, AveragedWeights
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import CheckpointError, ConfigError
from neuromtm.training.checkpoint import load_checkpoint
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES, objective_of
from tests.running import finetune, neuromtm, pretrain, refusal, scalars
from tests.trainers import quiet_trainer
from tests.training.test_distributed import train as train_ranks
from tests.training.test_resume import N_BATCHES, Stop, train

QUICK = ("--behavior.validate", "false", "--figures.n_val_sessions", "0", "--activity.n_val_neurons", "1")


class Weights(lightning.Callback):
    """Keeps the weights after every step, and those that a validation scores."""

    def __init__(self):
        self.after_step, self.validated = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after_step.append(copies(pl_module))

    def on_validation_epoch_end(self, trainer, pl_module):
        self.validated.append(copies(pl_module))


def copies(module):
    return {name: weight.detach().clone() for name, weight in module.named_parameters()}


def by_hand(weights, first, decay):
    """The averages after each step."""
    average, found = {name: value.double() for name, value in first.items()}, []
    for step, now in zip(count(1), weights):
        d = min(decay, (1 + step) / (10 + step))
        average = {name: d * average[name] + (1 - d) * now[name].double() for name in average}
        found.append(average)
    return found


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def state_of(checkpoint, names):
    return {name: checkpoint["state_dict"][name] for name in names}


@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_architecture_s_checkpoint_holds_averages_of_all_weights_and_goes_on_bit_equal(
    backbone, sessions_dir, tmp_path
):
    options = {"max_epochs": 2, "backbone": backbone, "objective": objective_of(backbone)}
    whole, weights = train(sessions_dir, tmp_path / "whole", AveragedWeights(0.9), **options)
    stop = Stop(before_step=N_BATCHES + 2)
    first, _ = train(sessions_dir, tmp_path / "stopped", AveragedWeights(0.9), stop, **options)
    rest, resumed = train(sessions_dir, tmp_path / "stopped", AveragedWeights(0.9), from_last=True, **options)
    assert [*first, *rest] == whole
    assert same(weights, resumed)
    ours, theirs = (load_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "stopped"))
    assert same(ours["state_dict"], theirs["state_dict"])
    assert same(ours[EMA_KEY]["weights"], theirs[EMA_KEY]["weights"])
    assert not same(state_of(ours, ours[EMA_KEY]["weights"]), ours[EMA_KEY]["weights"])
    opened = MaskedModeling.load_from_checkpoint(tmp_path / "whole" / "last.ckpt")
    assert same(copies(opened), state_of(ours, copies(opened)))
    assert len([name for name in copies(opened) if "stitchers" in name]) > 0
    load(tmp_path / "whole" / "last.ckpt").save(tmp_path / "saved")  # as any other
    assert len(load(tmp_path / "saved").sessions) == 3


def test_averages_are_those_by_hand_and_the_training_itself_is_as_without(sessions_dir, tmp_path):
    plain, _ = train(sessions_dir, tmp_path / "plain", max_epochs=2)
    kept, start = Weights(), Weights()
    module_start = {}
    start.on_train_start = lambda trainer, module: module_start.update(copies(module))
    steps, end = train(sessions_dir, tmp_path / "ema", AveragedWeights(0.8), kept, start, max_epochs=2)
    assert steps == plain  # losses and rates
    expected = by_hand(kept.after_step, module_start, 0.8)
    checkpoint = load_checkpoint(tmp_path / "ema" / "last.ckpt")
    for name in module_start:
        torch.testing.assert_close(checkpoint["state_dict"][name].double(), expected[-1][name], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(end[name].double(), expected[-1][name], rtol=1e-4, atol=1e-6)
    assert same(checkpoint[EMA_KEY]["weights"], kept.after_step[-1])
    for scored, at in zip(kept.validated, (N_BATCHES - 1, 2 * N_BATCHES - 1), strict=True):
        torch.testing.assert_close({n: v.double() for n, v in scored.items()}, expected[at], rtol=1e-4, atol=1e-6)


def test_accumulated_gradients_are_one_step_of_the_average(sessions_dir, tmp_path):
    options = {"max_epochs": 1, "accumulate_grad_batches": 2}
    kept, begun = Weights(), {}
    kept.on_train_start = lambda trainer, module: begun.update(copies(module))
    train(sessions_dir, tmp_path, AveragedWeights(0.8), kept, **options)
    expected = by_hand(kept.after_step[1::2], begun, 0.8)[-1]
    found = load_checkpoint(tmp_path / "last.ckpt")["state_dict"]
    torch.testing.assert_close({n: found[n].double() for n in begun}, expected, rtol=1e-4, atol=1e-6)


def test_a_run_that_has_ended_has_its_averages_again(sessions_dir, tmp_path):
    options = {"max_epochs": 1}
    _, averages = train(sessions_dir, tmp_path, AveragedWeights(0.8), **options)
    steps, again = train(sessions_dir, tmp_path, AveragedWeights(0.8), from_last=True, **options)
    assert steps == []
    assert same(averages, again)


def test_a_run_with_another_decay_or_without_one_is_not_continued(sessions_dir, tmp_path):
    train(sessions_dir, tmp_path / "ema", AveragedWeights(0.9), max_epochs=1)
    with pytest.raises(ConfigError, match=r"ema_decay was 0\.9 and is now 0\.99"):
        train(sessions_dir, tmp_path / "ema", AveragedWeights(0.99), from_last=True, max_epochs=1)
    with pytest.raises(ConfigError, match=r"ema_decay was 0\.9 and is now none"):
        train(sessions_dir, tmp_path / "ema", AveragedWeights(), from_last=True, max_epochs=1)
    train(sessions_dir, tmp_path / "plain", AveragedWeights(), max_epochs=1)
    assert EMA_KEY not in load_checkpoint(tmp_path / "plain" / "last.ckpt")
    with pytest.raises(ConfigError, match=r"ema_decay was none and is now 0\.9"):
        train(sessions_dir, tmp_path / "plain", AveragedWeights(0.9), from_last=True, max_epochs=1)


def test_a_checkpoint_with_a_damaged_average_is_refused(sessions_dir, tmp_path):
    train(sessions_dir, tmp_path, AveragedWeights(0.9), max_epochs=1)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    for damaged in ({"decay": 0.9}, {"decay": 0.9, "weights": {}}, {"decay": "0.9", "weights": {}}, 3):
        torch.save({**saved, EMA_KEY: damaged}, tmp_path / "last.ckpt")
        with pytest.raises(CheckpointError, match=r"its entry 'neuromtm_ema' is not (whole|of its own model)"):
            train(sessions_dir, tmp_path, AveragedWeights(0.9), from_last=True, max_epochs=1)


@pytest.mark.parametrize("decay", [0, 1, -0.5, 1.5, float("nan")])
def test_a_decay_outside_0_to_1_is_refused(decay):
    with pytest.raises(ConfigError, match=r"not between 0 and 1"):
        AveragedWeights(decay)


def test_two_ranks_have_the_averages_of_one(sessions_dir, tmp_path):
    kept = partial(train_ranks, sessions_dir=sessions_dir, max_steps=6, more=[AveragedWeights(0.9)])
    _ = kept(tmp_path / "two", strategy="stitched")
    found = load_checkpoint(tmp_path / "two" / "last.ckpt")
    steps = torch.load(tmp_path / "two" / "rank-1.pt")
    assert same(found[EMA_KEY]["weights"], steps[-1]["weights"])
    begun = torch.load(tmp_path / "two" / "begun.pt")
    expected = by_hand([step["weights"] for step in steps], begun, 0.9)[-1]
    averages = {name: found["state_dict"][name].double() for name in begun}
    torch.testing.assert_close(averages, expected, rtol=1e-4, atol=1e-6)


def test_two_ranks_with_averages_go_on_bit_equal(sessions_dir, tmp_path):
    options = {"make": constant, "strategy": "stitched", "sessions_dir": sessions_dir}
    train_ranks(tmp_path / "whole", **options, more=[AveragedWeights(0.9)])
    train_ranks(tmp_path / "stopped", **options, more=[AveragedWeights(0.9)], max_steps=5)
    train_ranks(tmp_path / "stopped", **options, more=[AveragedWeights(0.9)], from_last=True)
    ours, theirs = (load_checkpoint(tmp_path / name / "last.ckpt") for name in ("whole", "stopped"))
    assert ours["global_step"] == theirs["global_step"] == 9
    assert same(ours["state_dict"], theirs["state_dict"])
    assert same(ours[EMA_KEY]["weights"], theirs[EMA_KEY]["weights"])


def constant():
    return MaskedModeling(BACKBONES["NDT1"](), lr=1e-2, weight_decay=0.1, schedule="constant")


def test_the_command_trains_tests_and_fine_tunes_with_averages(root, sessions_dir, tmp_path, capsys):
    run_dir, ema = tmp_path / "run", ("--ema_decay", "0.5")
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir, "--trainer.max_epochs", "2", *QUICK, *ema))
    best, last = (run_dir / "checkpoints" / f"{name}.ckpt" for name in ("best", "last"))
    loss = scalars(run_dir)["val/loss"]
    neuromtm("validate", "--config", run_dir / "config.yaml", "--ckpt_path", last, *QUICK)
    assert scalars(run_dir)["val/loss"][-1] == pytest.approx(loss[-1], rel=1e-5)
    neuromtm(*finetune(root, sessions_dir, best, "--run_dir", tmp_path / "fine", *QUICK, *ema))
    fine = load_checkpoint(tmp_path / "fine" / "checkpoints" / "best.ckpt")
    assert fine[EMA_KEY]["decay"] == 0.5
    assert "ema_decay is 1.0" in refusal(
        capsys, *pretrain(root, sessions_dir, "--run_dir", tmp_path / "no"), *("--ema_decay", "1")
    )
    more = ("fit", "--config", run_dir / "config.yaml", "--ckpt_path", "last", "--ema_decay", "0.9")
    assert "ema_decay was 0.5 and is now 0.9" in refusal(capsys, *more)


def test_a_module_without_data_of_a_training_is_left_alone(sessions_dir, pretrained):
    """A test takes the checkpoint's weights as they are, with the callback or without."""
    module = MaskedModeling.load_from_checkpoint(pretrained / "checkpoints" / "best.ckpt")
    before = copies(module)
    trainer = quiet_trainer(callbacks=[AveragedWeights(0.9)])
    trainer.validate(module, SessionDataModule(root=str(sessions_dir)), verbose=False)
    assert same(before, copies(module))

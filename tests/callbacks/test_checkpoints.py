"""The best and the last checkpoint of a run."""

import shutil

import lightning
import pytest

from neuromtm.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from neuromtm.training.checkpoint import load_checkpoint
from tests.running import neuromtm, pretrain, scalars

QUICK = ("--behavior.validate", "false", "--figures.n_val_sessions", "0", "--activity.n_val_neurons", "1")


@pytest.fixture(scope="module")
def diverging(root, sessions_dir, tmp_path_factory):
    """A run whose second epoch is worse than its first: the learning rate is far too high."""
    run_dir = tmp_path_factory.mktemp("diverging") / "run"
    options = ("--model.lr", "0.5", "--model.schedule", "constant", "--trainer.max_epochs", "3", *QUICK)
    options += ("--model.backbone.standardise=false", "--model.backbone.embedding=softsign")
    options += ("--model.backbone.principal_axes=false", "--model.backbone.bin_vectors=false")
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir, *options))
    return run_dir


def test_the_last_checkpoint_is_the_last_although_an_earlier_one_is_better(diverging):
    best, last = (load_checkpoint(diverging / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert last["global_step"] == 18
    assert best["global_step"] < 18


def test_the_last_checkpoint_knows_the_best_so_far(pretrained):
    last = load_checkpoint(pretrained / "checkpoints" / "last.ckpt")
    (state,) = (state for name, state in last["callbacks"].items() if name.startswith("BestCheckpoint"))
    assert float(state["best_model_score"]) == pytest.approx(min(scalars(pretrained)["val/loss"]))


def test_a_run_without_any_validation_leaves_its_last_checkpoint(root, sessions_dir, tmp_path):
    options = ("--trainer.limit_val_batches", "0", *QUICK)
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", *options))
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_a_moved_run_remembers_its_best(diverging, tmp_path):
    state = next(
        state
        for name, state in load_checkpoint(diverging / "checkpoints" / "last.ckpt")["callbacks"].items()
        if name.startswith("BestCheckpoint")
    )
    moved = shutil.copytree(diverging, tmp_path / "moved") / "checkpoints"
    best = BestCheckpoint(moved)
    best.load_state_dict(state)
    assert best.best_model_score == state["best_model_score"]
    assert list(best.best_k_models) == [str(moved / "best.ckpt")]
    assert best.kth_best_model_path == best.best_model_path == str(moved / "best.ckpt")


def test_a_run_elsewhere_starts_without_the_best_of_another(diverging, tmp_path):
    state = load_checkpoint(diverging / "checkpoints" / "last.ckpt")["callbacks"]
    best = BestCheckpoint(tmp_path)
    best.load_state_dict(next(iter(s for name, s in state.items() if name.startswith("BestCheckpoint"))))
    assert best.best_model_score is None


def test_an_interrupted_training_says_how_to_go_on(tmp_path, caplog):
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.state.fn = "fit"
    (tmp_path / "last.ckpt").touch()
    with caplog.at_level("INFO"):
        LastCheckpoint(tmp_path).on_exception(trainer, None, KeyboardInterrupt())
    assert "--ckpt_path last" in caplog.text

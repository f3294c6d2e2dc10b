"""LFADS in a training: how long its costs warm up, and what the log says of them."""

import pytest

from neuromtm.models.lfads import LFADS
from neuromtm.training.checkpoint import CheckpointRecord, build_model, load_checkpoint
from tests.conftest import ROOT
from tests.running import SHORT, finetune, neuromtm, scalars

SMALL = ("--config", ROOT / "conf" / "model" / "lfads_tiny.yaml", *SHORT)
LOGGED = ("--trainer.log_every_n_steps=1", "--trainer.max_epochs=2")
WARMUP = "--model.backbone.init_args.kl_warmup_"


def fit(run_dir, data, *options):
    recipe = ROOT / "conf" / "pretrain.yaml"
    neuromtm("fit", "--config", recipe, *SMALL, "--data.root", data, "--run_dir", run_dir, *options)
    return run_dir


def warm(run_dir):
    """Steps done, and steps that the costs warm up, of the last checkpoint; None where it does not say."""
    weights = load_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]
    return [
        int(weights[f"model.backbone.{name}"]) if f"model.backbone.{name}" in weights else None
        for name in ("n_steps", "n_warmup_steps")
    ]


@pytest.fixture(scope="module")
def trained(sessions_dir, tmp_path_factory):
    """A run of 2 epochs of 6 batches."""
    return fit(tmp_path_factory.mktemp("lfads") / "run", sessions_dir, *LOGGED, f"{WARMUP}fraction=0.5")


def test_the_warm_up_is_a_share_of_the_training_and_a_longer_fine_tuning_keeps_it(trained, sessions_dir, tmp_path):
    assert warm(trained) == [12, 6]
    options = ("--run_dir", tmp_path / "more", "--trainer.max_epochs=20", "--trainer.limit_train_batches=1")
    neuromtm(*finetune(ROOT, sessions_dir, trained / "checkpoints" / "last.ckpt", *options))
    assert warm(tmp_path / "more") == [32, 6]


def test_batches_of_one_step_count_as_many(sessions_dir, tmp_path):
    run_dir = fit(tmp_path / "run", sessions_dir, "--trainer.accumulate_grad_batches=3", f"{WARMUP}fraction=0.5")
    assert warm(run_dir) == [6, 3]


def test_the_costs_are_logged_without_their_weights(trained):
    logged = scalars(trained)
    assert len(logged["train/loss"]) == 12
    assert len(logged["train/kl/inputs"]) == 12
    assert logged["train/loss/causal"]  # such a step has no initial condition to infer, and says nothing of it
    for name in ("initial", "inputs"):
        assert all(0 < term < 1 for term in logged[f"train/kl/{name}"])


def test_a_checkpoint_with_a_number_of_warm_up_steps_opens(sessions_dir, tmp_path):
    """As older versions wrote it: their options had no share, and their weights nothing of the warm-up's length."""
    run_dir = fit(tmp_path / "run", sessions_dir, f"{WARMUP}steps=9")
    checkpoint = load_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    del checkpoint["neuromtm"]["backbone"]["init_args"]["kl_warmup_fraction"]
    record = CheckpointRecord.from_checkpoint(checkpoint, name="it")
    assert warm(run_dir) == [6, None]
    backbone = build_model(record, checkpoint, name="it").backbone
    assert isinstance(backbone, LFADS)
    assert (backbone.kl_warmup_steps, int(backbone.n_steps)) == (9, 6)
    record.require_backbone(backbone, name="it")

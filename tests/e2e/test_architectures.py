"""Every architecture goes the whole road by its smallest overlay: pretraining, fine-tuning, test, prediction."""

import json

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.running import HELDOUT, SHORT, finetune, neuromtm, neuromtm_process, refusal, scalars

CONF = ROOT / "conf"
OVERLAYS = sorted((CONF / "model").glob("*_tiny.yaml"))  # NDT1's own is run in test_road.py
BPS = {"co_smoothing_bps", "forward_prediction_bps", "intra_region_bps", "inter_region_bps"}
QUICK = ("--trainer.max_steps=2", "--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=2")
QUICK += ("--behavior.validate=false", "--trainer.limit_val_batches=1", "--activity.n_val_neurons=2")


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_an_architecture_pretrains_in_half_precision_fine_tunes_is_tested_and_predicts(
    overlay, root, sessions_dir, tmp_path
):
    pretraining = ("fit", "--config", CONF / "pretrain.yaml", "--config", overlay, *SHORT, *QUICK)
    half = ("--trainer.precision=bf16-mixed", "--run_dir", tmp_path / "pretrained")
    neuromtm(*pretraining, *half, "--data.root", sessions_dir)
    assert np.isfinite(scalars(tmp_path / "pretrained")["val/loss"]).all()
    run_dir = tmp_path / "finetuned"
    checkpoint = tmp_path / "pretrained" / "checkpoints" / "best.ckpt"
    neuromtm(*finetune(root, sessions_dir, checkpoint, *QUICK, "--run_dir", run_dir))
    for command in ("test", "predict"):
        trained = ("--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
        neuromtm(command, *trained)
    metrics = json.loads((run_dir / "metrics.json").read_text())["sessions"][HELDOUT]
    assert set(metrics) >= BPS
    assert np.isfinite(list(metrics.values())).all()
    with h5py.File(run_dir / "predictions" / f"{HELDOUT}.h5") as file:
        rates = file["rates"][()]
    assert np.isfinite(rates).all()
    assert (rates > 0).all()


@pytest.mark.parametrize("overlay", [*OVERLAYS, CONF / "model" / "tiny.yaml"], ids=lambda path: path.stem)
def test_an_architecture_trains_on_two_processes(overlay, sessions_dir, tmp_path):
    two = ("--trainer.devices=2", "--data.root", sessions_dir, "--run_dir", tmp_path)
    recipes = ("--config", CONF / "pretrain.yaml", "--config", overlay)
    neuromtm_process("fit", *recipes, *SHORT, *QUICK, *two)
    assert np.isfinite(scalars(tmp_path)["val/loss"]).all()
    assert (tmp_path / "checkpoints" / "best.ckpt").exists()


@pytest.mark.parametrize("overlay", [*OVERLAYS, CONF / "model" / "tiny.yaml"], ids=lambda path: path.stem)
def test_an_architecture_decodes_on_one_process_as_on_two(overlay, sessions_dir, tmp_path):
    few = ("--trainer.max_epochs=1", "--trainer.precision=bf16-mixed", "--data.role=pretrain")
    recipes = ("--config", CONF / "decode_whisker.yaml", "--config", overlay)
    neuromtm("fit", *recipes, *SHORT, *few, "--data.root", sessions_dir, "--run_dir", tmp_path)
    checkpoint = ("--config", tmp_path / "config.yaml", "--ckpt_path", tmp_path / "checkpoints" / "best.ckpt")
    full = "--trainer.precision=32-true"
    neuromtm("test", *checkpoint, full)
    two = ("--trainer.devices=2", "--trainer.strategy=ddp_fork", "--run_dir", tmp_path / "two")
    neuromtm("test", *checkpoint, full, *two)
    alone, together = (json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path, tmp_path / "two"))
    assert together["mean"] == pytest.approx(alone["mean"], abs=1e-4)
    assert len(alone["sessions"]) == 3


def random_token(sessions_dir, tmp_path, *more):
    recipes = ("--config", CONF / "random_token.yaml", "--config", CONF / "model" / "ndt2_tiny.yaml")
    return ("fit", *recipes, *SHORT, *QUICK, "--data.root", sessions_dir, "--run_dir", tmp_path / "run", *more)


def test_the_baseline_of_neuron_groups_trains(sessions_dir, tmp_path):
    neuromtm(*random_token(sessions_dir, tmp_path))
    assert "val/loss/random_token" in scalars(tmp_path / "run")


def test_random_tokens_that_are_not_the_model_s_are_refused(sessions_dir, tmp_path, capsys):
    line = refusal(capsys, *random_token(sessions_dir, tmp_path, "--model.objective.neurons_per_token", 5))
    assert "model.objective.neurons_per_token is 5, but a token of model.backbone has 16 neurons" in line


def test_a_session_of_too_many_groups_is_refused(sessions_dir, tmp_path, capsys):
    sizes = ("--model.backbone.neurons_per_token=2",)
    line = refusal(capsys, *random_token(sessions_dir, tmp_path, *sizes, "--model.backbone.max_groups=3"))
    assert "groups of 2, but max_groups is 3. Raise it" in line

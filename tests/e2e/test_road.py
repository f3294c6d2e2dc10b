"""The whole road, small: sessions, pretraining, fine-tuning, test, prediction, ceiling, comparison."""

import csv
import json
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

from data_prep.__main__ import main as data_prep
from neuromtm.batch import SessionGroup
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_header
from neuromtm.evaluation.tasks import rates_of
from neuromtm.metrics.keys import MEDIAN_KEYS
from neuromtm.training.checkpoint import load_checkpoint
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS, HELDOUT, finetune, neuromtm, pretrain, scalars

BPS = ("co_smoothing_bps", "forward_prediction_bps", "intra_region_bps", "inter_region_bps")
BEHAVIOR = ("choice_accuracy", "choice_chance", "whisker_r2", "whisker_chance")
BALANCED = ("choice_balanced_accuracy",)
COUNTS = tuple(f"{key}_{name}" for key in ("choice_accuracy", "whisker_r2") for name in ("counts", "rrr"))


@pytest.fixture(scope="module")
def finetuned(root, sessions_dir, pretrained, tmp_path_factory):
    """Fine-tuned from a checkpoint that is then gone, tested, tested again and predicted with."""
    folder = tmp_path_factory.mktemp("road")
    checkpoint = folder / "gone.ckpt"
    checkpoint.write_bytes((pretrained / "checkpoints" / "best.ckpt").read_bytes())
    run_dir = folder / "finetuned"
    neuromtm(*finetune(root, sessions_dir, checkpoint, "--run_dir", run_dir))
    checkpoint.unlink()
    for command in ("test", "test", "predict"):
        neuromtm(command, "--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
    return run_dir


def test_a_pretraining_leaves_its_configuration_checkpoints_and_curves(pretrained):
    assert sorted(path.name for path in pretrained.iterdir() if "events" not in path.name) == [
        "checkpoints",
        "config.yaml",
        "provenance.json",
    ]
    assert {path.name for path in (pretrained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    tags = scalars(pretrained)
    assert {"train/loss", "val/loss", "throughput/trials_per_s", *(f"val/{key}" for key in (*BPS, *BEHAVIOR))} <= set(
        tags
    )
    assert any(tag.startswith("train/loss/") for tag in tags)
    assert all(np.isfinite(values).all() for values in tags.values())


def test_a_test_leaves_figures_of_every_session(finetuned):
    metrics = json.loads((finetuned / "metrics.json").read_text())
    assert list(metrics["sessions"]) == [HELDOUT]
    assert set(metrics["mean"]) == {*BPS, *MEDIAN_KEYS, *BEHAVIOR, *BALANCED, *COUNTS}
    assert {path.name for path in (finetuned / "figures").iterdir()} >= {f"{HELDOUT}.png", "scores.png"}


def test_a_test_leaves_a_row_a_neuron_whose_mean_is_the_sessions_figure(finetuned, sessions_dir):
    with (finetuned / "neurons.csv").open() as file:
        rows = list(csv.DictReader(file))
    session = read_header(sessions_dir / f"{HELDOUT}.h5").info
    assert [(row["uuid"], row["region"]) for row in rows] == list(zip(session.neurons, session.regions, strict=True))
    metrics = json.loads((finetuned / "metrics.json").read_text())["sessions"][HELDOUT]
    for key in BPS:
        assert np.mean([float(row[key]) for row in rows if row[key]]) == pytest.approx(metrics[key], abs=1e-4)


def test_a_second_test_keeps_the_results_of_the_first(finetuned):
    earlier, later = sorted(finetuned.glob("metrics*.json"), key=lambda path: path.name != "metrics.json")[::-1]
    assert later.name == "metrics.json"
    assert json.loads(earlier.read_text()) == json.loads(later.read_text())
    assert len(list(finetuned.glob("neurons*.csv"))) == 2


def test_the_configuration_of_the_training_is_not_that_of_the_test(finetuned):
    assert "best.ckpt" not in (finetuned / "config.yaml").read_text()
    assert "best.ckpt" in (finetuned / "config.test.yaml").read_text()


def test_predictions_are_the_models_rates_of_the_test_trials(finetuned, sessions_dir):
    data = SessionDataModule(root=str(sessions_dir), role="heldout")
    data.setup()
    module = MaskedModeling.load_from_checkpoint(finetuned / "checkpoints" / "best.ckpt").eval()
    groups = list(data.groups(HELDOUT, "test"))
    with torch.no_grad():
        expected = torch.cat([rates_of(module.model, "neuron", group) for group in groups]).numpy()
    trials = torch.cat([group.trial for group in groups]).numpy()
    assert isinstance(groups[0], SessionGroup)
    with h5py.File(finetuned / "predictions" / f"{HELDOUT}.h5") as file:
        order = np.argsort(trials)
        np.testing.assert_array_equal(file["trial"][()], trials[order])
        np.testing.assert_allclose(file["rates"][()], expected[order], rtol=1e-4)
        assert file.attrs["split"] == "test"
        assert file["neurons/uuid"].asstr()[()].tolist() == list(data.sessions[HELDOUT].neurons)


def test_runs_stand_beside_the_ceiling(finetuned, sessions_dir, tmp_path, capsys):
    neuromtm("ceiling", "--data", sessions_dir, "--out", tmp_path / "ceiling")
    runs = (f"mtm={finetuned}", f"ceiling={tmp_path / 'ceiling'}")
    neuromtm("compare", *runs, "--ceiling", "ceiling", "--out", tmp_path / "summary.json")
    table = capsys.readouterr().out
    assert "mtm" in table
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert list(summary) == ["mtm", "ceiling"]
    assert set(summary["mtm"]) == {*BPS, *MEDIAN_KEYS, *BEHAVIOR, *BALANCED, *COUNTS}
    assert set(summary["ceiling"]) == {*BPS, *MEDIAN_KEYS, *BEHAVIOR, *BALANCED}
    assert summary["ceiling"]["co_smoothing_bps"] > summary["mtm"]["co_smoothing_bps"]


def test_a_run_starts_and_goes_on_by_the_same_command(root, sessions_dir, tmp_path, caplog):
    run_dir = tmp_path / "run"
    command = pretrain(
        root, sessions_dir, "--run_dir", run_dir, "--auto_resume", "true", "--behavior.validate", "false"
    )
    command = (*command, "--model.schedule", "constant")  # another one ends with the epochs it was made for
    with caplog.at_level("INFO"):
        neuromtm(*command, "--trainer.max_epochs", "1")
    assert "training starts at the beginning" in caplog.text
    neuromtm(*command, "--trainer.max_epochs", "2")
    assert load_checkpoint(run_dir / "checkpoints" / "last.ckpt")["global_step"] == 12
    assert "ckpt_path: null" in (run_dir / "config.yaml").read_text()
    assert len(scalars(run_dir)["val/loss"]) == 2


def test_a_fine_tuning_goes_on_without_the_pretrained_file(root, sessions_dir, pretrained, tmp_path):
    checkpoint = tmp_path / "gone.ckpt"
    checkpoint.write_bytes((pretrained / "checkpoints" / "best.ckpt").read_bytes())
    command = finetune(root, sessions_dir, checkpoint, "--run_dir", tmp_path / "run", "--behavior.validate", "false")
    command = (*command, "--model.schedule", "constant")  # so that it may train longer than it began to
    neuromtm(*command)
    checkpoint.unlink()
    neuromtm(*command, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["epoch"] == 1


def test_bf16_trains_and_scores_close_to_single_precision(root, sessions_dir, pretrained, tmp_path):
    run_dir, single = tmp_path / "run", ("--trainer.precision", "32-true", "--run_dir", tmp_path / "single")
    quick = ("--trainer.precision", "bf16-mixed", "--behavior.validate", "false", "--data.n_sessions", "1")
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir, *quick, "--model.lr", "0.01"))
    assert np.isfinite(scalars(run_dir)["val/loss"]).all()
    scored = ("--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
    neuromtm("validate", *scored, "--run_dir", tmp_path / "half")
    neuromtm("validate", *scored, *single)
    half, full = scalars(tmp_path / "half"), scalars(tmp_path / "single")
    assert half["val/loss"] != full["val/loss"]
    for tag in ("val/loss", *(f"val/{key}" for key in BPS)):
        assert half[tag] == pytest.approx(full[tag], abs=0.02), tag
    neuromtm("test", *scored)
    assert set(BPS) <= set(json.loads((run_dir / "metrics.json").read_text())["mean"])


# ---- real recordings ----


@pytest.mark.filterwarnings("ignore")
def test_real_recordings_go_the_same_road(root, steinmetz2019, tmp_path):
    pytest.importorskip("one", reason="ONE-api is not installed")
    tool = steinmetz2019.parents[1] / "tools" / "steinmetz_to_alf.py"
    if not tool.is_file():
        pytest.skip("needs ../shared/tools/steinmetz_to_alf.py, which lays recordings out as files of the IBL")
    tree, data = tmp_path / "tree", tmp_path / "data"
    subprocess.run([sys.executable, tool, tree, "--sessions", "1,16"], check=True, capture_output=True)
    prepare = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(data), "--window-s", "0", "0.4"]
    assert data_prep([*prepare, "--keep-unknown-choice", "--heldout-subjects", "Lederberg"]) == 0
    quick = ("--trainer.max_steps=4", "--trainer.check_val_every_n_epoch=null", "--trainer.val_check_interval=4")
    quick += ("--behavior.validate=false", "--trainer.limit_val_batches=1", "--data.min_firing_rate_hz=8")
    neuromtm(*pretrain(root, data, "--run_dir", tmp_path / "pretrained", *quick))
    checkpoint = tmp_path / "pretrained" / "checkpoints" / "last.ckpt"
    neuromtm(*finetune(root, data, checkpoint, "--run_dir", tmp_path / "finetuned", *quick))
    run_dir = tmp_path / "finetuned"
    neuromtm(
        *("test", "--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt"),
        *("--trainer.limit_test_batches", "1"),
    )
    metrics = json.loads((run_dir / "metrics.json").read_text())
    (heldout,) = [entry.eid for entry in read_manifest(data) if entry.role == "heldout"]
    assert list(metrics["sessions"]) == [heldout]
    assert set(BPS) <= set(metrics["mean"])
    assert not {"whisker_r2", "whisker_chance"} & set(metrics["mean"])  # no camera in these recordings
    assert np.isfinite(list(metrics["mean"].values())).all()
    assert EIDS[0] not in metrics["sessions"]

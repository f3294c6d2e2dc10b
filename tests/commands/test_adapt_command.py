"""`neuromtm adapt`: the run directory it leaves, and what it refuses."""

import json
import shutil

import pytest
import torch

import neuromtm as api
from neuromtm.training.checkpoint import load_checkpoint
from tests.running import EIDS, HELDOUT, finetune, neuromtm, refusal


@pytest.fixture(scope="module")
def run(pretrained, sessions_dir, tmp_path_factory):
    """An adapted run, tested."""
    run = tmp_path_factory.mktemp("adapted") / "run"
    best = pretrained / "checkpoints" / "best.ckpt"
    neuromtm("adapt", "--data", sessions_dir, "--pretrained", best, "--n_train_trials", 12, "--out", run)
    checkpoint = ("--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "best.ckpt")
    neuromtm("test", *checkpoint)
    neuromtm("predict", *checkpoint)
    return run


def test_the_run_directory_goes_through_test_compare_report_and_rates(run, sessions_dir, tmp_path, capsys):
    assert list(json.loads((run / "metrics.json").read_text())["sessions"]) == [HELDOUT]
    baseline = tmp_path / "mean"
    neuromtm("baseline", "--kind", "psth", "--data", sessions_dir, "--n_train_trials", 12, "--out", baseline)
    neuromtm("compare", f"psth={baseline}", f"adapted={run}")
    assert "| adapted" in capsys.readouterr().out
    neuromtm("report", run)
    assert "n_train_trials: 12" in (run / "report.html").read_text()
    neuromtm("rates", run, "--data", sessions_dir)
    assert f"| {HELDOUT} |" in capsys.readouterr().out


def test_it_says_what_made_it(run):
    (started, *_) = json.loads((run / "provenance.json").read_text())["starts"]
    assert started["command"].startswith("neuromtm adapt --data")
    checkpoint = load_checkpoint(run / "checkpoints" / "last.ckpt")
    assert checkpoint["neuromtm_provenance"]["starts"] == [started]
    model = api.load(run)
    assert tuple(model.sessions) == (HELDOUT,)
    assert set(model.record.subjects) == {*EIDS, HELDOUT}


def test_the_same_from_python_bit_by_bit(run, pretrained, sessions_dir, tmp_path):
    heldout, few = api.Sessions(sessions_dir, role="heldout"), {"data.n_train_trials": 12}
    pretraining = api.load(pretrained)
    of_command = api.load(run).stitched.state_dict()
    for folder in (None, tmp_path / "run"):
        model = pretraining.adapt(heldout, method="closed_form", run_dir=folder, options=few, progress=False)
        weights = model.stitched.state_dict()
        assert weights.keys() == of_command.keys()
        assert all(torch.equal(value, of_command[name]) for name, value in weights.items())
        assert model.record == api.load(run).record
    best = tmp_path / "run" / "checkpoints" / "best.ckpt"
    neuromtm("validate", "--config", tmp_path / "run" / "config.yaml", "--ckpt_path", best)


def test_a_training_can_start_from_it_and_does_not_go_on_with_it(run, root, sessions_dir, tmp_path, caplog):
    best, few = run / "checkpoints" / "best.ckpt", ("--data.n_train_trials", 12)
    neuromtm(*finetune(root, sessions_dir, best, *few, "--run_dir", tmp_path / "run"))
    assert f"{HELDOUT}: its own weights start from {best}" in caplog.text
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    neuromtm(*finetune(root, sessions_dir, best, *few, "--run_dir", copy, "--auto_resume", "true"))
    assert "adapted without a training" in caplog.text


def test_what_cannot_be_is_refused(run, pretrained, sessions_dir, tmp_path, capsys):
    best, out = pretrained / "checkpoints" / "best.ckpt", tmp_path / "out"
    command = ("adapt", "--data", sessions_dir, "--out", out, "--pretrained")
    assert "holds a run already" in refusal(capsys, *command, best, "--out", run)
    assert "trained on sim-0-00 already" in refusal(capsys, *command, best, "--sessions", EIDS[0])
    assert "no such checkpoint" in refusal(capsys, *command, tmp_path / "best.ckpt")
    assert "n_train_trials" in refusal(capsys, *command, best, "--n_train_trials", 1000)
    assert not out.exists()

"""`neuromtm average`: the mean of the rates of several models, scored as a test scores one."""

import csv
import json

import numpy as np
import pytest
import torch

import neuromtm as api
from neuromtm.api.hidden import predict_hidden
from neuromtm.baselines.choice import fit_baseline
from neuromtm.baselines.kind import SessionCounts
from neuromtm.evaluation.amounts import train_trials_of
from neuromtm.evaluation.tasks import TASKS
from neuromtm.training.checkpoint import load_checkpoint
from tests.running import EIDS, HELDOUT, finetune, neuromtm, refusal


@pytest.fixture(scope="module")
def models(pretrained, tmp_path_factory):
    """Two checkpoints of the same sessions with other weights, which predict differently."""
    paths = [tmp_path_factory.mktemp("models") / f"{n}.ckpt" for n in range(2)]
    for seed, path in enumerate(paths):
        checkpoint = load_checkpoint(pretrained / "checkpoints" / "best.ckpt")
        torch.manual_seed(seed)
        for name, weights in checkpoint["state_dict"].items():
            if name.endswith("read_out.weight"):
                checkpoint["state_dict"][name] = weights + 0.3 * torch.randn_like(weights)
        torch.save(checkpoint, path)
    return paths


def scored(folder, eid=EIDS[0]):
    with (folder / "neurons.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["eid"] == eid]
    return {task: np.array([float(row[f"{task}_bps"] or "nan") for row in rows]) for task in TASKS}


def bits_per_spike(rates, counts):
    """(neuron,) by its definition, of (trial, bin, neuron) rates and counts."""
    mean = counts.mean(axis=(0, 1))
    gain = counts * np.log(rates / mean) - rates + mean
    return gain.sum(axis=(0, 1)) / counts.sum(axis=(0, 1)) / np.log(2)


@pytest.mark.parametrize("kind", [None, "ridge"])
def test_it_is_the_score_of_the_mean_rate(models, sessions_dir, tmp_path, kind):
    more = () if kind is None else ("--baseline", kind)
    neuromtm("average", *models, "--data", sessions_dir, "--role", "pretrain", "--out", tmp_path, *more)
    assert list(json.loads((tmp_path / "metrics.json").read_text())["sessions"]) == list(EIDS)
    session = api.Sessions(sessions_dir)[EIDS[0]]
    test = session.select(split="test")
    opened = [api.load(path) for path in models]
    info = opened[0].sessions[EIDS[0]]
    parts = (session.select(split=split).counts.astype(np.float32) for split in ("train", "val"))
    fitted = kind and fit_baseline(kind, SessionCounts(info, *parts, session.bin_size_s))
    found = scored(tmp_path)
    for task in TASKS:
        both = [predict_hidden(model, test, task=task).astype(float) for model in opened]
        assert np.nanmax(np.abs(both[0] - both[1])) > 0.01
        rates = np.mean(both, axis=0)
        if fitted:
            other = np.full_like(rates, np.nan)
            for held_out in fitted[task].predict(test.counts.astype(np.float32)):
                n_hidden = held_out.log_rates.shape[1]
                other[:, -n_hidden:, held_out.neurons] = np.exp(held_out.log_rates)
            rates = (rates + other) / 2
        bins = ~np.isnan(rates).all(axis=(0, 2))
        by_hand = bits_per_spike(rates[:, bins], test.counts[:, bins].astype(float))
        known = ~np.isnan(found[task])
        assert known.any()
        assert np.allclose(found[task][known], by_hand[known], atol=2e-3), task


def test_compare_takes_it_and_says_the_number_of_trials(models, sessions_dir, tmp_path, capsys):
    neuromtm("average", *models, "--data", sessions_dir, "--role", "pretrain", "--out", tmp_path / "a")
    assert train_trials_of(tmp_path / "a") == "all"
    neuromtm("baseline", "--kind", "psth", "--data", sessions_dir, "--role", "pretrain", "--out", tmp_path / "b")
    capsys.readouterr()
    neuromtm("compare", f"psth={tmp_path / 'b'}", f"average={tmp_path / 'a'}")
    assert "| average" in capsys.readouterr().out
    earlier = (tmp_path / "a" / "average.json").read_text()
    again = ("--baseline", "psth", "--data", sessions_dir, "--role", "pretrain", "--out", tmp_path / "a")
    neuromtm("average", models[0], *again)
    kept = [path for path in (tmp_path / "a").glob("average.*.json") if path.read_text() == earlier]
    assert len(kept) == 1


def test_what_cannot_be_averaged_is_refused(models, pretrained, root, sessions_dir, tmp_path, capsys):
    end = ("--data", sessions_dir, "--role", "pretrain", "--out", tmp_path / "out")
    assert "One run alone has no average" in refusal(capsys, "average", models[0], *end)
    assert "named twice" in refusal(capsys, "average", models[0], models[0], *end)
    assert "does not know the session sim-0-03" in refusal(capsys, "average", *models, *end[:2], *end[4:])
    assert "no such run directory" in refusal(capsys, "average", models[0], tmp_path / "absent", *end)
    run = tmp_path / "run"
    assert "learned" in refusal(capsys, "average", *models, *end, "--n_train_trials", 12)
    best = pretrained / "checkpoints" / "best.ckpt"
    neuromtm(*finetune(root, sessions_dir, best, "--data.n_train_trials", 12, "--run_dir", run))
    few = ("average", run, "--baseline", "psth", "--data", sessions_dir, "--out", tmp_path / "few", "--n_train_trials")
    assert "holds the results of a training" in refusal(capsys, *few[:-2], run, *few[-1:], 12)
    assert f"the trials of {HELDOUT} are not those" in refusal(capsys, *few, 13)
    neuromtm(*few, 12)
    assert train_trials_of(tmp_path / "few") == "12"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["average", "baseline", "ceiling"])
def test_results_never_go_into_a_folder_of_something_else(models, pretrained, sessions_dir, tmp_path, capsys, command):
    words = {
        "average": ("average", *models),
        "baseline": ("baseline", "--kind", "psth"),
        "ceiling": ("ceiling",),
    }[command]
    words = (*words, "--data", sessions_dir, "--role", "pretrain", "--out")
    before = sorted(pretrained.iterdir())
    said = refusal(capsys, *words, pretrained)
    assert f"--out {pretrained}: holds the results of a training (config.yaml)" in said
    assert sorted(pretrained.iterdir()) == before
    for record in {"average.json", "baseline.json", "ceiling.json"} - {f"{command}.json"}:
        folder = tmp_path / record
        folder.mkdir()
        (folder / record).write_text("{}")
        assert f"({record}). Choose another folder" in refusal(capsys, *words, folder)
    (tmp_path / "file").write_text("")
    assert "is a file. Choose another folder" in refusal(capsys, *words, tmp_path / "file")

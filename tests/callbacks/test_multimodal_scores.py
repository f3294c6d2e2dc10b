"""A test of a model that reads behaviour: encoding and decoding, by their definitions, on one process and on two."""

import json

import pytest
import torch

import neuromtm
from neuromtm.data.shards import read_shard
from neuromtm.evaluation.results import read_metrics
from neuromtm.metrics.behavior import r2, trial_average_r2
from neuromtm.metrics.spikes import BitsPerSpike, mean_over_neurons
from neuromtm.models.stitching import VisibleGroup
from tests.running import EIDS, pretrain, refusal
from tests.running import neuromtm as command

WHISKER = "whisker_motion_energy"
READS = (
    f"--model.backbone.behaviors=[{WHISKER}]",
    "--model.objective.schemes=[neuron,causal,encoding,decoding]",
    "--model.lr=0.01",
    "--behavior.validate=false",
    "--figures.n_val_sessions=0",
)
OWN = {"encoding_bps", "whisker_r2_own", "whisker_chance"}


def metrics_of(run_dir, folder, *more):
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    command(
        *("test", "--config", run_dir / "config.yaml", "--ckpt_path", checkpoint, "--run_dir", folder),
        *("--behavior.targets", "[choice]", "--behavior.baselines", "false", *more),
    )
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def run_dir(root, sessions_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("multimodal") / "run"
    command(*pretrain(root, sessions_dir, *READS, "--trainer.max_epochs", 3, "--run_dir", folder))
    return folder


@pytest.fixture(scope="module")
def metrics(run_dir, tmp_path_factory):
    return metrics_of(run_dir, tmp_path_factory.mktemp("tested") / "one", "--data.eval_batch_size", 3)


def test_every_session_has_both_scores_and_their_means(metrics):
    assert set(metrics["sessions"]) == set(EIDS)
    for values in metrics["sessions"].values():
        assert set(values) >= OWN
    for key in OWN:
        values = [of_session[key] for of_session in metrics["sessions"].values()]
        assert metrics["mean"][key] == pytest.approx(sum(values) / 3)


@pytest.mark.parametrize("eid", EIDS)
def test_the_scores_are_those_of_their_definitions(metrics, run_dir, sessions_dir, eid):
    model = neuromtm.load(run_dir / "checkpoints" / "best.ckpt").stitched
    shard = read_shard(sessions_dir / f"{eid}.h5")
    train, test = (shard.header.splits[split] for split in ("train", "test"))
    trace, counts = shard.behavior[WHISKER], torch.from_numpy(shard.counts[test])
    with torch.no_grad():
        decoded = model([VisibleGroup(eid, counts)], "decoding").traces[0][..., 0]
        hidden = VisibleGroup(
            eid, counts * 0, torch.ones_like(counts).bool(), traces=torch.from_numpy(trace[test])[..., None]
        )
        log_rates = model([hidden], "encoding").log_rates[0]
    known = trace[train]
    predicted = decoded.numpy() * known.std(dtype=float) + known.mean(dtype=float)
    found = metrics["sessions"][eid]
    assert found["whisker_r2_own"] == pytest.approx(r2(predicted, trace[test]), abs=1e-4)
    assert found["whisker_chance"] == pytest.approx(trial_average_r2(trace[train], trace[test]), abs=1e-6)
    bps = BitsPerSpike(counts.shape[2])
    bps.update(log_rates, counts)
    assert found["encoding_bps"] == pytest.approx(mean_over_neurons(bps.compute()), abs=1e-4)


def test_two_processes_find_what_one_finds(metrics, run_dir, tmp_path):
    two = ("--trainer.devices", 2, "--trainer.strategy", "ddp_fork", "--data.eval_batch_size", 3)
    for eid, values in metrics_of(run_dir, tmp_path / "two", *two)["sessions"].items():
        for key in OWN:
            assert values[key] == pytest.approx(metrics["sessions"][eid][key], abs=1e-5)


def test_a_model_that_reads_no_behaviour_has_neither(pretrained, tmp_path):
    mean = metrics_of(pretrained, tmp_path / "plain")["mean"]
    assert not {key for key in mean if "encoding" in key or "own" in key}


def test_the_page_and_the_table_have_both(run_dir, tmp_path, capsys):
    metrics_of(run_dir, tmp_path / "page")
    command("report", tmp_path / "page")
    text = next((tmp_path / "page").glob("*.html")).read_text()
    assert "predicted from behaviour alone" in text
    assert "whisker R2, own" in text
    capsys.readouterr()
    command("compare", f"one={tmp_path / 'page'}", f"two={tmp_path / 'page'}")
    said = capsys.readouterr().out
    assert "encoding" in said
    assert "whisker R2, own" in said
    assert read_metrics(tmp_path / "page")["mean"].keys() >= OWN


def test_schemes_of_behaviour_without_a_trace_are_refused_in_one_line(capsys, root, sessions_dir, tmp_path):
    line = refusal(capsys, *pretrain(root, sessions_dir, READS[1], "--run_dir", tmp_path / "run"))
    assert "schemes has encoding and decoding, but model.backbone, NDT1, reads no behaviour" in line

"""Functional connectivity in a test: what is written, of whom, and that it is what slow hands compute."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import read_shard, write_shard
from neuromtm.models.stitching import VisibleGroup
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS, SHORT, neuromtm, refusal

REGIONS = {
    "few": lambda n: ["CA1", "root", *["VISp"] * (n - 2)],
    "one": lambda n: ["VISp"] * n,
    "three": lambda n: ["CA1", "LP", "VISp"] * (n // 3) + ["LP"] * (n % 3),
}
"""session -> the regions of its n neurons: one of a single neuron and an unknown one, one region, three"""


@pytest.fixture(scope="module")
def data(sessions_dir, tmp_path_factory):
    """Sessions with these regions, which the pretrained model does not know."""
    folder = tmp_path_factory.mktemp("connectivity") / "data"
    folder.mkdir()
    for eid, (name, regions) in zip(EIDS, REGIONS.items(), strict=True):
        shard = read_shard(sessions_dir / f"{eid}.h5")
        neurons = replace(shard.header.neurons, region=np.array(regions(shard.header.n_neurons)))
        write_shard(folder / f"{name}.h5", replace(shard, header=replace(shard.header, eid=name, neurons=neurons)))
        add_shard(folder / f"{name}.h5", "heldout")
    return folder


def recipe(root, data, pretrained, run_dir, *more):
    """The command line of a short fine-tuning with region drop-out."""
    options = ("--data.root", data, "--model.pretrained", pretrained / "checkpoints" / "best.ckpt")
    quick = (*SHORT, "--behavior.validate", "false", "--run_dir", run_dir)
    return ("fit", "--config", root / "conf" / "connectivity.yaml", *options, *quick, *more)


def score(run_dir, folder, *more):
    """Test a run, whose trials come in several batches, in another folder."""
    checkpoint = ("--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
    neuromtm("test", *checkpoint, "--data.eval_batch_size", "3", "--run_dir", folder, *more)
    return folder


@pytest.fixture(scope="module")
def run_dir(root, data, pretrained, tmp_path_factory):
    """A fine-tuning with region drop-out, tested."""
    folder = tmp_path_factory.mktemp("runs") / "connectivity"
    # a session of one region cannot take part in inter_region alone
    neuromtm(*recipe(root, data, pretrained, folder, "--model.objective.schemes", "[inter_region, neuron]"))
    return score(folder, folder)


@pytest.fixture(scope="module")
def rows(run_dir):
    with (run_dir / "connectivity.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_ordered_pair_of_known_regions_of_every_session_has_a_row(rows):
    three = ("CA1", "LP", "VISp")
    assert [(row["eid"], row["source"], row["target"]) for row in rows] == [
        ("few", "CA1", "VISp"),
        ("few", "VISp", "CA1"),
        *(("three", a, b) for a in three for b in three if a != b),
    ]


def test_a_region_of_one_neuron_is_said_by_its_number_and_has_no_interval(rows):
    from_it, to_it = (row for row in rows if row["eid"] == "few")
    assert from_it["n_source"] == "1"
    assert from_it["bps_low"]
    assert to_it["n_target"] == "1"
    assert to_it["bps"]
    assert (to_it["bps_low"], to_it["gain_high"]) == ("", "")


def by_hand(run_dir, data, eid, source, target):
    """Mean bits per spike of a region's neurons: all but the source (a region, or none) set to 0, trial by trial."""
    module = MaskedModeling.load_from_checkpoint(run_dir / "checkpoints" / "best.ckpt").eval()
    sessions = SessionDataModule(root=str(data), sessions=[eid])
    sessions.setup()
    regions = np.array(sessions.sessions[eid].regions)
    group = next(sessions.groups(eid, "test"))
    hidden = torch.from_numpy(regions != source).expand_as(group.counts)
    predicted = []
    with torch.no_grad():
        for counts, mask in zip(group.counts, hidden, strict=True):
            visible = VisibleGroup(eid, (counts * ~mask)[None], mask[None])
            predicted.append(module.model([visible], "inter_region").log_rates[0][0])
    log_rates, counts = torch.stack(predicted).double().numpy(), group.counts.numpy().astype(float)
    scores = []
    for i in np.flatnonzero(regions == target):
        x, r = counts[..., i], np.exp(log_rates[..., i])
        if x.any():
            null, model = (m - x * np.log(m) for m in (np.full_like(x, x.mean()), r))
            scores.append((null.sum() - model.sum()) / x.sum() / np.log(2))
    return np.mean(scores)


def test_a_pairs_figures_are_those_of_slow_hands(run_dir, data, rows):
    row = next(row for row in rows if (row["eid"], row["source"], row["target"]) == ("three", "CA1", "VISp"))
    alone, nothing = (by_hand(run_dir, data, "three", source, "VISp") for source in ("CA1", None))
    assert float(row["bps"]) == pytest.approx(alone, abs=1e-5)
    assert float(row["nothing_bps"]) == pytest.approx(nothing, abs=1e-5)
    assert float(row["gain"]) == pytest.approx(alone - nothing, abs=1e-5)


def test_all_others_is_the_inter_region_figure_of_the_test(run_dir, rows):
    with (run_dir / "neurons.csv").open() as file:
        neurons = [row for row in csv.DictReader(file) if (row["eid"], row["region"]) == ("three", "LP")]
    theirs = np.mean([float(row["inter_region_bps"]) for row in neurons if row["inter_region_bps"]])
    mine = [float(row["all_others_bps"]) for row in rows if (row["eid"], row["target"]) == ("three", "LP")]
    assert mine == pytest.approx([theirs] * 2, abs=1e-4)


def test_there_is_a_figure_a_session_one_of_the_mean_and_a_table_of_it(run_dir):
    figures = {path.name for path in (run_dir / "figures").glob("*connectivity.png")}
    assert figures == {"connectivity.png", "three.connectivity.png", "few.connectivity.png"}
    with (run_dir / "connectivity_mean.csv").open() as file:
        n_sessions = {(row["source"], row["target"]): row["n_sessions"] for row in csv.DictReader(file)}
    assert n_sessions["CA1", "VISp"] == "2"
    assert n_sessions["LP", "VISp"] == "1"


def test_two_processes_write_the_table_of_one(run_dir, rows, tmp_path):
    two = score(run_dir, tmp_path / "two", "--trainer.devices", "2", "--trainer.strategy", "ddp_fork")
    with (two / "connectivity.csv").open() as file:
        theirs = list(csv.DictReader(file))
    assert len(theirs) == len(rows)
    for row, other in zip(rows, theirs, strict=True):
        assert float(other["bps"]) == pytest.approx(float(row["bps"]), abs=1e-4)
        assert float(other["gain"]) == pytest.approx(float(row["gain"]), abs=1e-4)


def test_a_session_of_one_region_is_named(run_dir, tmp_path, caplog):
    with caplog.at_level("INFO"):
        score(run_dir, tmp_path / "alone", "--data.sessions", "[one]")
    assert "one: no functional connectivity, because it has fewer than two known regions." in caplog.text
    assert not (tmp_path / "alone" / "connectivity.csv").exists()


def test_a_fine_tuning_on_a_session_of_one_region_alone_is_refused(root, data, pretrained, tmp_path, capsys):
    said = refusal(capsys, *recipe(root, data, pretrained, tmp_path / "run", "--data.sessions", "[one]"))
    assert "too few regions" in said


def test_a_model_without_region_dropout_has_no_connectivity(pretrained, sessions_dir, tmp_path):
    folder = score(pretrained, tmp_path / "plain", "--data.n_sessions", "1")
    assert (folder / "metrics.json").exists()
    assert not list(folder.rglob("*connectivity*"))

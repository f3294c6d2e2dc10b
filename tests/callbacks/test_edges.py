"""Sessions at the edge of what can be scored: nothing is NaN, and what is undefined is absent."""

import csv
import json
import warnings
from dataclasses import replace

import numpy as np
import pytest

from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import Shard, read_shard, write_shard
from neuromtm.metrics.keys import BPS_KEYS
from tests.data.small_shards import Session, write_folder
from tests.running import EIDS, HELDOUT, neuromtm, pretrain, scalars

ONE_SILENT_ONE_ALONE, ONE_REGION, UNKNOWN_REGIONS = EIDS
NOT_VALIDATED = HELDOUT


def in_regions(shard: Shard, regions: list[str]) -> Shard:
    neurons = replace(shard.header.neurons, region=np.array(regions))
    return replace(shard, header=replace(shard.header, neurons=neurons))


def silence_the_first_neuron_and_leave_the_second_alone_in_its_region(shard: Shard) -> Shard:
    counts = shard.counts.copy()
    counts[..., 0] = 0
    return in_regions(replace(shard, counts=counts), ["VISp", "CA1", *["VISp"] * (shard.header.n_neurons - 2)])


def put_all_in_one_region(shard: Shard) -> Shard:
    return in_regions(shard, ["VISp"] * shard.header.n_neurons)


def forget_regions_and_behaviour(shard: Shard) -> Shard:
    trials = replace(shard.header.trials, choice=np.zeros_like(shard.header.trials.choice))
    shard = replace(shard, header=replace(shard.header, trials=trials, behaviors=()), behavior={})
    return in_regions(shard, ["root"] * shard.header.n_neurons)


def train_on_the_validation_trials(shard: Shard) -> Shard:
    splits = dict(shard.header.splits)
    splits |= {"train": np.concatenate([splits["train"], splits["val"]]), "val": splits["val"][:0]}
    return replace(shard, header=replace(shard.header, splits=splits))


CHANGES = {
    ONE_SILENT_ONE_ALONE: silence_the_first_neuron_and_leave_the_second_alone_in_its_region,
    ONE_REGION: put_all_in_one_region,
    UNKNOWN_REGIONS: forget_regions_and_behaviour,
    NOT_VALIDATED: train_on_the_validation_trials,
}


@pytest.fixture(scope="module")
def run(root, sessions_dir, tmp_path_factory):
    """Run directory of a training on such sessions and its test."""
    folder = tmp_path_factory.mktemp("edges")
    data, run_dir = folder / "data", folder / "run"
    data.mkdir()
    for eid, change in CHANGES.items():
        write_shard(data / f"{eid}.h5", change(read_shard(sessions_dir / f"{eid}.h5")))
        add_shard(data / f"{eid}.h5", "pretrain")
    neuromtm(*pretrain(root, data, "--run_dir", run_dir, "--trainer.log_every_n_steps", "1"))
    neuromtm("test", "--config", run_dir / "config.yaml", "--ckpt_path", run_dir / "checkpoints" / "best.ckpt")
    return run_dir


@pytest.fixture(scope="module")
def sessions(run):
    return json.loads((run / "metrics.json").read_text())["sessions"]


def neurons(run, eid):
    with (run / "neurons.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["eid"] == eid]


def test_no_figure_is_nan(run):
    curves = scalars(run)
    assert {"train/loss", "val/loss", "val/co_smoothing_bps"} <= set(curves)
    assert all(np.isfinite(values).all() for values in curves.values())
    assert "NaN" not in (run / "metrics.json").read_text()


def test_a_silent_neuron_has_no_bits_per_spike_and_spoils_none(run, sessions):
    silent, *others = neurons(run, ONE_SILENT_ONE_ALONE)
    assert silent["co_smoothing_bps"] == ""
    assert all(neuron["co_smoothing_bps"] for neuron in others)
    assert "co_smoothing_bps" in sessions[ONE_SILENT_ONE_ALONE]


def test_a_neuron_alone_in_its_region_is_predicted_from_other_regions_only(run):
    alone = neurons(run, ONE_SILENT_ONE_ALONE)[1]
    assert alone["intra_region_bps"] == ""
    assert alone["inter_region_bps"]


def test_a_session_of_one_region_has_no_inter_region_figure(sessions):
    assert "inter_region_bps" not in sessions[ONE_REGION]
    assert {"intra_region_bps", "co_smoothing_bps"} <= set(sessions[ONE_REGION])
    assert "inter_region_bps" in sessions[NOT_VALIDATED]


def test_a_session_of_unknown_regions_has_no_region_figures(sessions):
    assert not {"intra_region_bps", "inter_region_bps"} & set(sessions[UNKNOWN_REGIONS])
    assert {"co_smoothing_bps", "forward_prediction_bps"} <= set(sessions[UNKNOWN_REGIONS])


def test_a_session_without_behaviour_has_no_behaviour_figures(sessions):
    assert not {"choice_accuracy", "choice_chance", "whisker_r2", "whisker_chance"} & set(sessions[UNKNOWN_REGIONS])
    assert "whisker_r2" in sessions[ONE_REGION]


def test_a_session_without_validation_trials_trains_and_tests(sessions):
    assert "co_smoothing_bps" in sessions[NOT_VALIDATED]


@pytest.mark.parametrize(
    ("regions", "absent"),
    [
        (("CA1", "CA1", "CA1"), ["inter_region_bps"]),
        (("root", "root", "root"), ["intra_region_bps", "inter_region_bps"]),
        (("CA1", "LP"), ["intra_region_bps"]),
        (("CA1",), ["intra_region_bps", "inter_region_bps"]),
    ],
)
def test_tasks_that_no_session_allows_are_absent_without_a_warning(root, tmp_path, regions, absent):
    write_folder(tmp_path, Session("a", n_trials=30, regions=regions, behaviors=()))
    run_dir = tmp_path / "run"
    with warnings.catch_warnings(record=True) as given:
        warnings.simplefilter("always")
        neuromtm(*pretrain(root, tmp_path, "--run_dir", run_dir))
        checkpoint = run_dir / "checkpoints" / "best.ckpt"
        neuromtm("test", "--config", run_dir / "config.yaml", "--ckpt_path", checkpoint)
    assert not [str(one.message) for one in given if "before the ``update`` method" in str(one.message)]
    found = json.loads((run_dir / "metrics.json").read_text())["mean"]
    assert [key for key in BPS_KEYS if key not in found] == absent

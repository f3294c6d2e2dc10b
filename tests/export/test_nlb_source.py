"""`python -m data_prep nlb` cuts what the benchmark's own tools cut."""

import argparse
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.prepare import prepare
from data_prep.sources import nlb
from neuromtm.data.shards import read_shard
from neuromtm.export.nlb import scored_bins
from tests.export.nlb_files import HELDIN, HELDOUT, N_TEST, SPLITS, UNITS, write_dataset

FORWARD = 0.2


@pytest.fixture(scope="module")
def maze(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("maze"))


def options_of(*arguments):
    parser = argparse.ArgumentParser()
    nlb.add_options(parser)
    return parser.parse_args(arguments, argparse.Namespace(seed=0))


def shard_of(*arguments):
    options = options_of(*arguments)
    plan = nlb.plan(options)
    return prepare(plan.jobs[0].load(), options=plan.options, preparation={}).shard


def binned(nlb_tools, path, bin_size_ms):
    """The benchmark's view of a file. Its own resampling writes into arrays that pandas keeps read-only today."""
    dataset = nlb_tools.nwb_interface.NWBDataset(str(path))
    n_bins = -(-len(dataset.data) // bin_size_ms)
    first = dataset.data.iloc[::bin_size_ms]
    own = np.full((n_bins * bin_size_ms, dataset.data.shape[1]), np.nan)
    own[: len(dataset.data)] = dataset.data
    sums = np.nansum(own.reshape(n_bins, bin_size_ms, -1), axis=1)
    dataset.data = first.astype(float).where(first.isna(), sums)
    dataset.bin_width = bin_size_ms
    return dataset


@pytest.mark.parametrize(
    ("name", "bin_size_ms"),
    [("mc_maze", 5), ("mc_maze_small", 20), ("mc_rtt", 20), ("area2_bump", 20), ("dmfc_rsg", 20)],
)
def test_counts_windows_order_of_trials_and_neurons_are_those_of_the_benchmark_s_tools(
    nlb_tools, tmp_path, name, bin_size_ms
):
    window = nlb.DATASETS[name]
    files = write_dataset(tmp_path, event=window.event, window_s=window.window_s)
    shard = shard_of(*files.arguments(name)[1:], "--bin-size-ms", str(bin_size_ms))
    tools, plain = nlb_tools.make_tensors, {"save_file": False, "update_params": {"jitter": None}}
    train, test = (binned(nlb_tools, path, bin_size_ms) for path in (files.train, files.test))
    heldout = shard.header.neurons.heldout
    both = np.sort(np.concatenate([shard.header.splits["train"], shard.header.splits["val"]]))
    for trials, split in ((shard.header.splits["train"], "train"), (both, ["train", "val"])):
        theirs = tools.make_train_input_tensors(train, name, split, **plain)
        assert np.array_equal(shard.counts[trials][..., ~heldout], theirs["train_spikes_heldin"])
        assert np.array_equal(shard.counts[trials][..., heldout], theirs["train_spikes_heldout"])
    theirs = tools.make_eval_input_tensors(test, name, "test", **plain)
    of_test = shard.counts[shard.header.splits["test"]]
    assert np.array_equal(of_test[..., ~heldout], theirs["eval_spikes_heldin"])
    assert not of_test[..., heldout].any()


def test_dmfc_is_scored_where_the_benchmark_has_something_to_compare_with(nlb_tools, tmp_path):
    """From `set` to `go`; the arrays are padded in front."""
    window = nlb.DATASETS["dmfc_rsg"]
    files = write_dataset(tmp_path, event=window.event, window_s=window.window_s)
    header = shard_of(*files.arguments("dmfc_rsg")[1:], "--bin-size-ms", "20").header
    dataset = binned(nlb_tools, files.train, 20)
    fields = {"start_field": "set_time", "end_field": "go_time", "align_field": "go_time"}
    val = (dataset.trial_info.split == "val").to_numpy()
    [theirs] = nlb_tools.make_tensors.make_jagged_array(
        dataset, "heldout_spikes", fields, val, pad="front", seg_len=1500
    )
    scored = scored_bins(header, header.splits["val"])
    assert np.array_equal(scored, ~np.isnan(theirs["heldout_spikes"][..., 0]))
    assert 0 < scored.mean() < 1


def test_the_shard_says_what_is_held_out_what_is_kept_back_and_where_it_comes_from(maze, tmp_path):
    assert main([*maze.arguments("mc_maze"), "--bin-size-ms", "20", "--forward", "--out", str(tmp_path)]) == 0
    shard = read_shard(tmp_path / "nlb-mc_maze.h5")
    header = shard.header
    assert header.neurons.uuid.tolist() == [f"mc_maze-{UNITS[place]}" for place in (*HELDIN, *HELDOUT)]
    assert header.neurons.region.tolist() == ["heldin"] * 6 + ["heldout"] * 2
    assert header.neurons.heldout.tolist() == [False] * 6 + [True] * 2
    kept = [split for split in SPLITS if split != "none"]
    assert {name: len(trials) for name, trials in header.splits.items()} == {
        "train": kept.count("train"),
        "val": kept.count("val"),
        "test": N_TEST,
    }
    assert header.trials.columns["heldout_known"].tolist() == [1.0] * len(kept) + [0.0] * N_TEST
    assert header.trials.columns["trial_type"][-N_TEST:].tolist() == [0, 1, 2, 0, 1]
    assert header.attributes["dataset"] == "mc_maze"
    assert header.window_s == pytest.approx((-0.25, 0.45 + FORWARD))
    centres_s = header.trials.start_s[0] + 0.02 * (np.arange(45) + 0.5)
    assert shard.behavior["hand_vel_y"][0] == pytest.approx(-2 * centres_s, rel=1e-5)
    assert np.isnan(shard.behavior["hand_vel_x"][header.splits["test"]]).all()
    n_main = 35
    train = [number for number, split in enumerate(SPLITS) if split == "train"]
    truth = maze.counts("train", train, start_s=-0.25, n_bins=n_main + 10, bin_size_s=0.02)
    assert np.array_equal(shard.counts[header.splits["train"]], truth)
    assert not shard.counts[header.splits["test"], n_main:].any()
    assert main(["check", str(tmp_path)]) == 0


def test_inspect_prints_a_command_that_prepares_it_and_writes_nothing(maze, capsys):
    before = sorted(maze.train.parent.iterdir())
    assert main([*maze.arguments("mc_maze"), "--inspect"]) == 0
    said = capsys.readouterr().out
    assert "regions   heldin 6, heldout 2" in said
    assert f"--test {maze.test} --bin-size-ms 5 --out" in said
    assert sorted(maze.train.parent.iterdir()) == before


def changed(path: Path, folder: Path, change) -> Path:
    """A copy of a file with something in it changed."""
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    with h5py.File(copy, "r+") as file:
        change(file)
    return copy


def without(name):
    return lambda file: file.__delitem__(name)


def rename_a_unit(file):
    file["units/id"][0] = 7


def hold_out_none(file):
    file["units/heldout"][...] = False


@pytest.mark.parametrize(
    ("which", "change", "reason"),
    [
        ("train", without("units/heldout"), "has no column heldout"),
        ("train", without("units"), "has no units"),
        ("train", without("units/obs_intervals"), "no obs_intervals"),
        ("train", without("intervals/trials/split"), "no splits train and val"),
        ("train", without("intervals/trials/move_onset_time"), "has no times move_onset_time"),
        ("test", without("intervals/trials/move_onset_time"), "has no times move_onset_time"),
        ("train", hold_out_none, "holds out 0 of 8 neurons"),
        ("test", rename_a_unit, "has the neuron 7, which"),
        ("test", without("intervals"), "has no intervals/trials"),
    ],
)
def test_a_file_that_is_not_the_benchmark_s_is_skipped_in_one_sentence(maze, tmp_path, capsys, which, change, reason):
    files = {"train": maze.train, "test": maze.test}
    files[which] = changed(files[which], tmp_path, change)
    out = tmp_path / "out"
    given = ("--dataset", "mc_maze", "--train", str(files["train"]), "--test", str(files["test"]))
    assert main(["nlb", *given, "--out", str(out)]) == 1
    assert reason in capsys.readouterr().out.splitlines()[0]
    assert not list(out.glob("*.h5"))


@pytest.mark.parametrize(
    ("train", "test", "reason"),
    [
        ("train", "train", "is the train file"),
        ("absent", "test", "no such file"),
    ],
)
def test_files_that_cannot_be_are_refused(maze, tmp_path, capsys, train, test, reason):
    files = {"train": maze.train, "test": maze.test, "absent": tmp_path / "absent.nwb"}
    given = ("--dataset", "mc_maze", "--train", str(files[train]), "--test", str(files[test]))
    assert main(["nlb", *given, "--out", str(tmp_path / "out")]) == 2
    assert reason in capsys.readouterr().err


def test_the_two_files_the_wrong_way_round_are_refused(maze, tmp_path, capsys):
    given = ("--dataset", "mc_maze", "--train", str(maze.test), "--test", str(maze.train))
    assert main(["nlb", *given, "--out", str(tmp_path / "out")]) == 1
    assert "so it is no train file" in capsys.readouterr().out

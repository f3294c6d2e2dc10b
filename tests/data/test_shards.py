"""The shard format: what is written is what is read, and what does not fit is named."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_1 import as_format_1
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import (
    NEURON_NUMBERS,
    NEURON_TEXT,
    TRIAL_NUMBERS,
    Neurons,
    Shard,
    ShardHeader,
    Trials,
    open_shard,
    read_header,
    read_principal_axes,
    read_shard,
    shard_problems,
    write_shard,
)
from neuromtm.data.statistics import training_statistics
from neuromtm.errors import ShardError


def make_shard(counts: np.ndarray | None = None) -> Shard:
    """A shard of random content around the counts; without them: 6 trials, 4 bins, 3 neurons."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(1.0, (6, 4, 3)).astype(np.uint8) if counts is None else counts
    n_trials, n_bins, n_neurons = counts.shape
    header = ShardHeader(
        eid="a-1",
        subject="mouse",
        lab="lab",
        source="test",
        bin_size_s=0.02,
        window_s=(-0.02, -0.02 + 0.02 * n_bins),
        align_event="stimOn_times",
        created_by="test",
        neurons=Neurons(
            uuid=np.array([f"n{i}" for i in range(n_neurons)]),
            region=np.array(["CA1", "root", "VISp"] * n_neurons)[:n_neurons],
            probe=np.repeat("probe00", n_neurons),
            **{name: rng.random(n_neurons) for name in NEURON_NUMBERS},
        ),
        trials=Trials(
            choice=rng.choice([-1, 0, 1], n_trials).astype(np.int8),
            index=np.arange(n_trials),
            **{name: 100.0 * np.arange(n_trials) + rng.random(n_trials) for name in TRIAL_NUMBERS},
        ),
        splits={"train": np.arange(n_trials - 2), "val": np.array([n_trials - 2]), "test": np.array([n_trials - 1])},
        behaviors=("whisker",),
        preparation={"seed": 0, "window_s": [-0.02, 0.06]},
    )
    return Shard(
        header,
        counts=counts,
        behavior={"whisker": rng.random((n_trials, n_bins)).astype(np.float32)},
        true_rates=rng.random(counts.shape).astype(np.float16),
    )


def same(found: Shard, expected: Shard) -> bool:
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.true_rates, expected.true_rates)
    assert found.counts.dtype == expected.counts.dtype
    assert found.behavior.keys() == expected.behavior.keys()
    for name, values in expected.behavior.items():
        np.testing.assert_array_equal(found.behavior[name], values)
    for part, names in {
        "neurons": NEURON_TEXT + NEURON_NUMBERS,
        "trials": ("choice", "index", *TRIAL_NUMBERS),
    }.items():
        for name in names:
            values = (getattr(getattr(shard.header, part), name) for shard in (found, expected))
            np.testing.assert_array_equal(*values)
    for name in ("eid", "subject", "lab", "source", "bin_size_s", "window_s", "align_event", "created_by"):
        assert getattr(found.header, name) == getattr(expected.header, name)
    assert found.header.preparation == expected.header.preparation
    assert {k: v.tolist() for k, v in found.header.splits.items()} == {
        k: v.tolist() for k, v in expected.header.splits.items()
    }
    return True


def with_header(**changes):
    return replace(make_shard(), header=replace(make_shard().header, **changes))


def with_neurons(**changes):
    return with_header(neurons=replace(make_shard().header.neurons, **changes))


@given(
    counts=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(3, 6), st.integers(1, 7), st.integers(1, 5)),
    )
)
def test_what_is_written_is_what_is_read(counts, tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "a-1.h5"
    write_shard(path, make_shard(counts))
    assert same(read_shard(path), make_shard(counts))
    assert shard_problems(path) == []


def test_missing_values_and_an_absent_truth_survive(tmp_path):
    shard = make_shard()
    shard.behavior["whisker"][2, 1] = np.nan
    shard.header.neurons.label[:] = np.nan
    shard = replace(shard, true_rates=None)
    write_shard(tmp_path / "a.h5", shard)
    found = read_shard(tmp_path / "a.h5")
    assert np.isnan(found.behavior["whisker"]).sum() == 1
    assert np.isnan(found.header.neurons.label).all()
    assert found.true_rates is None


def test_written_twice_every_byte_is_equal(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_shard(tmp_path / name, make_shard())
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_the_statistics_are_those_of_the_training_trials_whatever_the_header_says(tmp_path):
    shard = with_neurons(mean_count=np.zeros(3), count_variance=np.zeros(3))
    write_shard(tmp_path / "a.h5", shard)
    expected = training_statistics(shard.counts, shard.header.splits["train"])
    neurons = read_header(tmp_path / "a.h5").neurons
    np.testing.assert_array_equal(neurons.mean_count, expected.mean_count)
    np.testing.assert_array_equal(neurons.count_variance, expected.count_variance)
    axes = read_principal_axes(tmp_path / "a.h5")
    np.testing.assert_array_equal(axes, expected.principal_axes)
    assert (axes.dtype, axes.shape) == (np.float32, (3, 3))


def test_neurons_that_the_source_holds_out_are_kept_as_such(tmp_path):
    held_out = np.array([True, False, True])
    write_shard(tmp_path / "a.h5", with_neurons(heldout=held_out))
    assert read_header(tmp_path / "a.h5").neurons.heldout.tolist() == [True, False, True]
    assert shard_problems(tmp_path / "a.h5") == []
    write_shard(tmp_path / "b.h5", make_shard())
    assert read_header(tmp_path / "b.h5").neurons.heldout is None


def test_names_of_other_alphabets_survive(tmp_path):
    write_shard(tmp_path / "a.h5", with_neurons(probe=np.array(["", "sonde é", "電極"])))
    assert read_header(tmp_path / "a.h5").neurons.probe.tolist() == ["", "sonde é", "電極"]


def test_a_trial_time_that_is_not_given_is_unknown(tmp_path):
    write_shard(tmp_path / "a.h5", with_header(trials=replace(make_shard().header.trials, start_s=None, event_s=None)))
    trials = read_header(tmp_path / "a.h5").trials
    assert np.isnan(trials.start_s).all()
    assert np.isnan(trials.event_s).all()


def test_a_shard_of_format_1_opens_and_says_what_it_knows(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    as_format_1(path)
    assert shard_problems(path) == []
    found, trials = read_shard(path), make_shard().header.trials
    event_s = trials.stimulus_onset_s  # the event of these trials
    known = replace(trials, event_s=event_s, start_s=event_s - 0.02)
    assert same(found, with_header(trials=known))
    assert found.header.format_version == 1
    assert found.header.neurons.mean_count is found.header.neurons.count_variance is None
    assert read_principal_axes(path) is None


def test_the_times_of_an_event_that_a_shard_of_format_1_does_not_hold_are_unknown(tmp_path):
    write_shard(tmp_path / "a.h5", with_header(align_event="goCue_times"))
    as_format_1(tmp_path / "a.h5")
    trials = read_header(tmp_path / "a.h5").trials
    assert np.isnan(trials.event_s).all()
    assert np.isnan(trials.start_s).all()


@pytest.mark.parametrize("name", ["mean_count", "count_variance", "principal_axes"])
def test_statistics_of_other_counts_are_found(tmp_path, name):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    with h5py.File(path, "r+") as file:
        file[f"neurons/{name}"][...] = 1.1 * file[f"neurons/{name}"][()]
    assert shard_problems(path) == [f"{path}: neurons/{name} is not that of the training trials. Prepare it again."]


def test_axes_of_another_number_of_neurons_are_found_when_the_header_is_read(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    with h5py.File(path, "r+") as file:
        del file["neurons/principal_axes"]
        file["neurons/principal_axes"] = np.zeros((2, 4), np.float32)
    with pytest.raises(ShardError, match=r"principal_axes has shape \(2, 4\), .* needs \(component, 3\)"):
        read_header(path)


def test_a_session_without_training_trials_has_no_mean(tmp_path):
    shard = with_header(splits=make_shard().header.splits | {"train": np.zeros(0, np.int32)})
    write_shard(tmp_path / "a.h5", shard)
    assert np.isnan(read_header(tmp_path / "a.h5").neurons.mean_count).all()
    assert read_principal_axes(tmp_path / "a.h5").shape == (0, 3)
    assert shard_problems(tmp_path / "a.h5") == []


def test_one_trial_is_one_chunk_with_a_checksum(tmp_path):
    write_shard(tmp_path / "a.h5", make_shard())
    with open_shard(tmp_path / "a.h5") as file:
        for name in ("spikes/counts", "behavior/whisker", "truth/rates"):
            assert file[name].chunks == (1, *file[name].shape[1:])
            assert file[name].fletcher32


@given(trials=st.lists(st.integers(0, 5), max_size=10))
def test_reading_single_trials_equals_indexing_the_whole(trials, tmp_path_factory):
    path = tmp_path_factory.mktemp("shard") / "a-1.h5"
    shard = make_shard()
    write_shard(path, shard)
    with open_shard(path) as file:
        np.testing.assert_array_equal(read_trials(file["spikes/counts"], trials), shard.counts[trials])


def test_names_in_session_info_are_plain_strings(tmp_path):
    # numpy's strings would not load from a checkpoint with weights_only=True
    write_shard(tmp_path / "a.h5", make_shard())
    info = read_header(tmp_path / "a.h5").info
    assert {type(name) for name in (info.eid, *info.neurons, *info.regions)} == {str}
    assert info.region_names == ("CA1", "VISp")
    assert info.region_index().number.tolist() == [0, -1, 1]


SPLITS = make_shard().header.splits


@pytest.mark.parametrize(
    ("shard", "problem"),
    [
        (with_header(bin_size_s=0.01), "spikes/counts has 4 bins, but window_s and bin_size_s give 8"),
        (with_header(splits=SPLITS | {"val": SPLITS["test"]}), "a trial is in two splits"),
        (with_header(splits=SPLITS | {"val": np.array([6])}), "splits name trials outside 0 to 5"),
        (with_header(splits=SPLITS | {"val": np.array([-1])}), "splits name trials outside 0 to 5"),
        (with_neurons(uuid=np.array(["a", "a", "b"])), "names a neuron twice"),
        (with_neurons(region=np.array(["CA1", "", "b"])), "neurons/region is empty"),
        (with_neurons(label=np.zeros(2)), r"neurons/label has shape \(2,\)"),
        (replace(make_shard(), counts=make_shard().counts.astype(np.int64)), "int64"),
        (replace(make_shard(), counts=make_shard().counts[0]), "not uint8 or uint16"),
        (replace(make_shard(), behavior={"w": np.zeros((6, 5))}), "behavior/w has shape"),
        (replace(make_shard(), true_rates=np.zeros((6, 4, 2))), "truth/rates has shape"),
        (with_header(trials=replace(make_shard().header.trials, choice=np.full(6, 2))), "other than -1, 0, \\+1"),
    ],
)
def test_a_shard_whose_parts_do_not_fit_is_named_and_not_written(tmp_path, shard, problem):
    with pytest.raises(ShardError, match=problem) as error:
        write_shard(tmp_path / "a.h5", shard)
    assert str(tmp_path / "a.h5") in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_former_shard(tmp_path):
    write_shard(tmp_path / "a.h5", make_shard())
    with pytest.raises(ShardError):
        write_shard(tmp_path / "a.h5", with_header(bin_size_s=0.01))
    assert same(read_shard(tmp_path / "a.h5"), make_shard())
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]


def test_a_writer_killed_at_any_moment_leaves_no_half_shard(tmp_path):
    program = f"""
import sys
from pathlib import Path
import numpy as np
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
from test_shards import make_shard
from neuromtm.data.shards import write_shard
shard = make_shard(np.ones((200, 20, 20), np.uint8))
while True:
    write_shard(Path({str(tmp_path)!r}) / "a.h5", shard)
"""
    writer = subprocess.Popen([sys.executable, "-c", program])
    while not (tmp_path / "a.h5").exists() and writer.poll() is None:
        time.sleep(0.01)
    time.sleep(0.1)
    writer.kill()
    assert writer.wait() == -signal.SIGKILL
    assert [path.name for path in tmp_path.glob("*.h5")] == ["a.h5"]
    assert shard_problems(tmp_path / "a.h5") == []


def test_a_shard_that_is_missing_is_named(tmp_path):
    with pytest.raises(ShardError, match=r"a\.h5: no such shard\. Prepare it again\.$"):
        read_header(tmp_path / "a.h5")


@pytest.mark.parametrize("keep", [0, 10, 1000, -1])
def test_a_shard_that_was_cut_short_is_named(tmp_path, keep):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    path.write_bytes(path.read_bytes()[:keep])
    for read in (read_header, read_shard):
        with pytest.raises(ShardError, match=r"a\.h5: .*cut short"):
            read(path)
    assert len(shard_problems(path)) == 1


def test_a_shard_of_another_version_says_both_versions(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 3
    with pytest.raises(ShardError, match="version 3, but this program reads 'neuromtm-session' version 1 and 2"):
        read_header(path)


def test_another_programs_hdf5_file_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(ShardError, match="format None"):
        read_shard(tmp_path / "a.h5")


@pytest.mark.parametrize(
    "name", ["spikes/counts", "neurons/uuid", "neurons/mean_count", "trials/block", "trials/event_s", "splits/val"]
)
def test_a_shard_without_a_dataset_says_which(tmp_path, name):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    with h5py.File(path, "r+") as file:
        del file[name]
    with pytest.raises(ShardError, match=f"{name} missing"):
        read_header(path)


def test_a_flipped_bit_in_the_counts_is_found(tmp_path):
    path = tmp_path / "a.h5"
    write_shard(path, make_shard())
    with h5py.File(path) as file:
        chunk = file["spikes/counts"].id.get_chunk_info(3)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + 2] ^= 4
    path.write_bytes(content)
    assert "spikes/counts is damaged at trial 3" in shard_problems(path)[0]
    with pytest.raises(ShardError, match="spikes/counts is damaged at trial 3"):
        read_shard(path)

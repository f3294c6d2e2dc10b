"""Reading batches: what was written comes back, and nothing is read before it is needed."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch
from small_shards import N_BINS, Session, contents, write_folder

from neuromtm.batch import SessionInfo
from neuromtm.data.chunks import TrialChunks
from neuromtm.data.dataset import SessionDataset, SessionSource
from neuromtm.data.sampler import GroupPlan
from neuromtm.data.shards import Shard
from neuromtm.errors import ShardError


def source_of(folder, shards: dict[str, Shard], eid: str, neurons: list[int] | None = None) -> SessionSource:
    header = shards[eid].header
    neurons = np.arange(header.n_neurons) if neurons is None else np.array(neurons)
    info = SessionInfo(eid, tuple(header.neurons.uuid[neurons]), tuple(header.neurons.region[neurons]))
    path = folder / f"file{list(shards).index(eid)}.h5"
    return SessionSource(
        info=info,
        path=path,
        neurons=neurons,
        n_in_shard=header.n_neurons,
        choice=header.trials.choice.astype(np.int8),
        behaviors=header.behaviors,
    )


@pytest.fixture
def shards(tmp_path):
    return write_folder(tmp_path, Session("a"), Session("b", regions=["MOs", "CA1"], behaviors=["paw", "lick"]))


@pytest.fixture
def make_dataset(tmp_path, shards):
    def make(*, neurons: list[int] | None = None, **options: bool) -> SessionDataset:
        return SessionDataset({eid: source_of(tmp_path, shards, eid, neurons) for eid in shards}, **options)

    return make


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("neurons", [None, [1]])
def test_what_was_written_is_what_is_read(shards, make_dataset, mapped, neurons):
    batch = make_dataset(neurons=neurons, mapped=mapped)[GroupPlan("b", (7, 2)), GroupPlan("a", (0, 19, 5))]
    assert [group.eid for group in batch.groups] == ["b", "a"]
    assert batch.n_trials == 5
    for group, trials in zip(batch.groups, ([7, 2], [0, 19, 5]), strict=True):
        shard = shards[group.eid]
        chosen = slice(None) if neurons is None else neurons
        assert group.trial.tolist() == trials
        assert group.counts.dtype == torch.uint8
        assert group.counts.is_contiguous()
        np.testing.assert_array_equal(group.counts, shard.counts[trials][..., chosen])
        np.testing.assert_array_equal(group.choice, shard.header.trials.choice[trials])
        assert group.behavior.keys() == shard.behavior.keys()
        for name, trace in group.behavior.items():
            assert trace.dtype == torch.float32
            assert trace[:, 0].isnan().all()
            np.testing.assert_array_equal(trace, shard.behavior[name][trials])


def test_regions_are_numbered_by_the_session_s_own_sorted_names(make_dataset):
    numbers = [make_dataset()[(GroupPlan(eid, (0,)),)].groups[0].region.number.tolist() for eid in "ab"]
    assert numbers == [[0, 1, 0, -1], [1, 0]]


def test_counts_too_large_for_a_byte_come_whole(tmp_path):
    shards = write_folder(tmp_path, Session("a", largest_count=60_000))
    (group,) = SessionDataset({"a": source_of(tmp_path, shards, "a")})[(GroupPlan("a", (0, 3)),)].groups
    assert group.counts.dtype == torch.int32
    assert group.counts.max() == 60_000
    np.testing.assert_array_equal(group.counts, shards["a"].counts[[0, 3]])


def test_reads_touch_the_trials_asked_for_and_nothing_else(make_dataset, monkeypatch):
    asked, read = [], TrialChunks.read
    monkeypatch.setattr(
        TrialChunks,
        "read",
        lambda chunks, file, trials, columns: (
            asked.append((chunks.shape, list(trials))) or read(chunks, file, trials, columns)
        ),
    )
    dataset = make_dataset()
    assert asked == []
    _ = dataset[(GroupPlan("a", (4, 2)),)]
    assert asked == [((N_BINS, 4), [4, 2]), ((N_BINS,), [4, 2])]


@pytest.mark.parametrize("mapped", [False, True])
def test_a_batch_may_be_changed(make_dataset, mapped):
    dataset, plan = make_dataset(mapped=mapped), (GroupPlan("a", (4, 2)),)
    for _ in range(2):  # a mapped trial comes by another way when it has been checked
        first = dataset[plan]
        expected = contents([first])
        first.groups[0].counts.zero_()
        first.groups[0].behavior["whisker_motion_energy"].zero_()
        first.groups[0].choice.zero_()
        assert contents([dataset[plan]]) == expected


def test_where_the_neurons_lie_is_found_once(make_dataset):
    dataset = make_dataset()
    first, second = (dataset[(GroupPlan("a", (trial,)),)].groups[0].region for trial in (4, 2))
    assert first is second
    assert first.sizes == (2, 1)


@pytest.mark.parametrize("neurons", [None, [1]])
def test_active_neurons_are_counted_where_somebody_wants_them(make_dataset, neurons):
    plan = GroupPlan("a", (4, 2)), GroupPlan("b", (0,))
    assert all(group.n_active is None for group in make_dataset()[(plan[0],)].groups)
    for group in make_dataset(neurons=neurons, counts_active=True)[(plan[0],)].groups:
        np.testing.assert_array_equal(group.n_active, np.count_nonzero(group.counts, axis=2))
        assert group.n_active.dtype == torch.int64


@pytest.mark.parametrize("mapped", [False, True])
def test_damage_within_a_trial_names_the_file(tmp_path, shards, make_dataset, mapped):
    path = tmp_path / "file0.h5"
    with h5py.File(path) as file:
        place = file["spikes/counts"].id.get_chunk_info_by_coord((3, 0, 0)).byte_offset
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    dataset = make_dataset(mapped=mapped)
    with pytest.raises(ShardError, match=r"file0\.h5: spikes/counts is damaged .*prepare it again") as error:
        _ = dataset[(GroupPlan("a", (3,)),)]
    assert "\n" not in str(error.value)


def test_a_shard_that_is_gone_is_named(tmp_path, shards):
    gone = replace(source_of(tmp_path, shards, "a"), path=tmp_path / "gone.h5")
    with pytest.raises(ShardError, match=r"gone\.h5: no such shard"):
        _ = SessionDataset({"a": gone})[(GroupPlan("a", (0,)),)]


def test_a_batch_moves_with_all_that_is_in_it(make_dataset):
    batch = make_dataset()[GroupPlan("a", (4, 2)), GroupPlan("b", (0,))].to("meta")
    for group in batch.groups:
        tensors = [group.counts, group.region.number, group.trial, group.choice, *group.behavior.values()]
        assert len(tensors) == 4 + len(group.behavior) > 4
        assert {tensor.device.type for tensor in tensors} == {"meta"}

"""Counts on a device: the same batches, gathered there, with nothing read again. The device here is the CPU."""

import numpy as np
import pytest
import torch
from small_shards import Session, contents, make_shard, ready, write_folder

from neuromtm.data.chunks import ShardReader
from neuromtm.data.device_cache import DeviceDataset
from neuromtm.data.manifest import add_shard
from neuromtm.data.sampler import GroupPlan
from neuromtm.data.shards import write_shard
from neuromtm.errors import ShardError

CPU = torch.device("cpu")
PLAN = (GroupPlan("a", (4, 2)), GroupPlan("b", (0, 19, 7)))


@pytest.fixture
def written(tmp_path):
    """A folder of two sessions, whose data module takes some of the neurons."""
    sessions = Session("a"), Session("b", regions=["MOs", "CA1"], behaviors=["paw", "lick"], largest_count=60_000)
    return tmp_path, write_folder(tmp_path, *sessions)


def both(folder, **options):
    """The readers of the same data on the host and on the device."""
    host = ready(folder, **options)._opened
    return host, DeviceDataset(host, CPU)


@pytest.mark.parametrize("trials_at_once", [3, 256])
@pytest.mark.parametrize("regions", [None, ["CA1"]])
def test_batches_are_those_of_the_host_in_every_type(written, regions, trials_at_once, monkeypatch):
    monkeypatch.setattr("neuromtm.data.device_cache.TRIALS_AT_ONCE", trials_at_once)
    host, device = both(written[0], regions=regions)
    host.counts_active = True
    assert contents([device[PLAN]]) == contents([host[PLAN]])
    for found, expected in zip(device[PLAN].groups, host[PLAN].groups, strict=True):
        assert found.counts.dtype == expected.counts.dtype
        assert found.counts.is_contiguous()
        assert found.choice.dtype == torch.int8
        assert found.region.sizes == expected.region.sizes
        torch.testing.assert_close(found.region.number, expected.region.number)
        torch.testing.assert_close(found.n_active, expected.n_active)
    assert [group.counts.dtype for group in device[PLAN].groups] == [torch.uint8, torch.int32]


def test_active_neurons_are_counted_only_where_somebody_wants_them(written):
    host, device = both(written[0])
    assert all(group.n_active is None for group in device[PLAN].groups)
    host.counts_active = True
    assert all(group.n_active.device == CPU for group in device[PLAN].groups)


def test_after_it_is_filled_no_file_is_read_and_a_batch_may_be_changed(written, monkeypatch):
    _, device = both(written[0])
    monkeypatch.setattr(ShardReader, "read", lambda *_: pytest.fail("a file was read"))
    expected = contents([device[PLAN]])
    for group in device[PLAN].groups:
        for tensor in (group.counts, group.choice, *group.behavior.values()):
            tensor.zero_()
    assert contents([device[PLAN]]) == expected


def test_damage_is_found_when_it_is_filled(tmp_path):
    write_shard(tmp_path / "a.h5", make_shard(Session("a")))
    add_shard(tmp_path / "a.h5", "pretrain")
    data = ready(tmp_path, cache="device")
    place = int(data._opened.reader._chunks_of("a", "spikes/counts").offsets[3])
    content = bytearray((tmp_path / "a.h5").read_bytes())
    content[place] ^= 1
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(ShardError, match=r"a\.h5: spikes/counts is damaged .*trial 3"):
        ready(tmp_path, cache="device").train_dataloader()


def test_all_loaders_share_the_counts_and_need_no_worker(written):
    data = ready(written[0], cache="device", n_workers=2, pin_memory=True)
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    assert len({id(loader.dataset) for loader in loaders}) == 1
    assert {(loader.num_workers, loader.pin_memory) for loader in loaders} == {(0, False)}


def test_groups_still_come_from_the_host(written):
    data = ready(written[0], cache="device")
    data.train_dataloader()
    expected = contents_of_groups(ready(written[0], cache="none"))
    assert contents_of_groups(data) == expected


def contents_of_groups(data) -> list:
    return [group.counts.numpy().tolist() for eid in data.sessions for group in data.groups(eid, "train")]


def test_a_device_holds_only_the_chosen_neurons(written):
    folder, shards = written
    _, device = both(folder, regions=["CA1"])
    assert device._sessions["a"].counts.shape == (20, 4, 2)
    np.testing.assert_array_equal(device._sessions["a"].counts, shards["a"].counts[..., [0, 2]])

"""The seal of a shard: no byte changes unseen, and what is damaged is named."""

import os
import time

import h5py
import numpy as np
import pytest
from small_shards import Session, make_shard, ready, write_folder

from neuromtm.data import chunks as chunks_module
from neuromtm.data.chunks import ShardReader
from neuromtm.data.seal import FOOTER_BYTES, STRUCTURE, add_seal, is_sealed, require_seal
from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import open_shard, read_header, read_principal_axes, read_shard, shard_problems, write_shard
from neuromtm.errors import ShardError


@pytest.fixture
def path(tmp_path):
    """A small shard, written as all are."""
    write_shard(tmp_path / "a.h5", make_shard(Session("a", n_trials=7, n_bins=3, regions=["CA1"] * 5)))
    return tmp_path / "a.h5"


def places(path) -> dict[str, tuple[int, int]]:
    """Dataset that is stored in one piece -> its first byte and the byte after its last."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        offsets = {name: (item.id.get_offset(), item.id.get_storage_size()) for name, item in found.items()}
    return {name: (offset, offset + size) for name, (offset, size) in offsets.items() if offset is not None}


def flip(path, place: int, flipped: int = 0x01) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= flipped
    path.write_bytes(content)


def test_hdf5_opens_a_sealed_file_and_its_own_bytes_are_as_they_were(path):
    sealed = path.read_bytes()
    with h5py.File(path) as file:
        assert file["spikes/counts"].shape == (7, 3, 5)
    with h5py.File(path, "r+"):  # which cuts the seal off
        pass
    assert not is_sealed(path)
    assert sealed.startswith(path.read_bytes())
    read_shard(path)
    add_seal(path)
    assert path.read_bytes() == sealed


def test_every_byte_outside_the_trials_is_compared_and_the_dataset_is_named(path):
    good, named = path.read_bytes(), places(path)
    assert {"neurons/region", "splits/train", "trials/choice", "neurons/principal_axes"} <= named.keys()
    with h5py.File(path) as file:
        trials = np.zeros(len(good), bool)
        for name in ("spikes/counts", "behavior/whisker_motion_energy"):
            for i in range(7):
                chunk = file[name].id.get_chunk_info(i)
                trials[chunk.byte_offset : chunk.byte_offset + chunk.size] = True
    for place in [*np.flatnonzero(~trials)[::211], *(first for first, _ in named.values())]:
        damaged = bytearray(good)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        what = next((name for name, (first, after) in named.items() if first <= place < after), "its structure|its end")
        with pytest.raises(ShardError, match=rf"a\.h5: ({what}|the checksums at its end).* Delete it and prepare"):
            require_seal(path, parts=[STRUCTURE, *named])


def test_a_damaged_region_is_named_by_every_reading(path):
    flip(path, places(path)["neurons/region"][0] + 1)
    sentence = r"a\.h5: neurons/region is damaged: the bytes are not those that were written. Delete it"
    for read in (read_header, read_shard, read_principal_axes):
        with pytest.raises(ShardError, match=sentence):
            read(path)
    assert "neurons/region is damaged" in shard_problems(path)[0]


def test_principal_axes_are_compared_when_they_are_read(path):
    flip(path, places(path)["neurons/principal_axes"][0])
    read_header(path)
    with pytest.raises(ShardError, match="neurons/principal_axes is damaged"):
        read_principal_axes(path)
    assert "neurons/principal_axes is damaged" in shard_problems(path)[0]


@pytest.mark.parametrize("n_left", [-1, -8, -9, 1 - FOOTER_BYTES, -FOOTER_BYTES, -FOOTER_BYTES - 100])
@pytest.mark.parametrize("filled", [False, True])
def test_a_seal_that_is_cut_off_or_overwritten_by_zeros_is_found(path, n_left, filled):
    content = path.read_bytes()
    path.write_bytes(content[:n_left] + bytes(-n_left if filled else 0))
    with pytest.raises(ShardError, match="its end is damaged or it was cut short"):
        read_header(path)


def test_a_table_of_checksums_that_leads_out_of_the_file_is_refused(path):
    import hashlib

    text = b'{"parts":{"structure":{"extents":[[0,1000000000000000]],"sha256":""}}}'
    with h5py.File(path, "r+"):
        pass
    with path.open("ab") as file:
        file.write(text + hashlib.sha256(text).digest() + len(text).to_bytes(8, "little") + b"NMTMSEAL")
    with pytest.raises(ShardError, match="the checksums at its end are none of neuromtm"):
        read_header(path)


def test_a_damaged_trial_is_named_where_hdf5_reads_it(path):
    with h5py.File(path) as file:
        place = file["behavior/whisker_motion_energy"].id.get_chunk_info(4).byte_offset
    flip(path, place)
    with open_shard(path) as file, pytest.raises(ShardError, match="whisker_motion_energy is damaged at trial 4"):
        read_trials(file["behavior/whisker_motion_energy"], [1, 4])
    with pytest.raises(ShardError, match=r"a\.h5: behavior/whisker_motion_energy is damaged at trial 4"):
        read_shard(path)


@pytest.mark.parametrize("name", ["spikes/counts", "behavior/whisker_motion_energy"])
def test_zeros_in_the_place_of_a_trial_and_of_its_checksum_are_found(path, name):
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(4)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(content)
    with h5py.File(path) as file:
        assert not file[name][4].any()  # HDF5 takes them for good
    for mapped in (False, True):
        with pytest.raises(ShardError, match=rf"a\.h5: {name} is damaged \(the checksum of trial 4 is wrong\)"):
            ShardReader({"a": path}, mapped=mapped).read("a", name, np.array([4]))
    with pytest.raises(ShardError, match=rf"a\.h5: {name} is damaged at trial 4 \(zeros in its place\)"):
        read_shard(path)
    assert f"{name} is damaged at trial 4" in shard_problems(path)[0]


def test_a_trial_without_a_spike_is_read(tmp_path):
    shard = make_shard(Session("a"))
    shard.counts[3] = 0
    write_shard(tmp_path / "a.h5", shard)
    assert not read_shard(tmp_path / "a.h5").counts[3].any()
    assert not ShardReader({"a": tmp_path / "a.h5"}).read("a", "spikes/counts", np.array([3])).any()
    assert shard_problems(tmp_path / "a.h5") == []


@pytest.mark.parametrize("cache", ["memory", "none"])
def test_a_shard_that_is_written_over_while_it_is_read_is_noticed(tmp_path, monkeypatch, cache):
    monkeypatch.setattr(chunks_module, "LOOKED_AT_EVERY_S", 0.0)
    write_folder(tmp_path, Session("a"))
    data = ready(tmp_path, cache=cache)
    list(data.train_dataloader())
    path, later_ns = tmp_path / "file0.h5", time.time_ns() + 10**9
    with path.open("r+b") as file:  # the same file, unlike one that takes its name
        file.write(path.read_bytes())
    os.utime(path, ns=(later_ns, later_ns))
    with pytest.raises(ShardError, match=r"file0\.h5: the file has changed since this run opened it"):
        list(data.train_dataloader())
    with pytest.raises(ShardError, match=r"file0\.h5: the file has changed since this run opened it"):
        data.statistics("a")
    with pytest.raises(ShardError, match=r"file0\.h5: the file has changed since this run opened it"):
        data.behavior("a", "whisker_motion_energy")

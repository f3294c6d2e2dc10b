"""The reader that knows where the trials lie: HDF5's checksum and HDF5's bytes, and no damage goes unseen."""

import os
import pickle

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_shards import Session, make_shard

from neuromtm.data import chunks as chunks_module
from neuromtm.data import shard_access
from neuromtm.data.chunks import CHECKSUM_BYTES, LARGEST_BYTES, ShardReader, TrialChunks, fletcher32, room_for
from neuromtm.data.shards import write_shard
from neuromtm.errors import ShardError

COUNTS = "spikes/counts"


def in_hdf5(values: np.ndarray, **options) -> h5py.File:
    """A file in memory whose dataset `x` holds the values, by default one row a chunk with its checksum."""
    file = h5py.File.in_memory()
    file.create_dataset("x", data=values, **({"chunks": (1, *values.shape[1:]), "fletcher32": True} | options))
    return file


def stored_sums(file: h5py.File) -> np.ndarray:
    """The checksums that HDF5 has written, one a chunk."""
    data = file["x"].id
    raw = [data.read_direct_chunk((row, *(0 for _ in file["x"].shape[1:])))[1] for row in range(file["x"].shape[0])]
    return np.array([np.frombuffer(chunk[-CHECKSUM_BYTES:], "<u4")[0] for chunk in raw])


def our_sums(values: np.ndarray) -> np.ndarray:
    rows = np.ascontiguousarray(values).reshape(len(values), -1).view(np.uint8)
    padded = np.zeros((len(rows), room_for(rows.shape[1])), np.uint8)
    padded[:, : rows.shape[1]] = rows
    return fletcher32(padded, rows.shape[1])


@given(
    st.sampled_from([np.uint8, np.uint16, np.float32]).flatmap(
        lambda dtype: arrays(
            dtype,
            st.tuples(st.integers(1, 4), st.integers(1, 700)),
            elements={"allow_subnormal": False} if dtype == np.float32 else None,
        )
    )
)
def test_the_checksum_is_that_of_hdf5(values):
    with in_hdf5(values) as file:
        np.testing.assert_array_equal(our_sums(values), stored_sums(file))


@pytest.mark.parametrize("n_bytes", [1, 2, 3, 511, 512, 513, 1025, 6500, 6501, 67_600, 200_003, LARGEST_BYTES])
@pytest.mark.parametrize("largest", [0, 1, 8, 60, 255])
def test_the_checksum_is_that_of_hdf5_for_long_chunks_and_large_counts(n_bytes, largest):
    rng = np.random.default_rng(n_bytes)
    values = np.stack([rng.integers(0, largest + 1, n_bytes), np.full(n_bytes, largest)]).astype(np.uint8)
    values = np.concatenate([values, np.eye(2, n_bytes, n_bytes - 2, dtype=np.uint8)])  # its end alone
    with in_hdf5(values) as file:
        np.testing.assert_array_equal(our_sums(values), stored_sums(file))


@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (2, 6)},
        {"chunks": (1, 3)},
        {"chunks": None, "fletcher32": False},
        {"fletcher32": False},
        {"compression": "gzip"},
        {"shuffle": True},
        {"dtype": ">u2"},
    ],
    ids=str,
)
def test_another_layout_is_left_to_hdf5(options):
    with in_hdf5(np.arange(24).reshape(4, 6).astype(np.uint8), **options) as file:
        assert TrialChunks.of(file["x"]) is None


def test_a_very_long_trial_is_left_to_hdf5():
    with in_hdf5(np.zeros((1, LARGEST_BYTES + 1), np.uint8)) as file:
        assert TrialChunks.of(file["x"]) is None


def test_trials_that_were_never_written_are_left_to_hdf5():
    with h5py.File.in_memory() as file:
        data = file.create_dataset("x", (4, 6), "u1", chunks=(1, 6), fletcher32=True)
        data[1] = 3
        assert TrialChunks.of(data) is None


@pytest.fixture
def written(tmp_path):
    """The file of a small session, and what is in it."""
    shard = make_shard(Session("a", n_trials=7, n_bins=3, regions=["CA1"] * 5))
    write_shard(tmp_path / "a.h5", shard)
    return tmp_path / "a.h5", shard


def reader_of(path, *, mapped=False) -> ShardReader:
    return ShardReader({"a": path}, mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("columns", [None, [3, 1]])
@pytest.mark.parametrize("trials", [[], [2], [6, 0, 3, 3]])
@pytest.mark.parametrize("bytes_at_once", [1, 40, 2**19])
def test_trials_are_read_in_any_order_and_in_blocks(written, monkeypatch, mapped, columns, trials, bytes_at_once):
    monkeypatch.setattr(chunks_module, "BYTES_AT_ONCE", bytes_at_once)
    path, shard = written
    reader, trials = reader_of(path, mapped=mapped), np.array(trials, np.int64)
    columns = None if columns is None else np.array(columns)
    for _ in range(2):  # the second time, a mapped file is no longer checked
        found = reader.read("a", COUNTS, trials, columns)
        expected = shard.counts[trials] if columns is None else shard.counts[trials][..., columns]
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(
            reader.read("a", "behavior/whisker_motion_energy", trials), shard.behavior["whisker_motion_energy"][trials]
        )


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("name", [COUNTS, "behavior/whisker_motion_energy"])
def test_every_flipped_byte_is_found_and_named(written, name, mapped):
    path, _ = written
    with h5py.File(path) as file:
        chunks = TrialChunks.of(file[name])
    content = path.read_bytes()
    for place in range(chunks.n_bytes + CHECKSUM_BYTES):
        for flip in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[chunks.offsets[4] + place] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(ShardError, match=rf"a\.h5: {name} is damaged .*trial 4.*Delete it and prepare it"):
                reader_of(path, mapped=mapped).read("a", name, np.array([1, 4, 5]))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_trial_beyond_the_end_of_the_file_is_found(written, mapped):
    path, _ = written
    reader = reader_of(path, mapped=mapped)
    reader._chunks_of("a", COUNTS).offsets[2] = path.stat().st_size - 3
    with pytest.raises(ShardError, match="trial 2 is cut short"):
        reader.read("a", COUNTS, np.array([2]))


def test_damage_that_comes_later_is_found_where_every_read_goes_to_the_file(written):
    path, shard = written
    reader = reader_of(path)
    reader.read("a", COUNTS, np.arange(7))
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(int(reader._chunks_of("a", COUNTS).offsets[4]))
        file.write(bytes([int(shard.counts[4].flat[0]) ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # as a disk that fails: it changes no time
    with pytest.raises(ShardError, match="the checksum of trial 4 is wrong"):
        reader.read("a", COUNTS, np.arange(7))


@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_that_was_replaced_meanwhile_is_not_read(written, mapped):
    path, shard = written
    reader = reader_of(path, mapped=mapped)
    reader.read("a", COUNTS, np.array([0]))
    path.unlink()
    write_shard(path, make_shard(Session("a", n_trials=9, n_bins=3, regions=["CA1"] * 5)))
    np.testing.assert_array_equal(reader.read("a", COUNTS, np.array([1])), shard.counts[[1]])
    reader.close()
    with pytest.raises(ShardError, match="has changed since this run opened it"):
        reader.read("a", COUNTS, np.array([0]))


def test_a_shard_of_another_layout_gives_the_same_trials(written, tmp_path):
    path, shard = written
    other = tmp_path / "other.h5"
    with h5py.File(path) as file, h5py.File(other, "w") as copy:
        copy.attrs.update(file.attrs)
        copy.create_dataset(COUNTS, data=file[COUNTS][()], compression="gzip")
    trials, columns = np.array([6, 0, 3]), np.array([3, 1])
    for mapped in (False, True):
        reader = reader_of(other, mapped=mapped)
        np.testing.assert_array_equal(reader.read("a", COUNTS, trials), shard.counts[trials])
        np.testing.assert_array_equal(reader.read("a", COUNTS, trials, columns), shard.counts[trials][..., columns])


def test_no_more_files_are_open_than_allowed_and_the_ones_in_use_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_access, "MAX_OPEN_FILES", 3)
    shards = {f"s{i}": make_shard(Session(f"s{i}", n_trials=10)) for i in range(5)}
    for eid, shard in shards.items():
        write_shard(tmp_path / f"{eid}.h5", shard)
    reader = ShardReader({eid: tmp_path / f"{eid}.h5" for eid in shards})
    kept = None
    for eid in ("s0", "s1", "s0", "s2", "s0", "s3", "s0", "s4", "s0"):
        np.testing.assert_array_equal(reader.read(eid, COUNTS, np.array([1])), shards[eid].counts[[1]])
        kept = reader._open["s0"] if kept is None else kept
        ours = (
            [os.readlink(link.path) for link in os.scandir("/proc/self/fd") if os.path.exists(link.path)]
            if os.path.isdir("/proc/self/fd")
            else []
        )
        assert sum(str(tmp_path) in name for name in ours) <= 3
        assert len(reader._open) <= 3
        assert reader._open["s0"] == kept
    reader.close()
    assert not reader._open


def test_a_mapped_file_is_not_kept_open(written):
    path, _ = written
    reader = reader_of(path, mapped=True)
    reader.read("a", COUNTS, np.array([0]))
    assert not reader._open
    with h5py.File(path, "r+"):  # HDF5 could not lock a file that is open here
        pass


def test_a_pickled_reader_opens_its_own_files(written):
    path, shard = written
    for mapped in (False, True):
        reader = reader_of(path, mapped=mapped)
        reader.read("a", COUNTS, np.array([0]))
        again = pickle.loads(pickle.dumps(reader))
        assert not again._open
        assert not again._maps
        np.testing.assert_array_equal(again.read("a", COUNTS, np.array([2])), shard.counts[[2]])


def test_a_reader_goes_on_in_a_forked_process(written, tmp_path):
    path, shard = written
    with h5py.File(path) as file, h5py.File(tmp_path / "slow.h5", "w") as copy:
        copy.attrs.update(file.attrs)
        copy.create_dataset(COUNTS, data=file[COUNTS][()], compression="gzip")
    reader = ShardReader({"a": path, "slow": tmp_path / "slow.h5"})
    for eid in ("a", "slow"):
        reader.read(eid, COUNTS, np.array([0]))
    child = os.fork()
    if child == 0:
        right = all((reader.read(eid, COUNTS, np.array([5, 2])) == shard.counts[[5, 2]]).all() for eid in ("a", "slow"))
        os._exit(0 if right else 1)
    for eid in ("a", "slow"):
        np.testing.assert_array_equal(reader.read(eid, COUNTS, np.array([3])), shard.counts[[3]])
    assert os.waitpid(child, 0)[1] == 0

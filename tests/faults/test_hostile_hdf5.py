"""HDF5 files from strangers: nothing is read that lies elsewhere, and no size is believed that the file cannot hold."""

import h5py
import numpy as np
import pytest

from data_prep.sources.bwb.layout import open_session
from data_prep.sources.nwb.hdf5 import open_nwb
from neuromtm.data.shards import read_header, read_shard, shard_problems
from neuromtm.errors import ShardError, SourceError
from tests.data.small_shards import Session, ready, write_folder

SECRET = b"not for others: " + bytes(range(64)) * 64
HUGE = 10**12


@pytest.fixture
def secret(tmp_path):
    """A file of somebody's, as plain bytes and as HDF5."""
    (tmp_path / "secret").write_bytes(SECRET)
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["values"] = np.arange(4.0)
        file["texts"] = np.array([b"abcd"] * 4)
    return tmp_path / "secret"


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "data").mkdir()
    write_folder(tmp_path / "data", Session("a"))
    return tmp_path / "data" / "file0.h5"


def external_link(file, path, secret):
    file[path] = h5py.ExternalLink(f"{secret}.h5", "values")


def soft_link(file, path, secret):
    file[path] = h5py.SoftLink("/splits/val")


def external_values(file, path, secret):
    kind, shape = np.float64, (4,)
    file.create_dataset(path, shape, kind, external=[(str(secret), 0, h5py.h5f.UNLIMITED)])


def virtual_values(file, path, secret):
    layout = h5py.VirtualLayout(shape=(4,), dtype=np.float64)
    layout[:] = h5py.VirtualSource(f"{secret}.h5", "values", shape=(4,))
    file.create_virtual_dataset(path, layout)


def far_too_large(file, path, secret):
    file.create_dataset(path, (HUGE,), np.float64, chunks=(1024,), compression="gzip")


def one_huge_chunk(file, path, secret):
    file.create_dataset(path, (4,), np.float64, maxshape=(None,), chunks=(2**28,), compression="gzip")


ELSEWHERE = (external_link, soft_link, external_values, virtual_values)
PLACES = ("neurons/depth_um", "trials/contrast", "splits/test", "behavior/whisker_motion_energy", "spikes/counts")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("change", [*ELSEWHERE, far_too_large])
def test_a_shard_with_a_part_elsewhere_or_of_no_possible_size_is_refused(change, place, shard, secret):
    with h5py.File(shard, "r+") as file:
        del file[place]
        change(file, place, secret)
    for read in (read_header, read_shard):
        with pytest.raises(ShardError, match=f"{shard.name}: its content is damaged .{place} (is a link|has|says)"):
            read(shard)
    assert len(shard_problems(shard)) == 1


def test_a_whole_group_elsewhere_is_refused(shard, secret):
    with h5py.File(shard, "r+") as file:
        del file["trials"]
        file["trials"] = h5py.ExternalLink(f"{secret}.h5", "/")
    with pytest.raises(ShardError, match="trials is a link to another place"):
        ready(shard.parent)


def test_a_chunk_that_takes_all_memory_is_refused(shard, secret):
    with h5py.File(shard, "r+") as file:
        del file["neurons/depth_um"]
        one_huge_chunk(file, "neurons/depth_um", secret)
    with pytest.raises(ShardError, match="has chunks of more than"):
        read_header(shard)


@pytest.fixture
def nwb(tmp_path):
    """An empty file that says it is NWB 2."""
    with h5py.File(tmp_path / "session.nwb", "w") as file:
        file.attrs["nwb_version"] = "2.6.0"
    return tmp_path / "session.nwb"


@pytest.mark.parametrize("change", [external_link, external_values, virtual_values])
def test_an_nwb_file_with_values_elsewhere_is_refused(change, nwb, secret):
    with h5py.File(nwb, "r+") as file:
        change(file, "units", secret)
        if change is not external_link:
            file.create_dataset("reference", data=file["units"].ref, dtype=h5py.ref_dtype)
    with open_nwb(nwb) as opened, pytest.raises(SourceError, match="another file"):
        opened.dataset("units")
    if change is not external_link:  # a reference leads past the names
        with open_nwb(nwb) as opened, pytest.raises(SourceError, match="values in another file"):
            opened.target(opened.file["reference"][()], "reference")


def test_sizes_of_an_nwb_file_are_asked_before_anything_is_read(nwb):
    with h5py.File(nwb, "r+") as file:
        far_too_large(file, "numbers", None)
        one_huge = {"maxshape": (None,), "chunks": (2**28,), "compression": "gzip"}
        file.create_dataset("texts", (HUGE,), h5py.string_dtype(), chunks=(1024,))
        file.create_dataset("chunk", (4,), "S8", **one_huge)
    with open_nwb(nwb) as opened:
        for read, name in ((opened.numbers, "numbers"), (opened.texts, "texts")):
            with pytest.raises(SourceError, match=f"{name} has {HUGE} values, which take .* but .* are free"):
                read(opened.file[name])


@pytest.mark.parametrize("change", ELSEWHERE)
def test_a_session_of_the_benchmark_with_a_part_elsewhere_is_refused(change, tmp_path, secret):
    with h5py.File(tmp_path / "session.h5", "w") as file:
        file["splits/val"] = np.arange(4.0)
        change(file, "units/id", secret)
    with open_session(tmp_path / "session.h5") as opened, pytest.raises(SourceError, match=r"link|another place"):
        opened.values("units/id")


def test_a_session_of_the_benchmark_of_no_possible_size_is_refused(tmp_path):
    with h5py.File(tmp_path / "session.h5", "w") as file:
        far_too_large(file, "spikes/timestamps", None)
    with open_session(tmp_path / "session.h5") as opened, pytest.raises(SourceError, match="memory to read, but"):
        opened.numbers("spikes/timestamps")

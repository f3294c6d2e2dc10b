"""Arrays from strangers: nothing that was pickled is run."""

import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from data_prep import session_files
from data_prep.session_files import load_npz
from data_prep.sources.phy.sorting import read_sorting
from neuromtm.errors import CheckpointError, SourceError
from neuromtm.training import architecture
from neuromtm.training.checkpoint import load_checkpoint


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


@pytest.fixture
def evil(tmp_path):
    """An object that must not be made, and the file that would then be there."""
    mark = tmp_path / "ran"
    pickle.loads(pickle.dumps(Evil(tmp_path / "proof")))  # it would work
    assert (tmp_path / "proof").exists()
    return Evil(mark), mark


def test_one_api_reads_no_pickles(evil, tmp_path):
    io = pytest.importorskip("one.alf.io")
    from data_prep.sources.ibl.recording import _reading

    objects, mark = evil
    np.save(tmp_path / "spikes.times.npy", np.array([objects], dtype=object), allow_pickle=True)
    np.save(tmp_path / "spikes.clusters.npy", np.arange(3))
    with pytest.raises(SourceError, match="spikes cannot be read"), _reading("spikes"):
        io.load_object(tmp_path, "spikes")
    with pytest.raises(SourceError, match="spikes cannot be read"), _reading("spikes"):
        io.load_file_content(tmp_path / "spikes.times.npy")
    with _reading("spikes"):
        assert io.load_file_content(tmp_path / "spikes.clusters.npy").tolist() == [0, 1, 2]
    assert not mark.exists()


def test_arrays_of_folders_hold_no_pickles(evil, tmp_path):
    objects, mark = evil
    values = np.array([objects], dtype=object)
    np.savez(tmp_path / "spikes.npz", times_s=values)
    for name in ("spike_times", "spike_clusters"):
        np.save(tmp_path / f"{name}.npy", values, allow_pickle=True)
    with pytest.raises(SourceError, match="plain arrays"):
        load_npz(tmp_path / "spikes.npz", ("times_s",))
    with pytest.raises(SourceError, match="pickles"):
        read_sorting(tmp_path, sample_rate_hz=30_000.0)
    assert not mark.exists()


def test_a_checkpoint_holds_no_pickles(evil, tmp_path):
    objects, mark = evil
    torch.save({"state_dict": {}, "neuromtm": objects}, tmp_path / "best.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(objects))
    for name in ("best.ckpt", "plain.ckpt"):
        with pytest.raises(CheckpointError, match="checkpoint"):
            load_checkpoint(tmp_path / name)
    assert not mark.exists()


def test_every_call_that_could_unpickle_says_that_it_does_not(root):
    text = {
        path: path.read_text(encoding="utf-8")
        for folder in ("src", "data_prep")
        for path in (root / folder).rglob("*.py")
    }
    for path, source in text.items():
        for line in source.splitlines():
            code = line.partition("#")[0]
            assert "torch.load(" not in code or "weights_only=True" in code, f"{path}: {line}"
            plain = "allow_pickle=False" in code or path.name == "pickles.py"
            assert "np.load(" not in code or plain, f"{path}: {line}"
            own_words = path.name == "workers.py"  # what a process says to those that it started
            assert own_words or "pickle.load" not in code, f"{path}: {line}"
            for word in ("read_pickle(", "yaml.load(", "unsafe_load", "joblib.load"):
                assert word not in code, f"{path}: {line}"


def test_an_archive_that_unpacks_to_more_than_the_memory_is_refused(tmp_path, monkeypatch):
    path, zeros = tmp_path / "bomb.npz", bytes(2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("times_s.npy", "w") as part:
        part.write(zeros)
    text = path.read_bytes()
    size = struct.pack("<L", len(zeros))
    assert text.count(size) >= 1
    path.write_bytes(text.replace(size, struct.pack("<L", 2**32 - 2)))  # what it says of itself
    monkeypatch.setattr(session_files, "free_host_memory", lambda: 2**31)
    with pytest.raises(SourceError, match=r"unpacks to 4\.3 GB, but 2\.1 GB of memory are free"):
        load_npz(path, ("times_s",))


def test_a_part_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "spikes.npz", "w") as file:
        file.writestr("times_s.npy", b"no array")
    with pytest.raises(SourceError, match="plain arrays"):
        load_npz(tmp_path / "spikes.npz", ("times_s",))


def test_an_array_that_says_it_is_huge_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as file, file.open("times_s.npy", "w") as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "<f8", "fortran_order": False, "shape": (10**14,)})
    with pytest.raises(SourceError, match="plain arrays"):
        load_npz(tmp_path / "huge.npz", ("times_s",))


def test_a_checkpoint_with_packed_parts_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "plain.ckpt")
    with zipfile.ZipFile(tmp_path / "plain.ckpt") as plain:
        parts = {part.filename: plain.read(part) for part in plain.infolist()}
    with zipfile.ZipFile(tmp_path / "packed.ckpt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in parts.items():
            packed.writestr(name, content + bytes(10**7))
    with pytest.raises(CheckpointError, match="damaged in its part"):
        load_checkpoint(tmp_path / "packed.ckpt")


def test_an_architecture_that_does_not_fit_into_memory_is_not_made(monkeypatch):
    made = []
    monkeypatch.setattr(architecture, "free_host_memory", lambda: 10**6)
    monkeypatch.setattr(torch.Tensor, "uniform_", lambda self, *_, **__: made.append(self.device.type) or self)
    with pytest.raises(CheckpointError, match=r"its weights take .* of memory, but 1\.0 MB are free"):
        architecture.make_backbone("neuromtm.models.ndt1.NDT1", {"width": 4096, "n_layers": 40}, name="model")
    assert set(made) <= {"meta"}


def test_weights_that_say_they_are_huge_are_refused(tmp_path):
    header = {"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(16))
    with pytest.raises(SafetensorError):
        load_file(tmp_path / "model.safetensors")

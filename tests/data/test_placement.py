"""Where the counts lie is decided by sizes, and said in one sentence."""

import pytest
import torch
from small_shards import Session, ready, write_folder

from neuromtm.data import host_memory, placement
from neuromtm.data.host_memory import free_host_memory
from neuromtm.data.placement import CountSizes, place
from neuromtm.errors import ConfigError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
IN_FILES = 20 * 4 * (4 + 2 * 2)
"""bytes: 20 trials of 4 bins, 4 neurons of one byte and 2 of two"""
ON_DEVICE = 20 * 4 * (2 + 4)
"""of these 2 neurons of one byte and 1 of four are chosen"""


@pytest.fixture
def dataset(tmp_path):
    write_folder(tmp_path, Session("a"), Session("b", regions=["MOs", "CA1"], largest_count=60_000))
    return ready(tmp_path, regions=["CA1"])._opened


@pytest.fixture
def free(monkeypatch):
    """Sets what is free on the host and on a device that is not there."""

    def set_free(*, host: int = 0, device: int = 0):
        monkeypatch.setattr(placement, "free_host_memory", lambda: host)
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (device, 2 * device))

    return set_free


def test_sizes_are_those_of_the_counts(dataset):
    assert CountSizes.of(dataset.sources.values()) == CountSizes(in_files=IN_FILES, on_device=ON_DEVICE)


@pytest.mark.parametrize(
    ("device", "device_free", "host_free", "expected"),
    [
        (GPU, 2 * ON_DEVICE, 0, "device"),
        (GPU, 2 * ON_DEVICE - 1, 2 * IN_FILES, "memory"),
        (GPU, 0, 2 * IN_FILES - 1, "none"),
        (CPU, 10**9, 2 * IN_FILES, "memory"),
        (CPU, 10**9, 2 * IN_FILES - 1, "none"),
    ],
)
def test_auto_takes_the_first_that_fits_and_says_so(dataset, free, device, device_free, host_free, expected):
    free(host=host_free, device=device_free)
    found = place("auto", dataset, device, n_workers=4)
    assert found.cache == expected
    assert "chosen by data.cache: auto" in found.sentence
    assert ("data.n_workers 4 is not used" in found.sentence) == (expected == "device")
    assert "\n" not in found.sentence


def test_what_is_asked_for_is_taken(dataset, free):
    free(host=ON_DEVICE, device=ON_DEVICE)
    for device in (CPU, GPU):
        assert place("device", dataset, device, n_workers=0).cache == "device"
        assert place("memory", dataset, device, n_workers=0).cache == "memory"
        assert place("none", dataset, device, n_workers=0) == placement.Placement("none", "")
        assert "auto" not in place("memory", dataset, device, n_workers=0).sentence


@pytest.mark.parametrize("device", [CPU, GPU])
def test_a_device_that_is_too_small_is_an_error_with_sizes(dataset, free, device):
    free(host=ON_DEVICE - 1, device=ON_DEVICE - 1)
    with pytest.raises(ConfigError, match=rf"take 480 bytes, but only 479 bytes are free on {device}.*Set data.cache"):
        place("device", dataset, device, n_workers=0)


def test_the_memory_that_is_free_is_the_least_of_all_limits(tmp_path, monkeypatch):
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    meminfo.write_text("MemTotal: 100 kB\nMemAvailable:   50 kB\n")
    assert host_memory._available(meminfo) == [51200]
    assert host_memory._available(tmp_path / "absent") == []
    monkeypatch.setattr(host_memory, "CGROUPS", tmp_path)
    cgroup.write_text("0::/job/step\n")
    (tmp_path / "job" / "step").mkdir(parents=True)
    (tmp_path / "job" / "step" / "memory.max").write_text("max\n")
    (tmp_path / "job" / "memory.max").write_text("30000\n")
    assert host_memory._cgroup_limits(cgroup) == [30000]
    cgroup.write_text("5:cpu,cpuacct:/x\n9:memory:/slurm/job\n")
    (tmp_path / "memory" / "slurm" / "job").mkdir(parents=True)
    (tmp_path / "memory" / "slurm" / "memory.limit_in_bytes").write_text("20000\n")
    assert host_memory._cgroup_limits(cgroup) == [20000]
    assert host_memory._cgroup_limits(tmp_path / "absent") == []
    assert free_host_memory() > 0


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(999, "999 bytes"), (2_500_000, "2.5 MB"), (64 * 10**9, "64.0 GB"), (2 * 10**12, "2,000.0 GB")],
)
def test_sizes_are_said_in_units_that_read(n_bytes, text):
    assert host_memory.size_text(n_bytes) == text


def test_the_sentence_is_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("neuromtm.data.datamodule.rank_zero_info", said.append)
    write_folder(tmp_path, Session("a"))
    data = ready(tmp_path)
    data.train_dataloader(), data.val_dataloader()
    assert len(said) == 1
    assert said[0].startswith("Data: ")

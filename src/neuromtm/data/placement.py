"""Where the counts lie while a model is trained or tested: on the device, in memory, or in the files."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from neuromtm.data.dataset import SessionDataset, SessionSource
from neuromtm.data.shards import open_shard
from neuromtm.errors import ConfigError

Cache = Literal["auto", "device", "memory", "none"]
SHARE = 0.5
"""`auto` takes at most this share of the memory that is free: weights, their gradients and batches need the rest."""
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class CountSizes:
    """How much the counts of all sessions take."""

    in_files: int
    """bytes with all neurons of the shards"""
    on_device: int
    """bytes with the chosen neurons only; counts that do not fit in a byte take four"""

    @classmethod
    def of(cls, sources: Iterable[SessionSource]) -> "CountSizes":
        """Look at each shard's counts without reading them."""
        in_files = on_device = 0
        for source in sources:
            with open_shard(source.path) as file:
                counts = file["spikes/counts"]
                in_files += counts.size * counts.dtype.itemsize
                entry_bytes = 1 if counts.dtype == np.uint8 else 4
                on_device += counts.shape[0] * counts.shape[1] * len(source.neurons) * entry_bytes
        return cls(in_files, on_device)


@dataclass(frozen=True)
class Placement:
    """What was decided, and a sentence that says so."""

    cache: Literal["device", "memory", "none"]
    sentence: str


def place(cache: Cache, dataset: SessionDataset, device: torch.device, *, n_workers: int) -> Placement:
    """Decide where the counts lie.

    `auto` keeps them on a CUDA device if they take at most half of what is free there, otherwise in the host's memory
    if they take at most half of what is free there, and otherwise reads them from the files.

    Raises:
        ConfigError: if `device` was asked for and they do not fit.
    """
    if cache == "none":
        return Placement("none", "")
    sizes, host_free = CountSizes.of(dataset.sources.values()), free_host_memory()
    chosen = " (chosen by data.cache: auto)" if cache == "auto" else ""
    if cache == "device" or (cache == "auto" and device.type == "cuda"):
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else host_free
        if cache == "device" and sizes.on_device > free:
            raise ConfigError(
                f"data.cache device: the counts take {_size(sizes.on_device)}, but only {_size(free)} are free on "
                f"{device}. Set data.cache to auto or memory."
            )
        if cache == "device" or sizes.on_device <= SHARE * free:
            ignored = f" data.n_workers {n_workers} is not used." if n_workers else ""
            return Placement(
                "device",
                f"Data: {_size(sizes.on_device)} of counts are kept on {device}, where {_size(free)} are free"
                f"{chosen}.{ignored}",
            )
    free = f"{_size(host_free)} of memory are free"
    if cache == "memory" or sizes.in_files <= SHARE * host_free:
        return Placement(
            "memory",
            f"Data: {_size(sizes.in_files)} of counts are kept in memory, one copy for all processes of a machine; "
            f"{free}{chosen}.",
        )
    return Placement("none", f"Data: every batch is read from the files; {free}, too little{chosen}.")


def free_host_memory() -> int:
    """Bytes that new data can take: what the system calls available, or what the control groups allow if less."""
    limits = [*_available(Path("/proc/meminfo")), *_cgroup_limits(Path("/proc/self/cgroup"))]
    return min(limits, default=2**62)


def _available(meminfo: Path) -> list[int]:
    if not meminfo.exists():  # not Linux
        return []
    lines = [line.split() for line in meminfo.read_text().splitlines()]
    return [1024 * int(words[1]) for words in lines if words[0] == "MemAvailable:"]


def _cgroup_limits(own: Path) -> list[int]:
    """The limits of the process's control group and of those around it, for both versions of control groups."""
    limits = []
    for line in own.read_text().splitlines() if own.exists() else ():
        number, controllers, place = line.split(":", 2)
        if number == "0":
            root, name = CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = root / place.lstrip("/")
        for folder in (group, *group.parents):
            if folder.is_relative_to(root) and (folder / name).is_file():
                found = (folder / name).read_text().strip()
                limits += [] if found == "max" else [int(found)]
    return limits


def _size(n_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6)):
        if n_bytes >= size:
            return f"{n_bytes / size:,.1f} {unit}"
    return f"{n_bytes:,} bytes"

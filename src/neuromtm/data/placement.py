"""Where the counts lie while a model is trained or tested: on the device, in memory, or in the files."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from neuromtm.data.dataset import SessionDataset, SessionSource
from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.data.shards import open_shard
from neuromtm.errors import ConfigError

Cache = Literal["auto", "device", "memory", "none"]
SHARE = 0.5
"""`auto` takes at most this share of the memory that is free: weights, their gradients and batches need the rest."""


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
                f"data.cache device: the counts take {size_text(sizes.on_device)}, but only {size_text(free)} are free "
                f"on {device}. Set data.cache to auto or memory."
            )
        if cache == "device" or sizes.on_device <= SHARE * free:
            ignored = f" data.n_workers {n_workers} is not used." if n_workers else ""
            return Placement(
                "device",
                f"Data: {size_text(sizes.on_device)} of counts are kept on {device}, where {size_text(free)} are free"
                f"{chosen}.{ignored}",
            )
    free = f"{size_text(host_free)} of memory are free"
    if cache == "memory" or sizes.in_files <= SHARE * host_free:
        return Placement(
            "memory",
            f"Data: {size_text(sizes.in_files)} of counts are kept in memory, one copy for all processes of a machine; "
            f"{free}{chosen}.",
        )
    return Placement("none", f"Data: every batch is read from the files; {free}, too little{chosen}.")

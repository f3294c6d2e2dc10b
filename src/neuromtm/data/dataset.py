"""Read the batches that the sampler plans. Each process opens the shards that it reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from neuromtm.batch import Batch, RegionIndex, SessionGroup, SessionInfo
from neuromtm.data.chunks import ShardReader, Version
from neuromtm.data.sampler import BatchPlan, GroupPlan


@dataclass(frozen=True)
class SessionSource:
    """Where to read a session's trials, and which of its neurons to read."""

    info: SessionInfo
    """the chosen neurons"""
    path: Path
    neurons: np.ndarray
    """(neuron,) positions of the chosen neurons in the shard"""
    n_in_shard: int
    """neurons in the shard"""
    choice: np.ndarray
    """(trial,) int8 choice of all trials of the shard"""
    behaviors: tuple[str, ...]
    """names of the traces to read"""
    version: Version | None = None
    """`version_of` the shard when its header was read; None if unknown"""

    @cached_property
    def region(self) -> RegionIndex:
        """Where the neurons lie: found once, shared by all batches."""
        return self.info.region_index()

    @property
    def columns(self) -> np.ndarray | None:
        """Positions of the chosen neurons in the shard; None if these are all."""
        return self.neurons if len(self.neurons) < self.n_in_shard else None


class SessionDataset(Dataset[Batch]):
    """Turns batch plans into batches on the host.

    Args:
        sources: eid -> where to read.
        mapped: keep the shards mapped into memory, see `ShardReader`.
        counts_active: whether batches say how many neurons have a spike in each bin.
    """

    def __init__(self, sources: Mapping[str, SessionSource], *, mapped: bool = False, counts_active: bool = False):
        self.sources = dict(sources)
        self.counts_active = counts_active
        paths = {eid: source.path for eid, source in self.sources.items()}
        versions = {eid: source.version for eid, source in self.sources.items() if source.version is not None}
        self.reader = ShardReader(paths, mapped=mapped, versions=versions)

    # torch gives the plan by its position
    def __getitem__(self, plan: BatchPlan) -> Batch:  # ty: ignore[lost-keyword-for-regular-parameter]
        return Batch(tuple(self.read(group) for group in plan))

    def read(self, plan: GroupPlan) -> SessionGroup:
        """Read some trials of one session.

        Raises:
            ShardError: if the shard is damaged there.
        """
        source = self.sources[plan.eid]
        trials = np.asarray(plan.trials, dtype=np.int64)
        counts = self.reader.read(plan.eid, "spikes/counts", trials, source.columns)
        if counts.dtype == np.uint16:
            counts = counts.astype(np.int32)  # torch has few operations on uint16
        return SessionGroup(
            eid=plan.eid,
            counts=torch.from_numpy(counts),
            region=source.region,
            trial=torch.from_numpy(trials),
            choice=torch.from_numpy(source.choice[trials]),
            behavior={
                name: torch.from_numpy(self.reader.read(plan.eid, f"behavior/{name}", trials))
                for name in source.behaviors
            },
            n_active=_active_neurons(counts) if self.counts_active else None,
        )

    def close(self) -> None:
        """Close this process's files; a later read opens them again."""
        self.reader.close()


def _active_neurons(counts: np.ndarray) -> Tensor:
    """How many neurons have a spike in each bin, (trial, bin) int64. Here NumPy is several times faster than torch."""
    found = np.add.reduce((counts > 0).view(np.uint8), axis=2, dtype=np.uint32)
    return torch.from_numpy(found.astype(np.int64))

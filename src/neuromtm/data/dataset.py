"""Read the batches that the sampler plans. Each process opens the shards that it reads."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from torch.utils.data import Dataset

from neuromtm.batch import Batch, SessionGroup, SessionInfo
from neuromtm.data.sampler import BatchPlan, GroupPlan
from neuromtm.data.shards import open_shard_file, read_trials
from neuromtm.errors import ShardError

MAX_OPEN_FILES = 32


@dataclass(frozen=True)
class SessionSource:
    """Where to read a session's trials, and which of its neurons to read."""

    info: SessionInfo
    """the chosen neurons"""
    path: Path
    neurons: np.ndarray
    """(neuron,) positions of the chosen neurons in the shard"""
    choice: np.ndarray
    """(trial,) int8 choice of all trials of the shard"""
    behaviors: tuple[str, ...]
    """names of the traces to read"""


class SessionDataset(Dataset[Batch]):
    """Turns batch plans into batches.

    Args:
        sources: eid -> where to read.
        in_memory: read a session's arrays whole and keep them, in the stored type, until the process ends.
    """

    def __init__(self, sources: Mapping[str, SessionSource], *, in_memory: bool = False):
        self.sources = dict(sources)
        self.in_memory = in_memory
        self._files: OrderedDict[str, h5py.File] = OrderedDict()
        self._arrays: dict[tuple[str, str], np.ndarray] = {}
        self._process = os.getpid()

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
        counts = self._values(plan.eid, "spikes/counts", trials)
        if len(source.neurons) != counts.shape[-1]:
            counts = counts.take(source.neurons, axis=-1)
        if counts.dtype == np.uint16:
            counts = counts.astype(np.int32)  # torch has few operations on uint16
        return SessionGroup(
            eid=plan.eid,
            counts=torch.from_numpy(counts),
            region=source.info.region_index(),
            trial=torch.from_numpy(trials),
            choice=torch.from_numpy(source.choice[trials]),
            behavior={
                name: torch.from_numpy(self._values(plan.eid, f"behavior/{name}", trials)) for name in source.behaviors
            },
        )

    def _values(self, eid: str, name: str, trials: np.ndarray) -> np.ndarray:
        if (eid, name) in self._arrays:
            return self._arrays[eid, name][trials]
        dataset = self._file(eid)[name]
        try:
            if not self.in_memory:
                return read_trials(dataset, trials)
            self._arrays[eid, name] = dataset[()]
        except OSError as error:
            raise ShardError(
                f"{self.sources[eid].path}: {name} is damaged ({error}). Delete it and prepare it again."
            ) from error
        return self._arrays[eid, name][trials]

    def _file(self, eid: str) -> h5py.File:
        # a file that was opened before a fork must not be read in the child process
        if self._process != os.getpid():
            self._files, self._process = OrderedDict(), os.getpid()
        if eid not in self._files:
            if len(self._files) >= MAX_OPEN_FILES:
                self._files.popitem(last=False)[1].close()
            self._files[eid] = open_shard_file(self.sources[eid].path)
        self._files.move_to_end(eid)
        return self._files[eid]

    def close(self) -> None:
        """Close this process's files; a later read opens them again."""
        while self._files:
            self._files.popitem()[1].close()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_files": OrderedDict(), "_arrays": {}}

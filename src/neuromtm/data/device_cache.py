"""Keep the counts of all sessions on a device and gather the batches there, without workers or copies of counts."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from neuromtm.batch import Batch, RegionIndex, SessionGroup
from neuromtm.data.dataset import SessionDataset
from neuromtm.data.sampler import BatchPlan, GroupPlan

TRIALS_AT_ONCE = 256
"""A session is moved in blocks of so many trials, so that the host never holds it whole."""


@dataclass(frozen=True)
class _DeviceSession:
    """A session on the device; the first axis of each tensor is all trials of the shard."""

    counts: Tensor
    choice: Tensor
    behavior: dict[str, Tensor]
    region: RegionIndex

    @cached_property
    def n_active(self) -> Tensor:
        """(trial, bin) int64 on the host, see `SessionGroup.n_active`; the device is read once."""
        return (self.counts > 0).sum(dim=2).cpu()


class DeviceDataset(Dataset[Batch]):
    """Turns batch plans into batches on a device. It reads all sessions when it is made.

    Args:
        host: reads the sessions.
        device: where they are kept.

    Raises:
        ShardError: if a shard is damaged.
    """

    def __init__(self, host: SessionDataset, device: torch.device):
        self.host, self.device = host, device
        self._sessions = {eid: self._move(eid) for eid in host.sources}

    def _move(self, eid: str) -> _DeviceSession:
        source, counts, behavior = self.host.sources[eid], None, {}
        n_trials = len(source.choice)
        for start in range(0, n_trials, TRIALS_AT_ONCE):
            stop = min(start + TRIALS_AT_ONCE, n_trials)
            group = self.host.read(GroupPlan(eid, tuple(range(start, stop))))
            if counts is None:
                counts, behavior = self._room(group.counts, n_trials), {}
                behavior = {name: self._room(trace, n_trials) for name, trace in group.behavior.items()}
            counts[start:stop] = group.counts
            for name, trace in group.behavior.items():
                behavior[name][start:stop] = trace
        assert counts is not None  # a shard holds at least one trial
        choice = torch.from_numpy(source.choice).to(self.device)
        session = _DeviceSession(counts, choice, behavior, source.region.to(self.device))
        if self.host.counts_active:
            _ = session.n_active  # now, because a training step must not wait for the device
        return session

    def _room(self, like: Tensor, n_trials: int) -> Tensor:
        return torch.empty((n_trials, *like.shape[1:]), dtype=like.dtype, device=self.device)

    # torch gives the plan by its position
    def __getitem__(self, plan: BatchPlan) -> Batch:  # ty: ignore[lost-keyword-for-regular-parameter]
        trials = torch.from_numpy(np.concatenate([np.asarray(group.trials, np.int64) for group in plan]))
        # one copy for all groups; from page-locked memory, the host does not wait for it
        there = trials.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else trials
        sizes = [len(group.trials) for group in plan]
        parts = zip(plan, trials.split(sizes), there.to(self.device).split(sizes), strict=True)
        return Batch(tuple(self._gather(group.eid, own, index) for group, own, index in parts))

    def _gather(self, eid: str, trials: Tensor, index: Tensor) -> SessionGroup:
        session = self._sessions[eid]
        return SessionGroup(
            eid=eid,
            counts=session.counts.index_select(0, index),
            region=session.region,
            trial=index,
            choice=session.choice.index_select(0, index),
            behavior={name: trace.index_select(0, index) for name, trace in session.behavior.items()},
            n_active=session.n_active[trials] if self.host.counts_active else None,
        )

"""Batches that go from the data to the model: trials of one or several sessions, never padded over neurons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:  # torch takes seconds to import, and reading or writing shards does not need it
    import torch
    from torch import Tensor

Scheme = Literal[
    "temporal",
    "neuron",
    "causal",
    "intra_region",
    "inter_region",
    "random_token",
    "encoding",
    "decoding",
    "heldout",
]
"""What is hidden from the model, which then predicts it. The file `masking/NAME.py` says what the scheme NAME hides."""

UNKNOWN_REGIONS = frozenset({"root", "void"})
"""Acronyms of neurons that lie in no known region. The model reads these neurons like all others, but no region task
draws or scores them."""


@dataclass(frozen=True)
class SessionInfo:
    """The neurons recorded in a session, in the order of the counts' neuron axis."""

    eid: str
    neurons: tuple[str, ...]
    """uuid of each neuron"""
    regions: tuple[str, ...]
    """Beryl acronym of each neuron; `root` or `void` where unknown"""
    heldout: tuple[bool, ...] = ()
    """whether the source holds out each neuron, as a benchmark does; empty where it holds out none"""

    @property
    def n_neurons(self) -> int:
        return len(self.neurons)

    @property
    def region_names(self) -> tuple[str, ...]:
        """The session's known regions, sorted. `SessionGroup.region` holds positions in this tuple."""
        return tuple(sorted(set(self.regions) - UNKNOWN_REGIONS))

    def region_index(self) -> RegionIndex:
        """Each neuron's region, as its position in `region_names`, and whether the source holds it out."""
        import torch

        number = {name: i for i, name in enumerate(self.region_names)}
        found = RegionIndex.of(torch.tensor([number.get(name, -1) for name in self.regions], dtype=torch.int64))
        # where all are held out nothing is left to predict them from
        apart = any(self.heldout) and not all(self.heldout)
        return replace(found, heldout=torch.tensor(self.heldout)) if apart else found


class NeuronStatistics(NamedTuple):
    """What a session's training trials say of its neurons."""

    mean: Tensor
    """(neuron,) float32 mean spikes per bin, above 0"""
    variance: Tensor
    """(neuron,) float32 variance of the spikes per bin, over trials and bins"""
    axes: Tensor
    """(component, neuron) float32 scaled principal axes, see `neuromtm.data.statistics.principal_axes`"""


class TraceStatistics(NamedTuple):
    """What a session's training trials say of its traces of behaviour."""

    mean: Tensor
    """(trace,) float32 mean over trials and bins; 0 where the session has no such trace"""
    deviation: Tensor
    """(trace,) float32 standard deviation, above 0; 1 where the trace does not vary or the session has none"""


@dataclass(frozen=True)
class RegionIndex:
    """Where a session's neurons lie: on the device by neuron, and on the host what masking must know to draw."""

    number: Tensor
    """(neuron,) int64 number of each neuron's region; -1 where unknown"""
    sizes: tuple[int, ...]
    """neurons of each region, by its number; a plain tuple, so that to look at it never waits for a device"""
    heldout: Tensor | None = None
    """(neuron,) bool, held out by the source; None where it holds out none, or all"""

    @classmethod
    def of(cls, number: Tensor) -> RegionIndex:
        """Count the neurons of each region. It reads the numbers, so it is done once a session.

        Args:
            number: (neuron,) int64, -1 where unknown.
        """
        found = number.tolist()
        return cls(number, tuple(found.count(region) for region in range(max(found, default=-1) + 1)))

    @property
    def n_neurons(self) -> int:
        return len(self.number)

    def with_unknown(self) -> RegionIndex:
        """The neurons of unknown region as one more region, the last one; the same index if there are none."""
        n_unknown, unknown = self.n_neurons - sum(self.sizes), len(self.sizes)
        if n_unknown == 0:
            return self
        number = self.number.masked_fill(self.number < 0, unknown)
        return replace(self, number=number, sizes=(*self.sizes, n_unknown))

    def to(self, device: torch.device | str, non_blocking: bool = False) -> RegionIndex:
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def map(self, change: Callable[[Tensor], Tensor]) -> RegionIndex:
        """The same with another version of each tensor, e.g. on a device."""
        heldout = None if self.heldout is None else change(self.heldout)
        return replace(self, number=change(self.number), heldout=heldout)


@dataclass(frozen=True)
class SessionGroup:
    """Some trials of one session."""

    eid: str
    counts: Tensor
    """(trial, bin, neuron) spikes per bin; uint8, or int32 where a count does not fit in uint8"""
    region: RegionIndex
    """see `SessionInfo.region_index`"""
    trial: Tensor
    """(trial,) int64, number of each trial in the shard"""
    choice: Tensor
    """(trial,) int8: -1 or +1; 0 where unknown"""
    behavior: dict[str, Tensor]
    """name -> (trial, bin) float32, NaN where missing"""
    n_active: Tensor | None = None
    """(trial, bin) int64, how many neurons have a spike in each bin. It stays on the host, for models that list the
    spikes and must know how many there are without reading the device. None if nobody counted."""

    def traces(self, names: Sequence[str]) -> Tensor:
        """(trial, bin, trace) float32 traces of behaviour by their names, NaN where missing."""
        import torch

        missing = torch.full(self.counts.shape[:2], torch.nan, device=self.counts.device)
        return torch.stack([self.behavior.get(name, missing) for name in names], dim=-1)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SessionGroup:
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> SessionGroup:
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> SessionGroup:
        return replace(
            self,
            counts=change(self.counts),
            region=self.region.map(change),
            trial=change(self.trial),
            choice=change(self.choice),
            behavior={name: change(values) for name, values in self.behavior.items()},
        )


def groups_of_counts(
    session: SessionInfo, counts: Tensor, *, size: int, device: torch.device
) -> Iterator[SessionGroup]:
    """Trials of which only the counts are known, some at a time.

    Args:
        session: whose they are.
        counts: (trial, bin, neuron) spikes per bin.
        size: trials of a group.
        device: where the groups lie.
    """
    import torch

    region = session.region_index().to(device)
    for start in range(0, len(counts), size):
        own = counts[start : start + size]
        yield SessionGroup(
            eid=session.eid,
            counts=own.to(device),
            region=region,
            trial=torch.arange(start, start + len(own)),
            choice=torch.zeros(len(own), dtype=torch.int8),
            behavior={},
        )


@dataclass(frozen=True)
class Batch:
    """One or several session groups. Lightning moves a batch with `to`; the loader pins it with `pin_memory`."""

    groups: tuple[SessionGroup, ...]

    @property
    def n_trials(self) -> int:
        return sum(len(group.trial) for group in self.groups)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        return Batch(tuple(group.to(device, non_blocking) for group in self.groups))

    def pin_memory(self) -> Batch:
        return Batch(tuple(group.pin_memory() for group in self.groups))

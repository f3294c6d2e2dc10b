"""Batches that go from the data to the model: trials of one or several sessions, never padded over neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # torch takes seconds to import, and reading or writing shards does not need it
    import torch
    from torch import Tensor

Scheme = Literal["temporal", "neuron", "causal", "intra_region", "inter_region", "random_token"]
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

    @property
    def n_neurons(self) -> int:
        return len(self.neurons)

    @property
    def region_names(self) -> tuple[str, ...]:
        """The session's known regions, sorted. `SessionGroup.region` holds positions in this tuple."""
        return tuple(sorted(set(self.regions) - UNKNOWN_REGIONS))

    def region_index(self) -> Tensor:
        """(neuron,) int64 position of each neuron's region in `region_names`; -1 where unknown."""
        import torch

        number = {name: i for i, name in enumerate(self.region_names)}
        return torch.tensor([number.get(name, -1) for name in self.regions], dtype=torch.int64)


@dataclass(frozen=True)
class SessionGroup:
    """Some trials of one session."""

    eid: str
    counts: Tensor
    """(trial, bin, neuron) spikes per bin; uint8, or int32 where a count does not fit in uint8"""
    region: Tensor
    """(neuron,) int64, see `SessionInfo.region_index`"""
    trial: Tensor
    """(trial,) int64, number of each trial in the shard"""
    choice: Tensor
    """(trial,) int8: -1 or +1; 0 where unknown"""
    behavior: dict[str, Tensor]
    """name -> (trial, bin) float32, NaN where missing"""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SessionGroup:
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> SessionGroup:
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, change: Callable[[Tensor], Tensor]) -> SessionGroup:
        return replace(
            self,
            counts=change(self.counts),
            region=change(self.region),
            trial=change(self.trial),
            choice=change(self.choice),
            behavior={name: change(values) for name, values in self.behavior.items()},
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

"""The masks of validation: drawn once for all validation trials of a session and kept on the device."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuromtm.batch import Scheme, SessionGroup, SessionInfo
from neuromtm.masking.masked import Masked
from neuromtm.masking.objective import Objective
from neuromtm.randomness import generator_for


class _Drawn(NamedTuple):
    """What a scheme hides of a session's trials, without the axes along which it is the same."""

    hidden: Tensor
    """(trial, bin or 1, neuron or 1) bool"""
    target: Tensor
    """(trial, bin or 1, neuron or 1) bool"""


class FixedMasks:
    """Masks that depend on seed, session, scheme and trial alone: not on the batches, the ranks or the device.

    They are drawn on the CPU, for all validation trials of a session by one call, when the session is first met. After
    that they are indexed by the trials' numbers, which stay on the device.

    Args:
        objective: the schemes.
        seed: seed of the draws.
        device: where the masks are kept.
    """

    def __init__(self, objective: Objective, *, seed: int, device: torch.device):
        self._objective, self._seed, self._device = objective, seed, device
        self._drawn: dict[str, dict[Scheme, _Drawn]] = {}
        self._place: dict[str, Tensor] = {}  # eid -> (trial of the shard,) int64 place in the split

    def add(
        self, session: SessionInfo, trials: Sequence[int] | np.ndarray, *, n_bins: int, with_behavior: bool = True
    ) -> None:
        """Draw the masks of a session, unless they are drawn already.

        Args:
            session: the neurons.
            trials: (trial,) numbers in the shard of all the trials that masks are for.
            n_bins: bins per trial.
            with_behavior: whether the session has a trace of behaviour that the model reads.
        """
        if session.eid in self._drawn:
            return
        numbers, region = torch.as_tensor(np.asarray(trials)), session.region_index()
        # only the shape counts: a tensor whose entries are all one and the same byte
        blank = torch.zeros((), dtype=torch.uint8).expand(len(numbers), n_bins, session.n_neurons)
        drawn = {}
        for scheme in self._objective.applicable([region], with_behavior=with_behavior):
            generator = generator_for(self._seed, "validation", scheme, session.eid)
            masked = self._objective.hide(scheme, blank, region, generator, region_per_trial=True)
            hidden = _compact(masked.hidden).to(self._device)
            same = masked.target is masked.hidden
            drawn[scheme] = _Drawn(hidden, hidden if same else _compact(masked.target).to(self._device))
        place = torch.zeros(int(numbers.max()) + 1, dtype=torch.int64)
        place[numbers] = torch.arange(len(numbers))
        self._drawn[session.eid], self._place[session.eid] = drawn, place.to(self._device)

    def of(self, group: SessionGroup) -> Mapping[Scheme, Masked]:
        """Hide entries of some trials of a session that was added, by each scheme that its regions allow.

        Args:
            group: the trials, on the masks' device. Nothing is read back from it.
        """
        place = self._place[group.eid][group.trial]
        return {scheme: _applied(drawn, place, group.counts) for scheme, drawn in self._drawn[group.eid].items()}


def _compact(mask: Tensor) -> Tensor:
    """(trial, bin, neuron) -> (trial, bin or 1, neuron or 1) without the axes along which the mask was expanded."""
    _, bin_, neuron = (slice(1) if stride == 0 else slice(None) for stride in mask.stride())
    return mask[:, bin_, neuron].contiguous()


def _applied(drawn: _Drawn, place: Tensor, counts: Tensor) -> Masked:
    hidden = drawn.hidden[place].expand_as(counts)
    target = hidden if drawn.target is drawn.hidden else drawn.target[place].expand_as(counts)
    return Masked(counts.masked_fill(hidden, 0), hidden, target)

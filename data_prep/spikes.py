"""The spikes of a recording, a part at a time, and what is kept of them all: counts of spikes and the longest silences.

The spikes of a session can be larger than the memory. They are therefore read twice, part by part, e.g. probe by probe:
once for this summary, which says when the neurons were recorded, and once to be counted in the windows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from neuromtm.errors import SourceError

FARTHEST_S = 1e10
"""times beyond it are no seconds: at it, float64 holds microseconds"""
NO_SECONDS = "such times are not in seconds, or not of one recording. Correct them at the source."
MOST_SILENCES = 1_000_000
"""the longest ones that are kept of a probe"""
AT_ONCE = 4_000_000
"""spikes that are looked at in one step"""
LONG_S = 5.0
"""only beside a silence as long are neurons counted"""
MOST_LONG = 1_000
"""only beside so many silences, the longest ones: there are more only if the times are in another unit"""
BESIDE_S = 60.0
"""the neurons beside a silence are those that fire so shortly before or after it,"""
BESIDE_SPIKES = 20
"""or within so many spikes, if this takes longer"""


class SpikePart(NamedTuple):
    """Some neurons' spikes, e.g. those of a probe: all that they fired, in the order of time."""

    times_s: np.ndarray
    """(spike,) sorted, in seconds of session time"""
    neuron: np.ndarray
    """(spike,) whole numbers: position of the spike's neuron among those of the session"""


class Silences(NamedTuple):
    """The longest silences between the first and the last of some spikes."""

    first_s: float
    last_s: float
    starts_s: np.ndarray
    """(silence,) time of the spike before each, increasing"""
    ends_s: np.ndarray
    """(silence,) time of the spike after it"""


class ProbeActivity(NamedTuple):
    """When a probe is silent."""

    silences: Silences
    n_beside: np.ndarray
    """(silence,) neurons that fire just before and just after it: the smaller number; 0 beside a short one"""
    n_first: int
    """neurons that fire just after the first spike"""
    n_last: int
    """neurons that fire just before the last spike"""


@dataclass(frozen=True, kw_only=True)
class SpikeSummary:
    """What is kept of all spikes of a session."""

    n_spikes: np.ndarray
    """(neuron,) of each neuron"""
    probes: Mapping[str, ProbeActivity]
    """name -> activity; a probe without a spike is left out"""

    @cached_property
    def silences(self) -> Silences:
        """When all probes are silent."""
        return shared_silences([probe.silences for probe in self.probes.values()])

    @property
    def first_s(self) -> float:
        return self.silences.first_s

    @property
    def last_s(self) -> float:
        return self.silences.last_s

    @property
    def n_all_spikes(self) -> int:
        return int(self.n_spikes.sum())


def lean_type(n_neurons: int) -> np.dtype:
    """The smallest type of whole numbers that holds the number of every neuron."""
    return np.min_scalar_type(max(n_neurons - 1, 0))


def check_spikes(part: SpikePart, *, n_neurons: int) -> None:
    """Refuse spikes that are of no neuron, not in order or at no time.

    Raises:
        SourceError: saying which.
    """
    times_s, neuron = part
    if times_s.ndim != 1 or neuron.ndim != 1:
        raise SourceError(
            f"spike times and neuron numbers have the shapes {times_s.shape} and {neuron.shape}, not one value a spike."
        )
    if len(times_s) != len(neuron):
        raise SourceError(f"{len(times_s)} spike times, but {len(neuron)} neuron numbers.")
    if not len(times_s):
        return
    low, high = neuron.min(), neuron.max()
    if not 0 <= low <= high < n_neurons:
        raise SourceError(
            f"spikes of neuron {low if low < 0 else high}, but only {n_neurons} neurons are listed (they are counted "
            "from 0)."
        )
    # not by differences, which would take as much memory as the times
    if not (times_s[1:] >= times_s[:-1]).all():
        raise SourceError("spike times are not sorted, or some are not numbers.")
    if not (np.isfinite(times_s[0]) and np.isfinite(times_s[-1])):
        raise SourceError("some spike times are infinite or not numbers.")
    if max(-times_s[0], times_s[-1]) > FARTHEST_S:
        raise SourceError(f"the spike times go from {times_s[0]:g} to {times_s[-1]:g} s: {NO_SECONDS}")


def summary_of(parts: Iterable[SpikePart], probe: np.ndarray) -> SpikeSummary:
    """Go once through all spikes.

    Args:
        parts: the spikes. All spikes of a probe are in one part.
        probe: (neuron,) name of each neuron's probe.

    Raises:
        SourceError: if there is no spike.
    """
    n_spikes, probes = np.zeros(len(probe), np.int64), {}
    for part in parts:
        of_part = _counted(part.neuron, len(probe))
        n_spikes += of_part
        for name, spikes in _by_probe(part, probe, of_part):
            # two parts of one probe would each be silent while the other fires
            assert name not in probes, name
            probes[name] = _activity(spikes)
            del spikes
        del part  # the next one is loaded before the name is given to it
    if not probes:
        raise SourceError("no spikes.")
    return SpikeSummary(n_spikes=n_spikes, probes=probes)


def silences_of(times_s: np.ndarray) -> Silences:
    """The longest silences among sorted times; all of them if there are not more than `MOST_SILENCES`."""
    return _silences(times_s)[0]


def shared_silences(of_each: list[Silences]) -> Silences:
    """When all are silent. What is not silent for as long as the shortest silence that is kept is left out."""
    if len(of_each) == 1:
        return of_each[0]
    first_s, last_s = min(own.first_s for own in of_each), max(own.last_s for own in of_each)
    starts, ends = [], []
    for own in of_each:
        # the time before the first spike and after the last one is a silence among the spikes of the others
        starts += [[first_s], own.starts_s, [own.last_s]]
        ends += [[own.first_s], own.ends_s, [last_s]]
    of_starts, of_ends = np.concatenate(starts), np.concatenate(ends)
    filled = of_starts < of_ends
    of_starts, of_ends = of_starts[filled], of_ends[filled]
    # the ends come first, so that a spike between two silences ends both
    times_s = np.r_[of_ends, of_starts]
    order = np.argsort(times_s, kind="stable")
    n_silent = np.cumsum(np.where(order < len(of_ends), -1, 1))
    all_silent = np.flatnonzero(n_silent == len(of_each))
    times_s = times_s[order]
    return Silences(first_s, last_s, times_s[all_silent], times_s[all_silent + 1])


def _counted(neuron: np.ndarray, n_neurons: int) -> np.ndarray:
    n_spikes = np.zeros(n_neurons, np.int64)
    for first in range(0, len(neuron), AT_ONCE):  # each step takes eight bytes a spike
        n_spikes += np.bincount(neuron[first : first + AT_ONCE], minlength=n_neurons)
    return n_spikes


def _by_probe(part: SpikePart, probe: np.ndarray, n_spikes: np.ndarray) -> Iterator[tuple[str, SpikePart]]:
    names = np.unique(probe[n_spikes > 0]).tolist()
    for name in names:
        if len(names) == 1:
            yield name, part
        else:
            own = (probe == name)[part.neuron]
            yield name, SpikePart(part.times_s[own], part.neuron[own])


def _silences(times_s: np.ndarray) -> tuple[Silences, np.ndarray]:
    """The silences, and for each the number of the spike before it."""
    before, length_s, shortest_s = np.zeros(0, np.int64), np.zeros(0), -1.0
    for first in range(0, len(times_s) - 1, AT_ONCE):
        found_s = np.diff(times_s[first : first + AT_ONCE + 1])
        longer = np.flatnonzero(found_s > shortest_s)
        before, length_s = np.r_[before, first + longer], np.r_[length_s, found_s[longer]]
        if len(length_s) > MOST_SILENCES:
            longest = np.sort(np.argpartition(length_s, -MOST_SILENCES)[-MOST_SILENCES:])
            before, length_s = before[longest], length_s[longest]
            shortest_s = length_s.min()
    return Silences(float(times_s[0]), float(times_s[-1]), times_s[before], times_s[before + 1]), before


def _activity(part: SpikePart) -> ProbeActivity:
    times_s, neuron = part
    silences, before = _silences(times_s)
    length_s = silences.ends_s - silences.starts_s
    n_beside, n_long = np.zeros(len(before), np.int64), np.count_nonzero(length_s >= LONG_S)
    for silence in np.argsort(length_s, kind="stable")[::-1][: min(n_long, MOST_LONG)]:
        last = before[silence]
        n_beside[silence] = min(_n_until(times_s, neuron, last), _n_from(times_s, neuron, last + 1))
    return ProbeActivity(silences, n_beside, _n_from(times_s, neuron, 0), _n_until(times_s, neuron, len(times_s) - 1))


def _n_until(times_s: np.ndarray, neuron: np.ndarray, spike: int) -> int:
    """Number of neurons that fire just before a spike, or then."""
    begin = min(np.searchsorted(times_s, times_s[spike] - BESIDE_S), max(spike + 1 - BESIDE_SPIKES, 0))
    return len(np.unique(neuron[begin : spike + 1]))


def _n_from(times_s: np.ndarray, neuron: np.ndarray, spike: int) -> int:
    """Number of neurons that fire just after a spike, or then."""
    end = max(np.searchsorted(times_s, times_s[spike] + BESIDE_S, side="right"), spike + BESIDE_SPIKES)
    return len(np.unique(neuron[spike:end]))

"""What is in a shard, as numbers: read a few trials at a time, so that a session of any size fits into memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from neuromtm.data.manifest import Role, SessionEntry
from neuromtm.data.shards import SPLITS, ShardHeader, damage_named, open_shard, read_header
from neuromtm.data.splits import evenly_spread
from neuromtm.data.windows import blocks_of_windows, sharing_time
from neuromtm.errors import ShardError

READ_BYTES = 64_000_000
"""counts that are read at once, as float32"""
MOST_BINS = 20_000
"""bins from which the correlations of neurons are computed, evenly spread over the trials"""
DUPLICATE_CORRELATION = 0.5
"""two neurons whose counts correlate more, beyond what the average trial explains, may be one"""
FEWEST_SPIKES = 50
"""of both neurons, for a correlation that means something"""
VANISHED = 0.1
"""a neuron comes or goes if its rate in one outer quarter of the trials is below this part of the other's"""


class AlikePair(NamedTuple):
    """Two neurons that may be one."""

    uuids: tuple[str, str]
    regions: tuple[str, str]
    correlation: float


class MeanTrace(NamedTuple):
    """A behaviour trace of a session."""

    mean: np.ndarray
    """(bin,) over the trials; NaN where no trial has a value"""
    missing: float
    """share of the values that are NaN"""


@dataclass(frozen=True, kw_only=True)
class SessionFacts:
    """What is in a shard."""

    role: Role
    header: ShardHeader
    rate_hz: np.ndarray
    """(neuron,) mean over all trials"""
    outer_hz: np.ndarray
    """(neuron, 2) mean over the first and over the last quarter of the trials, by time"""
    time_s: np.ndarray
    """(trial,) start of the window; the row of the source's table if no start is known"""
    has_times: bool
    population_hz: np.ndarray
    """(trial,) mean rate of the session's neurons"""
    duplicates: tuple[AlikePair, ...]
    """the highest correlation first"""
    behaviors: Mapping[str, MeanTrace]
    n_overlapping: int
    """windows that share time with another window"""
    shared: Mapping[tuple[str, str], int]
    """two splits -> windows of the second one that share time with the first; without zeros"""

    @property
    def silent(self) -> np.ndarray:
        """(neuron,) bool: no spike in any trial."""
        return self.rate_hz == 0

    @property
    def drift(self) -> float:
        """Change of the mean rate from the first to the last quarter of the trials, as a share of the first."""
        first, last = self.outer_hz.mean(0)
        return float(last / first - 1) if first > 0 else np.nan

    @property
    def comes_or_goes(self) -> np.ndarray:
        """(neuron,) bool: the neuron hardly fires in one of the outer quarters, but does in the other."""
        n_trials = max(1, self.header.n_trials // 4)
        spikes = self.outer_hz.max(1) * n_trials * self.header.n_bins * self.header.bin_size_s
        # in 20 spikes expected and fewer than 2 seen, chance has no part
        return (self.outer_hz.min(1) < VANISHED * self.outer_hz.max(1)) & (spikes >= 2 / VANISHED)


def read_facts(folder: Path, entry: SessionEntry) -> SessionFacts:
    """Read a session of a folder.

    Raises:
        ShardError: if its shard is missing or damaged.
    """
    path = folder / entry.file
    header = read_header(path)
    if header.eid != entry.eid:
        raise ShardError(f"{path}: holds {header.eid!r} and not {entry.eid!r}. Prepare it again.")
    start_s = header.trials.start_s
    if start_s is not None and np.isfinite(start_s).all():
        time_s, has_times = start_s, True
    else:
        time_s, has_times = header.trials.index.astype(np.float64), False
    with open_shard(path) as file, damage_named(path):
        spikes = _spikes(file["spikes/counts"])
        pairs = _duplicates(file["spikes/counts"], header, spikes.sum(0))
        behaviors = {name: _behavior(file[f"behavior/{name}"]) for name in header.behaviors}
    seconds = header.n_bins * header.bin_size_s
    order = np.argsort(time_s, kind="stable")
    n_outer = max(1, header.n_trials // 4)
    outer = [spikes[order[:n_outer]].mean(0), spikes[order[-n_outer:]].mean(0)]
    n_overlapping, shared = _overlaps(header, time_s) if has_times else (0, {})
    return SessionFacts(
        role=entry.role,
        header=header,
        rate_hz=spikes.mean(0) / seconds,
        outer_hz=np.stack(outer, axis=1) / seconds,
        time_s=time_s,
        has_times=has_times,
        population_hz=spikes.mean(1) / seconds,
        duplicates=pairs,
        behaviors=behaviors,
        n_overlapping=n_overlapping,
        shared=shared,
    )


def _chunks(n_trials: int, bytes_per_trial: int) -> Iterator[slice]:
    step = max(1, READ_BYTES // max(1, bytes_per_trial))
    return (slice(start, start + step) for start in range(0, n_trials, step))


def _spikes(counts: h5py.Dataset) -> np.ndarray:
    """(trial, neuron) spikes of each trial."""
    n_trials, n_bins, n_neurons = counts.shape
    spikes = np.empty((n_trials, n_neurons), np.float32)
    for rows in _chunks(n_trials, 4 * n_bins * n_neurons):
        spikes[rows] = counts[rows].sum(1, dtype=np.float32)
    return spikes


def _overlaps(header: ShardHeader, starts_s: np.ndarray) -> tuple[int, dict[tuple[str, str], int]]:
    duration_s = header.window_s[1] - header.window_s[0]
    sizes = np.bincount(blocks_of_windows(starts_s, duration_s=duration_s))
    shared = {}
    for one, other in combinations(SPLITS, 2):
        rows = (header.splits[split] for split in (other, one))
        if n := int(sharing_time(*(starts_s[r] for r in rows), duration_s=duration_s).sum()):
            shared[one, other] = n
    return int(sizes[sizes > 1].sum()), shared


def _duplicates(counts: h5py.Dataset, header: ShardHeader, n_spikes: np.ndarray) -> tuple[AlikePair, ...]:
    """Pairs of neurons with correlated counts. Each neuron's average trial is taken off its counts first."""
    n_trials, n_bins, _ = counts.shape
    active = np.flatnonzero(n_spikes >= FEWEST_SPIKES)
    if len(active) < 2:
        return ()
    trials = evenly_spread(np.arange(n_trials), max(2, MOST_BINS // n_bins))
    products = np.zeros((len(active), len(active)), np.float32)
    sums = np.zeros((n_bins, len(active)), np.float64)
    for rows in _chunks(len(trials), 4 * n_bins * len(active)):
        read = np.stack([counts[trial][:, active] for trial in trials[rows]]).astype(np.float32)
        sums += read.sum(0)
        flat = read.reshape(-1, len(active))
        products += flat.T @ flat
    covariance = products - (sums.T @ sums / len(trials)).astype(np.float32)
    deviation = np.sqrt(np.clip(np.diag(covariance), 0, None))
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = covariance / np.outer(deviation, deviation)
    first, second = np.nonzero(np.triu(correlation > DUPLICATE_CORRELATION, k=1))
    order = np.argsort(-correlation[first, second], kind="stable")
    uuid, region = header.neurons.uuid[active], header.neurons.region[active]
    return tuple(
        AlikePair((str(uuid[i]), str(uuid[j])), (str(region[i]), str(region[j])), float(correlation[i, j]))
        for i, j in zip(first[order], second[order], strict=True)
    )


def _behavior(values: h5py.Dataset) -> MeanTrace:
    n_trials, n_bins = values.shape
    total, known = np.zeros(n_bins), np.zeros(n_bins)
    for rows in _chunks(n_trials, 8 * n_bins):
        read = values[rows].astype(np.float64)
        finite = np.isfinite(read)
        total += np.where(finite, read, 0).sum(0)
        known += finite.sum(0)
    with np.errstate(invalid="ignore"):
        return MeanTrace(total / np.where(known, known, np.nan), float(1 - known.sum() / (n_trials * n_bins)))

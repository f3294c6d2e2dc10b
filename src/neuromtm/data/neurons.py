"""Which neurons of a session a data module takes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shard_layout import COUNTS
from neuromtm.data.shards import ShardHeader, damage_named, open_shard
from neuromtm.errors import DataError

TRIALS_AT_ONCE = 32


def chosen_neurons(
    path: Path, header: ShardHeader, *, min_firing_rate_hz: float, regions: Sequence[str] | None
) -> np.ndarray:
    """(neuron,) int64 places in the shard of the neurons that fire enough and are in the regions.

    Args:
        path: the shard.
        header: its header.
        min_firing_rate_hz: leaves out neurons that fire less in the training trials. Without training trials all stay.
        regions: keeps only neurons of these regions; None for all.

    Raises:
        DataError: if none is left.
        ShardError: if the shard is damaged.
    """
    keep = np.ones(header.n_neurons, bool)
    if min_firing_rate_hz > 0:
        keep = ~(training_rate_hz(path, header) < min_firing_rate_hz)
    if regions is not None:
        keep &= np.isin(header.neurons.region, regions)
    if not keep.any():
        raise DataError(
            f"{header.eid}: no neuron is left with data.min_firing_rate_hz {min_firing_rate_hz} and "
            f"data.regions {regions}; its regions are {', '.join(sorted(set(header.neurons.region)))}."
        )
    return np.flatnonzero(keep)


def training_rate_hz(path: Path, header: ShardHeader) -> np.ndarray:
    """(neuron,) spikes per second in the training trials; NaN without trials.

    They are not `neurons/firing_rate_hz`, which is over all trials in shards of format 1, also after their upgrade:
    which neurons there are must not follow from the trials of a test. Only a shard of format 1 is read through.
    """
    mean, train = header.neurons.mean_count, header.splits["train"]
    if mean is None:
        spikes = np.zeros(header.n_neurons, np.int64)
        with open_shard(path) as file, damage_named(path):
            for start in range(0, len(train), TRIALS_AT_ONCE):
                spikes += read_trials(file[COUNTS], train[start : start + TRIALS_AT_ONCE]).sum((0, 1), dtype=np.int64)
        mean = spikes / (len(train) * header.n_bins) if len(train) else np.full(header.n_neurons, np.nan)
    return mean / header.bin_size_s

"""Which split each trial belongs to: pure functions."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from neuromtm.data.shards import SPLITS, ShardHeader
from neuromtm.errors import DataError
from neuromtm.randomness import numpy_generator_for


def split_trials(n_trials: int, *, fractions: tuple[float, float, float], seed: int, eid: str) -> dict[str, np.ndarray]:
    """Divide trials at random, the same for the same seed and session on every machine.

    Args:
        n_trials: at least 3, so that no split is empty.
        fractions: parts for train, val, test; train takes what rounding leaves.
        seed: of the permutation.
        eid: the session.

    Returns:
        split -> sorted int32 trial numbers, disjoint and together all trials.
    """
    n_val, n_test = (max(1, round(fraction * n_trials)) for fraction in fractions[1:])
    while n_trials - n_val - n_test < 1:
        n_val, n_test = (n_val, n_test - 1) if n_test >= n_val else (n_val - 1, n_test)
    order = numpy_generator_for(seed, "split", eid).permutation(n_trials).astype(np.int32)
    parts = np.split(order, [n_trials - n_val - n_test, n_trials - n_test])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}


def evenly_spread(trials: np.ndarray, most: int | None) -> np.ndarray:
    """At most so many of some trials, evenly spread over them, in their order; None for all."""
    if most is None or len(trials) <= most:
        return trials
    return trials[np.linspace(0, len(trials) - 1, most).round().astype(np.int64)]


def require_train_trials(headers: Mapping[str, ShardHeader], asked: int | None, *, root: object) -> None:
    """Refuse to take more training trials than a session has: a result would be of fewer than it says.

    Args:
        headers: eid -> the whole session.
        asked: training trials of each session; None for all.
        root: folder of the shards, for the message.

    Raises:
        DataError: if a session has fewer.
    """
    if asked is None:
        return
    fewest, eid = min((len(header.splits["train"]), eid) for eid, header in headers.items())
    if fewest < asked:
        raise DataError(
            f"{root}: n_train_trials is {asked}, but the session {eid} has only {fewest} training trials, the fewest "
            "of those chosen. Take no more than it has, leave that session out, or leave the option out to use all."
        )


def with_fewer_train_trials(header: ShardHeader, most: int | None) -> ShardHeader:
    """A session of which only some training trials are used, evenly spread over the session.

    The first trials alone would ask another question too: firing rates drift, and the test trials lie in the whole
    session.

    Args:
        header: of the whole session.
        most: how many; None for all.

    Returns:
        The same header if the session has no more than these. Otherwise the header knows no statistics of the training
        trials, for those in the shard are of all of them.
    """
    train = header.splits["train"]
    if most is None or len(train) <= most:
        return header
    neurons = replace(header.neurons, mean_count=None, count_variance=None)
    return replace(header, splits={**header.splits, "train": evenly_spread(np.sort(train), most)}, neurons=neurons)

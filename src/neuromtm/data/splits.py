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
    n_val, n_test = split_sizes(n_trials, fractions)
    order = numpy_generator_for(seed, "split", eid).permutation(n_trials).astype(np.int32)
    parts = np.split(order, [n_trials - n_val - n_test, n_trials - n_test])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}


def split_sizes(n_trials: int, fractions: tuple[float, float, float]) -> tuple[int, int]:
    """Trials for val and for test, at least one each; one is left for train. `n_trials` is at least 3."""
    n_val, n_test = (max(1, round(fraction * n_trials)) for fraction in fractions[1:])
    while n_trials - n_val - n_test < 1:
        n_val, n_test = (n_val, n_test - 1) if n_test >= n_val else (n_val - 1, n_test)
    return n_val, n_test


def split_blocks(
    block: np.ndarray, *, fractions: tuple[float, float, float], seed: int, eid: str
) -> dict[str, np.ndarray]:
    """Divide trials at random so that a block goes to one split as a whole. Blocks of one trial: as `split_trials`.

    Blocks are dealt in random order, each to the first split with room for it, so that a block of any size can come
    into any split whose part is large enough. What fits nowhere goes where most room is left.

    Args:
        block: (trial,) number of each trial's block, from 0 without a gap; at least 3 blocks.
        fractions: parts for train, val, test.
        seed: of the permutation.
        eid: the session.

    Returns:
        split -> sorted int32 trial numbers, disjoint, none empty and together all trials.
    """
    sizes = np.bincount(block)
    n_val, n_test = split_sizes(len(block), fractions)
    room = np.array([len(block) - n_val - n_test, n_val, n_test])
    order = numpy_generator_for(seed, "split", eid).permutation(len(sizes))
    split, left = np.empty(len(sizes), np.int64), []
    for number in order:
        fits = np.flatnonzero(room >= sizes[number])
        if len(fits):
            split[number] = fits[0]
            room[fits[0]] -= sizes[number]
        else:
            left.append(number)
    for number in left:
        split[number] = room.argmax()
        room[split[number]] -= sizes[number]
    for empty in np.setdiff1d(np.arange(3), split):
        # the smallest block of a split that has others, of the one that is most too full
        donors = np.flatnonzero(np.bincount(split, minlength=3) > 1)
        given = np.flatnonzero(split == donors[room[donors].argmin()])
        smallest = given[sizes[given].argmin()]
        room[split[smallest]] += sizes[smallest]
        room[empty] -= sizes[smallest]
        split[smallest] = empty
    return {name: np.flatnonzero(split[block] == n).astype(np.int32) for n, name in enumerate(SPLITS)}


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

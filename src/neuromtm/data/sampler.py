"""Plan the batches of an epoch: each trial is used once, and every rank has the same number of batches."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from neuromtm.errors import ConfigError, DataError
from neuromtm.randomness import numpy_generator_for


class GroupPlan(NamedTuple):
    """The trials of one session in a batch."""

    eid: str
    trials: tuple[int, ...]
    """numbers in the shard"""


BatchPlan = tuple[GroupPlan, ...]


def plan_epoch(
    trials: Mapping[str, Sequence[int] | np.ndarray],
    *,
    batch_size: int,
    sessions_per_batch: int,
    n_ranks: int,
    generator: np.random.Generator | None,
) -> list[BatchPlan]:
    """Divide all trials into batches. The number of batches is a multiple of `n_ranks`.

    A session's trials are cut into pieces of nearly equal size. If the number of pieces does not fit the ranks, the
    largest pieces are halved. No trial is left out, used twice or invented.

    Args:
        trials: eid -> trial numbers.
        batch_size: largest number of trials in a batch.
        sessions_per_batch: pieces in a batch, from different sessions as long as there are enough sessions.
        n_ranks: processes that share the batches.
        generator: shuffles trials and batches; None keeps their order.

    Raises:
        DataError: if there are fewer trials than pieces needed.
    """
    multiple = sessions_per_batch * n_ranks
    _check_enough(trials, n_pieces(trials, batch_size // sessions_per_batch), multiple)
    pieces = []
    for eid in sorted(trials):
        own = np.asarray(trials[eid])
        own = own if generator is None else generator.permutation(own)
        n_own = -(-len(own) // (batch_size // sessions_per_batch))
        pieces += [(eid, piece) for piece in np.array_split(own, n_own)] if n_own else []
    return _combine(_divided_until_even(pieces, multiple), sessions_per_batch, generator)


def n_pieces(trials: Mapping[str, Sequence[int] | np.ndarray], size: int) -> int:
    """Pieces of at most `size` trials that the sessions are cut into, before any is halved."""
    return sum(-(-len(own) // size) for own in trials.values())


def _check_enough(trials: Mapping[str, Sequence[int] | np.ndarray], n: int, multiple: int) -> None:
    n_trials = sum(len(own) for own in trials.values())
    if -(-n // multiple) * multiple > n_trials:
        raise DataError(
            f"{n_trials} trials cannot be divided among {multiple} session groups per step. Use fewer devices, a "
            "smaller data.sessions_per_batch or larger batches."
        )


def _divided_until_even(pieces: list[tuple[str, np.ndarray]], multiple: int) -> list[tuple[str, np.ndarray]]:
    """Halve the largest pieces, the first of them first, until the number of pieces is a multiple."""
    n_missing = -len(pieces) % multiple
    if not n_missing:
        return pieces
    # the key says how many trials a piece has, and its place among the others also after it was halved
    heap = [(-len(trials), (place,), eid, trials) for place, (eid, trials) in enumerate(pieces)]
    heapq.heapify(heap)
    for _ in range(n_missing):
        _, place, eid, trials = heapq.heappop(heap)
        for side, half in enumerate(np.array_split(trials, 2)):
            heapq.heappush(heap, (-len(half), (*place, side), eid, half))
    return [(eid, trials) for _, _, eid, trials in sorted(heap, key=lambda piece: piece[1])]


def _combine(
    pieces: list[tuple[str, np.ndarray]], sessions_per_batch: int, generator: np.random.Generator | None
) -> list[BatchPlan]:
    groups = [GroupPlan(eid, tuple(trials.tolist())) for eid, trials in pieces]
    if sessions_per_batch == 1:
        order = range(len(groups)) if generator is None else generator.permutation(len(groups)).tolist()
        return [(groups[i],) for i in order]
    waiting: dict[str, list[GroupPlan]] = {}
    for group in groups:
        waiting.setdefault(group.eid, []).append(group)
    # of equally many pieces left, the session with the smallest draw goes first; each time it is drawn anew, or the
    # same sessions would meet in every batch
    ties = iter(range(2 * len(groups)) if generator is None else generator.random(2 * len(groups)).tolist())
    heap = [(-len(own), next(ties), eid) for eid, own in waiting.items()]
    heapq.heapify(heap)
    plans = [_draw_batch(heap, waiting, sessions_per_batch, ties) for _ in range(len(groups) // sessions_per_batch)]
    return plans if generator is None else [plans[i] for i in generator.permutation(len(plans))]


def _draw_batch(
    heap: list[tuple[int, float, str]], waiting: dict[str, list[GroupPlan]], n_groups: int, ties: Iterator[float]
) -> BatchPlan:
    # the sessions with the most pieces left go first, so that the last batches are not all of one session
    batch: list[GroupPlan] = []
    while len(batch) < n_groups:
        chosen = [heapq.heappop(heap)[2] for _ in range(min(n_groups - len(batch), len(heap)))]
        for eid in chosen:
            batch.append(waiting[eid].pop(0))
            if waiting[eid]:
                heapq.heappush(heap, (-len(waiting[eid]), next(ties), eid))
    return tuple(batch)


class SessionBatchSampler(Sampler[BatchPlan]):
    """Yields this rank's batches of an epoch. Seed and epoch alone decide the order.

    Args:
        trials: eid -> trial numbers.
        batch_size: largest number of trials in a batch, over all its sessions.
        sessions_per_batch: sessions in a batch; divides `batch_size`.
        shuffle: whether every epoch has a random order of its own.
        seed: seed of the order.
        rank: number of this process.
        n_ranks: number of processes.
    """

    def __init__(
        self,
        trials: Mapping[str, Sequence[int] | np.ndarray],
        *,
        batch_size: int,
        sessions_per_batch: int = 1,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        n_ranks: int = 1,
    ):
        if sessions_per_batch < 1 or batch_size < 1 or batch_size % sessions_per_batch:
            raise ConfigError(
                f"data.batch_size {batch_size} is not a multiple of data.sessions_per_batch {sessions_per_batch}. "
                "Change one of them."
            )
        self.trials = dict(trials)
        self.batch_size, self.sessions_per_batch = batch_size, sessions_per_batch
        self.shuffle, self.seed, self.rank, self.n_ranks = shuffle, seed, rank, n_ranks
        self.epoch = 0
        self._resumed = (0, 0)
        n_first, multiple = n_pieces(self.trials, batch_size // sessions_per_batch), sessions_per_batch * n_ranks
        _check_enough(self.trials, n_first, multiple)
        self._n_batches = -(-n_first // multiple) * n_ranks

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of this epoch. Lightning calls this before every epoch."""
        self.epoch = epoch

    def resume(self, *, epoch: int, first_batch: int) -> None:
        """Let one epoch start at a later batch, if it is the next epoch to run. Others start at their first batch."""
        self._resumed = (epoch, first_batch)

    @property
    def first_batch(self) -> int:
        """The batch at which the epoch starts."""
        epoch, first_batch = self._resumed
        return first_batch if epoch == self.epoch else 0

    def __len__(self) -> int:
        return self._n_batches // self.n_ranks

    def __iter__(self) -> Iterator[BatchPlan]:
        mine = self._plan()[self.rank :: self.n_ranks]
        first, self._resumed = self.first_batch, (0, 0)
        yield from mine[first:]

    def _plan(self) -> list[BatchPlan]:
        generator = numpy_generator_for(self.seed, "batches", self.epoch) if self.shuffle else None
        return plan_epoch(
            self.trials,
            batch_size=self.batch_size,
            sessions_per_batch=self.sessions_per_batch,
            n_ranks=self.n_ranks,
            generator=generator,
        )

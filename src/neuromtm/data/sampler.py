"""Plan the batches of an epoch: each trial is used once, and every rank has the same number of batches."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
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
    pieces = []
    for eid in sorted(trials):
        own = np.asarray(trials[eid])
        own = own if generator is None else generator.permutation(own)
        bounds = _bounds(len(own), -(-len(own) // (batch_size // sessions_per_batch)))
        own = own.tolist()
        pieces += [GroupPlan(eid, tuple(own[start:stop])) for start, stop in pairwise(bounds)]
    groups = _divide_until_even(pieces, sessions_per_batch * n_ranks)
    return _combine(groups, sessions_per_batch, generator)


def n_batches_of(n_trials: Iterable[int], *, batch_size: int, sessions_per_batch: int, n_ranks: int) -> int:
    """How many batches `plan_epoch` makes, from each session's number of trials.

    Raises:
        DataError: as `plan_epoch`.
    """
    n_trials, multiple = list(n_trials), sessions_per_batch * n_ranks
    n_pieces = sum(-(-n // (batch_size // sessions_per_batch)) for n in n_trials)
    n_pieces = -(-n_pieces // multiple) * multiple
    if n_pieces > sum(n_trials):
        raise _too_few(sum(n_trials), multiple)
    return n_pieces // sessions_per_batch


def _too_few(n_trials: int, multiple: int) -> DataError:
    return DataError(
        f"{n_trials} trials cannot be divided among {multiple} session groups per step. Use fewer devices, a "
        "smaller data.sessions_per_batch or larger batches."
    )


def _bounds(n: int, n_parts: int) -> list[int]:
    """Where parts of nearly equal size begin and end; the larger ones come first."""
    if not n_parts:
        return [0]
    size, n_larger = divmod(n, n_parts)
    return [part * size + min(part, n_larger) for part in range(n_parts + 1)]


def _divide_until_even(pieces: list[GroupPlan], multiple: int) -> list[GroupPlan]:
    """Halve the largest piece, of equal ones the first, until the number of pieces is a multiple."""
    missing = -len(pieces) % multiple
    if not missing:
        return pieces
    # a place is a tuple: its halves take the places (*place, 0) and (*place, 1), so that the order stays
    largest: list[tuple[int, tuple[int, ...], GroupPlan]]
    largest = [(-len(piece.trials), (number,), piece) for number, piece in enumerate(pieces)]
    heapq.heapify(largest)
    for _ in range(missing):
        minus_size, place, piece = largest[0]
        if minus_size > -2:
            raise _too_few(sum(len(piece.trials) for piece in pieces), multiple)
        middle = -(minus_size // 2)
        first, second = piece._replace(trials=piece.trials[:middle]), piece._replace(trials=piece.trials[middle:])
        heapq.heapreplace(largest, (-len(first.trials), (*place, 0), first))
        heapq.heappush(largest, (-len(second.trials), (*place, 1), second))
    return [piece for _, _, piece in sorted(largest, key=itemgetter(1))]


def _combine(
    groups: list[GroupPlan], sessions_per_batch: int, generator: np.random.Generator | None
) -> list[BatchPlan]:
    if generator is not None:
        groups = [groups[i] for i in generator.permutation(len(groups)).tolist()]
    if sessions_per_batch == 1:
        return [(group,) for group in groups]
    waiting: dict[str, list[GroupPlan]] = {}
    for group in groups:
        waiting.setdefault(group.eid, []).append(group)
    plans = _draw_batches(list(waiting.values()), sessions_per_batch, generator)
    return plans if generator is None else [plans[i] for i in generator.permutation(len(plans)).tolist()]


def _draw_batches(
    waiting: list[list[GroupPlan]], n_groups: int, generator: np.random.Generator | None
) -> list[BatchPlan]:
    """Put pieces together, given each session's pieces.

    The sessions with the most pieces left go first, so that the last batches are not all of one session. Sessions with
    equally many pieces are shuffled, or the same ones would meet in every batch.
    """
    sizes = np.array([len(pieces) for pieces in waiting], dtype=np.int64)
    n_left, sessions, plans = sizes.copy(), np.arange(len(waiting)), []
    for _ in range(sizes.sum() // n_groups):
        batch: list[GroupPlan] = []
        while len(batch) < n_groups:
            order = sessions if generator is None else sessions[generator.permutation(len(sessions))]
            chosen = order[np.argsort(-n_left[order], kind="stable")[: n_groups - len(batch)]]
            places = sizes[chosen] - n_left[chosen]
            batch += [waiting[s][place] for s, place in zip(chosen.tolist(), places.tolist(), strict=True)]
            n_left[chosen] -= 1
            if not n_left[chosen].all():
                sessions = sessions[n_left[sessions] > 0]
        plans.append(tuple(batch))
    return plans


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
        self._n_batches = n_batches_of(
            [len(own) for own in self.trials.values()],
            batch_size=batch_size,
            sessions_per_batch=sessions_per_batch,
            n_ranks=n_ranks,
        )

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

"""Plan the batches of an epoch: each trial is used once, and every rank has the same number of batches."""

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
    pieces = []
    for eid in sorted(trials):
        own = np.asarray(trials[eid])
        own = own if generator is None else generator.permutation(own)
        n_pieces = -(-len(own) // (batch_size // sessions_per_batch))
        pieces += [(eid, piece) for piece in np.array_split(own, n_pieces)] if n_pieces else []
    _divide_until_even(pieces, sessions_per_batch * n_ranks)
    return _combine(pieces, sessions_per_batch, generator)


def _divide_until_even(pieces: list[tuple[str, np.ndarray]], multiple: int) -> None:
    while len(pieces) % multiple:
        largest = max(range(len(pieces)), key=lambda i: len(pieces[i][1]))
        eid, trials = pieces[largest]
        if len(trials) < 2:
            n_trials = sum(len(t) for _, t in pieces)
            raise DataError(
                f"{n_trials} trials cannot be divided among {multiple} session groups per step. Use fewer devices, a "
                "smaller data.sessions_per_batch or larger batches."
            )
        pieces[largest : largest + 1] = [(eid, half) for half in np.array_split(trials, 2)]


def _combine(
    pieces: list[tuple[str, np.ndarray]], sessions_per_batch: int, generator: np.random.Generator | None
) -> list[BatchPlan]:
    groups = [GroupPlan(eid, tuple(trials.tolist())) for eid, trials in pieces]
    if generator is not None:
        groups = [groups[i] for i in generator.permutation(len(groups))]
    if sessions_per_batch == 1:
        return [(group,) for group in groups]
    waiting: dict[str, list[GroupPlan]] = {}
    for group in groups:
        waiting.setdefault(group.eid, []).append(group)
    plans = [_draw_batch(waiting, sessions_per_batch, generator) for _ in range(len(groups) // sessions_per_batch)]
    return plans if generator is None else [plans[i] for i in generator.permutation(len(plans))]


def _draw_batch(waiting: dict[str, list[GroupPlan]], n_groups: int, generator: np.random.Generator | None) -> BatchPlan:
    # the sessions with the most pieces left go first, so that the last batches are not all of one session
    batch = []
    while len(batch) < n_groups:
        eids = list(waiting)
        if generator is not None:
            # sessions with equally many pieces are shuffled, or the same ones would meet in every batch
            eids = [eids[i] for i in generator.permutation(len(eids))]
        for eid in sorted(eids, key=lambda eid: -len(waiting[eid]))[: n_groups - len(batch)]:
            batch.append(waiting[eid].pop(0))
            if not waiting[eid]:
                del waiting[eid]
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
        self._n_batches = len(self._plan())

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

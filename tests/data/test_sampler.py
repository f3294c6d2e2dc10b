"""The plan of an epoch: every trial once, on one rank, in batches of the size asked for."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuromtm.data.sampler import BatchPlan, GroupPlan, SessionBatchSampler, plan_epoch
from neuromtm.errors import ConfigError, DataError

sizes = st.lists(st.integers(0, 40), min_size=1, max_size=6)


def trials_of(n_trials: list[int]) -> dict[str, np.ndarray]:
    """Eid -> trial numbers, as of a split: not from 0 on."""
    return {f"s{i}": 3 * np.arange(n) + 1 for i, n in enumerate(n_trials)}


def samplers(n_trials: list[int], *, n_ranks: int = 1, shuffle: bool = True, **options) -> list[SessionBatchSampler]:
    """One for each rank."""
    return [
        SessionBatchSampler(trials_of(n_trials), rank=rank, n_ranks=n_ranks, shuffle=shuffle, **options)
        for rank in range(n_ranks)
    ]


def given_out(plans: list[BatchPlan]) -> Counter:
    return Counter((group.eid, trial) for plan in plans for group in plan for trial in group.trials)


@given(
    n_trials=sizes,
    trials_a_session=st.integers(1, 9),
    sessions_per_batch=st.integers(1, 4),
    n_ranks=st.integers(1, 4),
    shuffle=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_every_trial_once_an_epoch_over_all_ranks_in_equally_many_batches_no_larger_than_asked(
    n_trials, trials_a_session, sessions_per_batch, n_ranks, shuffle, epoch
):
    batch_size = trials_a_session * sessions_per_batch
    options = {"batch_size": batch_size, "sessions_per_batch": sessions_per_batch, "shuffle": shuffle}
    multiple = sessions_per_batch * n_ranks
    n_pieces = sum(math.ceil(n / trials_a_session) for n in n_trials)
    if math.ceil(n_pieces / multiple) * multiple > sum(n_trials):
        with pytest.raises(DataError):
            samplers(n_trials, n_ranks=n_ranks, **options)
        return
    ranks = samplers(n_trials, n_ranks=n_ranks, **options)
    plans = []
    for sampler in ranks:
        sampler.set_epoch(epoch)
        plans.append(list(sampler))
    assert {len(own) for own in plans} == {len(sampler) for sampler in ranks} == {len(plans[0])}
    everything = [plan for own in plans for plan in own]
    expected = Counter((eid, trial) for eid, trials in trials_of(n_trials).items() for trial in trials.tolist())
    assert given_out(everything) == expected
    for plan in everything:
        assert len(plan) == sessions_per_batch
        assert all(1 <= len(group.trials) <= trials_a_session for group in plan)


@given(n_trials=sizes, batch_size=st.integers(1, 9))
def test_no_batch_is_smaller_than_needed(n_trials, batch_size):
    (sampler,) = samplers(n_trials, batch_size=batch_size)
    assert len(sampler) == sum(-(-n // batch_size) for n in n_trials)
    for eid, n in enumerate(n_trials):
        own = [len(plan[0].trials) for plan in sampler if plan[0].eid == f"s{eid}"]
        assert max(own, default=0) - min(own, default=0) <= (1 if n else 0)


@given(
    n_trials=st.lists(st.integers(1, 30), min_size=2, max_size=6),
    sessions_per_batch=st.integers(2, 4),
    trials_a_session=st.integers(2, 5),
    epoch=st.integers(0, 5),
)
def test_sessions_in_a_batch_differ_wherever_they_can(n_trials, sessions_per_batch, trials_a_session, epoch):
    try:
        (sampler,) = samplers(
            n_trials, batch_size=trials_a_session * sessions_per_batch, sessions_per_batch=sessions_per_batch
        )
    except DataError:
        return
    sampler.set_epoch(epoch)
    plans = list(sampler)
    pieces = Counter(group.eid for plan in plans for group in plan)
    # a session with more pieces than there are batches must meet itself; if none has, no batch holds one twice
    possible = max(pieces.values()) <= len(plans)
    assert all(len({group.eid for group in plan}) == sessions_per_batch for plan in plans) == possible


def test_a_session_meets_many_others_within_an_epoch():
    (sampler,) = samplers([40] * 4, batch_size=4, sessions_per_batch=2)
    met = {frozenset(group.eid for group in plan) for plan in sampler}
    assert len(met) == 6


@given(n_trials=sizes.filter(lambda n: sum(n) > 3), seed=st.integers(0, 9), epoch=st.integers(0, 9))
def test_the_plan_follows_from_seed_and_epoch(n_trials, seed, epoch):
    plans = []
    for _ in range(2):
        (sampler,) = samplers(n_trials, batch_size=4, seed=seed)
        list(sampler)  # what was drawn before does not matter
        sampler.set_epoch(epoch)
        plans.append(list(sampler))
    assert plans[0] == plans[1]


def test_other_epochs_and_other_seeds_give_another_order_and_other_companions():
    plans = []
    for seed, epoch in ((0, 0), (0, 1), (1, 0)):
        (sampler,) = samplers([30, 30], batch_size=4, seed=seed)
        sampler.set_epoch(epoch)
        plans.append(list(sampler))
    companions = [{frozenset(group.trials) for plan in own for group in plan} for own in plans]
    assert companions[0] != companions[1]
    assert companions[0] != companions[2]
    orders = [[group.eid for plan in own for group in plan] for own in plans]
    assert orders[0] != orders[1]


def test_sessions_are_mixed_over_the_epoch():
    (sampler,) = samplers([80, 80], batch_size=4)
    eids = [plan[0].eid for plan in sampler]
    assert eids != sorted(eids)
    assert set(eids[:20]) == set(eids[20:]) == {"s0", "s1"}


def test_without_shuffling_trials_stay_in_order_in_every_epoch():
    (sampler,) = samplers([5, 3], batch_size=2, shuffle=False)
    first = list(sampler)
    sampler.set_epoch(3)
    assert list(sampler) == first
    assert [trial for plan in first for trial in plan[0].trials] == [1, 4, 7, 10, 13, 1, 4, 7]


def test_the_order_of_sessions_in_the_folder_does_not_matter():
    trials = trials_of([9, 5])
    backward = dict(reversed(trials.items()))
    plans = [list(SessionBatchSampler(t, batch_size=2, shuffle=True)) for t in (trials, backward)]
    assert plans[0] == plans[1]


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_resumed_epoch_goes_on_at_that_batch_and_the_next_one_is_whole(epoch):
    (sampler,) = samplers([20, 11], batch_size=3)
    sampler.set_epoch(epoch)
    whole = list(sampler)
    (again,) = samplers([20, 11], batch_size=3)
    again.resume(epoch=epoch, first_batch=4)
    again.set_epoch(epoch)
    assert len(again) == len(whole)
    assert list(again) == whole[4:]
    assert list(again) == whole
    again.set_epoch(epoch + 1)
    assert len(list(again)) == len(whole)


def test_an_epoch_that_was_cut_short_by_choice_does_not_shorten_the_next():
    (sampler,) = samplers([20], batch_size=2)
    sampler.resume(epoch=0, first_batch=4)
    sampler.set_epoch(1)
    assert len(list(sampler)) == 10


@pytest.mark.parametrize(
    ("n_trials", "options", "sentence"),
    [
        ([3], {"batch_size": 8, "n_ranks": 4}, r"^3 trials cannot be divided among 4 .*Use fewer devices,"),
        ([1, 1], {"batch_size": 8, "sessions_per_batch": 4}, r"smaller data\.sessions_per_batch"),
        ([5], {"batch_size": 1, "n_ranks": 2}, "or larger batches"),
    ],
)
def test_trials_that_cannot_be_shared_are_an_error_in_one_sentence(n_trials, options, sentence):
    with pytest.raises(DataError, match=sentence) as error:
        samplers(n_trials, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("options", [{"batch_size": 0}, {"batch_size": 3, "sessions_per_batch": 2}])
def test_a_batch_that_sessions_cannot_share_is_an_error(options):
    with pytest.raises(ConfigError, match="sessions_per_batch"):
        samplers([10], **options)


# ---- the former way to plan an epoch, slower: the plans are the same for the same seed


def planned_slowly(trials, *, batch_size, sessions_per_batch, n_ranks, generator) -> list[BatchPlan]:
    pieces = []
    for eid in sorted(trials):
        own = trials[eid] if generator is None else generator.permutation(trials[eid])
        n_pieces = -(-len(own) // (batch_size // sessions_per_batch))
        pieces += [(eid, piece) for piece in np.array_split(own, n_pieces)] if n_pieces else []
    while len(pieces) % (sessions_per_batch * n_ranks):
        largest = max(range(len(pieces)), key=lambda i: len(pieces[i][1]))
        eid, own = pieces[largest]
        if len(own) < 2:
            raise DataError("too few")
        pieces[largest : largest + 1] = [(eid, half) for half in np.array_split(own, 2)]
    groups = [GroupPlan(eid, tuple(own.tolist())) for eid, own in pieces]
    if generator is not None:
        groups = [groups[i] for i in generator.permutation(len(groups))]
    if sessions_per_batch == 1:
        return [(group,) for group in groups]
    waiting = {}
    for group in groups:
        waiting.setdefault(group.eid, []).append(group)
    plans = [drawn_slowly(waiting, sessions_per_batch, generator) for _ in range(len(groups) // sessions_per_batch)]
    return plans if generator is None else [plans[i] for i in generator.permutation(len(plans))]


def drawn_slowly(waiting, n_groups, generator) -> BatchPlan:
    batch = []
    while len(batch) < n_groups:
        eids = list(waiting)
        if generator is not None:
            eids = [eids[i] for i in generator.permutation(len(eids))]
        for eid in sorted(eids, key=lambda eid: -len(waiting[eid]))[: n_groups - len(batch)]:
            batch.append(waiting[eid].pop(0))
            if not waiting[eid]:
                del waiting[eid]
    return tuple(batch)


@given(
    n_trials=sizes,
    trials_a_session=st.integers(1, 9),
    sessions_per_batch=st.integers(1, 5),
    n_ranks=st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**31),
)
@settings(max_examples=300)
def test_plans_are_those_of_the_former_slower_way(n_trials, trials_a_session, sessions_per_batch, n_ranks, seed):
    plans = []
    for way in (planned_slowly, plan_epoch):
        try:
            plan = way(
                trials_of(n_trials),
                batch_size=trials_a_session * sessions_per_batch,
                sessions_per_batch=sessions_per_batch,
                n_ranks=n_ranks,
                generator=None if seed is None else np.random.default_rng(seed),
            )
        except DataError:
            plan = None
        plans.append(plan)
    assert plans[0] == plans[1]

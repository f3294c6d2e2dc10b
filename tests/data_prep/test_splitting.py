"""No instant is in two splits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.options import PrepareOptions
from data_prep.splitting import alternating, assign_splits
from neuromtm.data.splits import split_blocks, split_trials
from neuromtm.data.windows import blocks_of_windows, sharing_time
from neuromtm.errors import SourceError

OPTIONS = PrepareOptions(window_s=(0.0, 1.0), bin_size_s=0.1)
FRACTIONS = OPTIONS.split_fractions
STARTS = st.lists(st.integers(0, 4000), min_size=3, max_size=80).map(lambda starts: np.array(starts) / 100)


def naively_shared(one, other, duration_s):
    """Whether each window shares time with any other, by comparing all of them."""
    return (np.abs(one[:, None] - other) < duration_s - 1e-7).any(1)


def shares_an_instant(starts_s, split, reach_s):
    return any(
        naively_shared(starts_s[split == one], starts_s[split == other], reach_s).any()
        for one, other in (("train", "val"), ("train", "test"), ("val", "test"))
    )


@given(starts_s=STARTS, gap_s=st.sampled_from([0.0, 0.5]), seed=st.integers(0, 3))
def test_no_two_splits_share_an_instant_and_no_window_is_lost(starts_s, gap_s, seed):
    options = replace(OPTIONS, split_gap_s=gap_s, seed=seed)
    try:
        found = assign_splits(starts_s, options=options, eid="a")
    except SourceError:
        assert len(np.unique(blocks_of_windows(starts_s, duration_s=1.0, gap_s=gap_s))) < 3
        return
    assert set(found.split) == {"train", "val", "test"}
    assert not shares_an_instant(starts_s, found.split, 1.0 + gap_s)


@given(n_trials=st.integers(3, 300), seed=st.integers(0, 9))
def test_windows_apart_are_split_as_they_always_were(n_trials, seed):
    starts_s = np.random.default_rng(seed).permutation(n_trials) * 1.0  # they touch, but share no time
    found = assign_splits(starts_s, options=replace(OPTIONS, seed=seed), eid="a")
    for name, trials in split_trials(n_trials, fractions=FRACTIONS, seed=seed, eid="a").items():
        assert np.flatnonzero(found.split == name).tolist() == trials.tolist()
    assert found.notes == ()


@given(sizes=st.lists(st.integers(1, 6), min_size=3, max_size=60), seed=st.integers(0, 9))
def test_blocks_stay_whole_and_the_parts_are_met_as_well_as_blocks_allow(sizes, seed):
    block = np.arange(len(sizes)).repeat(sizes)
    found = split_blocks(block, fractions=FRACTIONS, seed=seed, eid="a")
    assert sorted(np.concatenate([*found.values()])) == list(range(len(block)))
    split_of_block = [{name for name, trials in found.items() if b in block[trials]} for b in range(len(sizes))]
    assert all(len(names) == 1 for names in split_of_block)
    for name, fraction in zip(found, FRACTIONS, strict=True):
        assert len(found[name]) > 0
        assert abs(len(found[name]) - fraction * len(block)) <= 2 * max(sizes) + 1


def test_a_large_block_can_come_into_any_split_with_room_for_it():
    block = np.r_[np.zeros(4, int), np.arange(1, 97)]
    names = {
        next(name for name, trials in split_blocks(block, fractions=FRACTIONS, seed=s, eid="a").items() if 0 in trials)
        for s in range(40)
    }
    assert names == {"train", "val", "test"}


def test_windows_in_one_chain_are_refused_in_a_sentence():
    with pytest.raises(SourceError, match=r"overlap.*form 1 block.*narrower window"):
        assign_splits(np.arange(20) * 0.9, options=OPTIONS, eid="a")


def test_trials_given_twice_are_one_block_and_are_named():
    starts_s = np.r_[np.arange(10) * 5.0, 20.0]
    found = assign_splits(starts_s, options=OPTIONS, eid="a")
    assert found.split[4] == found.split[10]
    assert "given twice, e.g. at 20 s" in found.notes[0]
    assert "2 windows share time with others" in found.notes[1]


def test_the_splits_of_the_source_are_kept_but_for_training_windows_that_reach_into_others():
    starts_s = np.array([0.0, 1.0, 1.5, 5.0, 9.0])
    given_split = np.array(["train", "train", "val", "test", "train"])
    found = assign_splits(starts_s, options=OPTIONS, eid="a", given=given_split)
    assert found.split.tolist() == ["train", "", "val", "test", "train"]
    assert found.removed == {"shares time with another split of the source": 1}


def test_a_benchmark_may_keep_its_overlap_and_says_how_much_there_is():
    starts_s, given_split = np.array([0.0, 0.5, 5.0]), np.array(["train", "val", "test"])
    options = replace(OPTIONS, keep_source_overlap=True)
    found = assign_splits(starts_s, options=options, eid="a", given=given_split)
    assert found.split.tolist() == given_split.tolist()
    assert found.notes == ("50% of the validation and test windows share time with training windows",)


def test_a_split_of_the_source_without_windows_is_refused():
    with pytest.raises(SourceError, match="no window for test"):
        assign_splits(np.arange(3) * 5.0, options=OPTIONS, eid="a", given=np.array(["train", "val", "train"]))


@pytest.mark.parametrize("n_windows", [12, 100, 1000])
def test_continuous_time_alternates_between_the_splits_with_a_gap(n_windows):
    options = replace(OPTIONS, continuous=True, split_gap_s=1.0)
    starts_s = np.arange(n_windows) * 1.0
    found = assign_splits(starts_s, options=options, eid="a")
    assert not shares_an_instant(starts_s, found.split, 2.0)
    assert found.removed["in the gap between two splits"] == (found.split == "").sum()
    if n_windows == 1000:
        for name in ("train", "val", "test"):  # each from the whole session
            quarters = np.flatnonzero(found.split == name) * 4 // n_windows
            assert set(quarters) == {0, 1, 2, 3}


@given(n_windows=st.integers(10, 2000))
def test_pieces_of_continuous_time_have_the_parts_asked_for(n_windows):
    split = alternating(n_windows, FRACTIONS)
    for name, fraction in zip(("train", "val", "test"), FRACTIONS, strict=True):
        assert (split == name).sum() > 0
        assert abs((split == name).mean() - fraction) <= 1 / n_windows


@given(starts_s=STARTS, others_s=STARTS)
def test_shared_time_is_that_of_all_pairs(starts_s, others_s):
    found = sharing_time(starts_s, others_s, duration_s=1.0)
    assert found.tolist() == naively_shared(starts_s, others_s, 1.0).tolist()


def test_an_unknown_time_shares_none():
    assert sharing_time(np.array([np.nan, 1.0]), np.array([np.nan, 1.5]), duration_s=1.0).tolist() == [False, True]

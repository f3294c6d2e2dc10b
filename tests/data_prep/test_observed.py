"""No window outside the recorded time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.observed import inferred_intervals, inside, merged, windows_inside
from neuromtm.errors import SourceError


def poisson(rate_hz, start_s, end_s, seed=0):
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(start_s, end_s, rng.poisson(rate_hz * (end_s - start_s))))


def test_a_hole_in_a_dense_recording_is_found_and_its_edges_too():
    times_s = np.r_[poisson(200, 0, 300), poisson(200, 320, 600)]
    found = inferred_intervals(times_s)
    np.testing.assert_allclose(found, [[0, 300], [320, 600]], atol=0.3)


@pytest.mark.parametrize("rate_hz", [0.05, 0.5, 2.0])
def test_sparse_neurons_make_no_hole(rate_hz):
    assert all(len(inferred_intervals(poisson(rate_hz, 0, 1000, seed))) == 1 for seed in range(30))


def test_neurons_that_burst_together_make_no_hole():
    bursts = [poisson(100, start, start + 1, seed=start) for start in range(0, 900, 30)]
    assert len(inferred_intervals(np.concatenate(bursts))) == 1


def test_one_spike_is_an_interval():
    assert inferred_intervals(np.array([3.0])).tolist() == [[3.0, 3.0]]


def test_times_in_another_unit_do_not_take_all_memory():
    assert len(inferred_intervals(np.sort(np.random.default_rng(0).uniform(0, 1e12, 10_000)))) == 1


INTERVALS = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 9)).map(lambda i: [i[0], i[0] + i[1]]), min_size=1, max_size=6
)


@given(intervals=INTERVALS)
def test_merged_intervals_cover_the_same_time_and_are_apart(intervals):
    found = merged(np.array(intervals, float))
    middle = np.arange(70) + 0.5

    def covered(some):
        return [any(start <= m < end for start, end in some) for m in middle]

    assert covered(found) == covered(intervals)
    assert (found[1:, 0] > found[:-1, 1]).all()


@given(intervals=INTERVALS, starts_s=st.lists(st.integers(0, 60), min_size=1, max_size=9))
def test_a_window_is_inside_if_one_interval_holds_it_whole(intervals, starts_s):
    apart = merged(np.array(intervals, float))
    expected = [any(start <= s and s + 2 <= end for start, end in apart) for s in starts_s]
    assert inside(np.array(starts_s, float), apart, duration_s=2.0).tolist() == expected


def test_a_window_without_a_time_is_not_inside():
    assert not inside(np.array([np.nan]), np.array([[0.0, 9.0]]), duration_s=1.0).any()


@given(intervals=INTERVALS)
def test_continuous_windows_lie_inside_and_do_not_share_time(intervals):
    apart = merged(np.array(intervals, float))
    starts_s = windows_inside(apart, duration_s=0.7)
    assert inside(starts_s, apart, duration_s=0.7).all()
    assert (np.diff(starts_s) > 0.7 - 1e-9).all()
    assert len(starts_s) == sum(int((end - start) / 0.7 + 1e-9) for start, end in apart)


def test_more_windows_than_days_of_recording_have_are_refused_before_they_are_cut():
    with pytest.raises(SourceError, match=r"1,000,000 windows of 0\.5 s, more than 200,000: give a longer --length-s"):
        windows_inside(np.array([[0.0, 5e5]]), duration_s=0.5)

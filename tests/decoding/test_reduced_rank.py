"""Reduced-rank read-outs of counts: they find a low rank, share time courses, and see no test label."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from neuromtm.decoding.counts import POOLED_S, SMOOTHING_S, add_reduced_rank, in_wider_bins, smoothed_counts
from neuromtm.decoding.linear import Splits
from neuromtm.decoding.reduced_rank import fit_reduced_rank
from neuromtm.decoding.selection import Candidate, Decoded, decode, labels_of
from neuromtm.decoding.targets import Target
from neuromtm.metrics.absent import Absent
from neuromtm.metrics.behavior import accuracy, r2

N_BINS, N_NEURONS, N_TEST = 10, 16, 60


def session(seed, *, trace, train=60, noise=0.5):
    """Counts, and a behaviour that one direction of the neurons carries, by a time course that all sessions share."""
    shared, generator = np.random.default_rng(0), np.random.default_rng([seed, 1])
    n = train + 20 + N_TEST
    numbers = np.split(np.arange(n), [train, train + 20])
    loadings = generator.normal(size=N_NEURONS) / np.sqrt(N_NEURONS)
    drive = generator.normal(size=(n, N_BINS))
    x = drive[..., None] * loadings + 0.5 * generator.normal(size=(n, N_BINS, N_NEURONS))
    if trace:
        mixing = gaussian_filter1d(np.eye(N_BINS), 1, axis=0) * shared.normal(size=N_BINS)
        values = (
            drive @ mixing + noise * drive.std() * 0.3 * generator.normal(size=(n, N_BINS)) + 0.1 * np.arange(N_BINS)
        )
    else:
        values = np.sign(drive @ shared.normal(size=N_BINS) + noise * generator.normal(size=n))
    labels = labels_of(Target("pupil" if trace else "choice", values.astype(np.float32)), numbers)
    return Splits(*(x[part].astype(np.float32) for part in numbers)), labels


def measured(found, labels):
    assert not isinstance(found, Absent), found
    return (r2 if labels.is_trace else accuracy)(found.test, labels.values.test)


def full(x, labels):
    (found,) = decode("a", [labels], [Candidate("counts", x)])
    return found.tried[0].test


@pytest.mark.parametrize("trace", [True, False], ids=["trace", "classes"])
def test_a_low_rank_readout_beats_the_full_one_where_the_truth_has_a_low_rank(trace):
    sessions = [session(seed, trace=trace) for seed in range(3)]
    low = [measured(fit_reduced_rank({"a": x}, {"a": labels})["a"], labels) for x, labels in sessions]
    chance = np.mean([labels.chance for _, labels in sessions])
    assert np.mean(low) > np.mean([full(*one) for one in sessions]) + 0.05
    assert np.mean(low) > chance + 0.25


@pytest.mark.parametrize("trace", [True, False], ids=["trace", "classes"])
def test_sessions_of_few_trials_that_share_a_time_course_are_read_better_together(trace):
    sessions = {str(seed): session(seed, trace=trace, train=16) for seed in range(8)}
    counts, labels = ({eid: one[i] for eid, one in sessions.items()} for i in (0, 1))
    together = fit_reduced_rank(counts, labels)
    alone = {eid: fit_reduced_rank({eid: counts[eid]}, {eid: labels[eid]})[eid] for eid in counts}
    scores = [[measured(found[eid], labels[eid]) for eid in counts] for found in (together, alone)]
    assert np.mean(scores[0]) > np.mean(scores[1]) + 0.03


def test_a_rank_of_one_is_recovered():
    x, labels = session(0, trace=True, train=400, noise=0.0)
    assert measured(fit_reduced_rank({"a": x}, {"a": labels})["a"], labels) > 0.6


@pytest.mark.parametrize("trace", [True, False], ids=["trace", "classes"])
def test_the_labels_of_test_trials_change_no_prediction(trace):
    x, labels = session(0, trace=trace)
    shuffled = labels.values._replace(test=np.random.default_rng(0).permutation(labels.values.test))
    other = type(labels)(**{**vars(labels), "values": shuffled})
    one, two = (fit_reduced_rank({"a": x}, {"a": of})["a"] for of in (labels, other))
    np.testing.assert_array_equal(one.test, two.test)
    assert (one.rank, one.share) == (two.rank, two.share)


def test_predictions_of_three_classes_carry_their_names():
    x, labels = session(1, trace=False, train=200, noise=0.0)
    renamed = Splits(*(np.where(part > 0, 0.8, np.where(np.arange(len(part)) % 2, 0.5, 0.2)) for part in labels.values))
    found = fit_reduced_rank({"a": x}, {"a": type(labels)(**{**vars(labels), "values": renamed})})["a"]
    assert set(found.test) <= {0.2, 0.5, 0.8}
    assert np.mean((found.test == 0.8) == (renamed.test == 0.8)) > 0.6


def test_a_session_that_lacks_a_class_or_stretches_of_a_trace_takes_part():
    (x, whole), (_, other) = session(0, trace=False), session(1, trace=False)
    missing = Splits(*(np.where(np.arange(len(part)) % 3 == 0, 5.0, part) for part in whole.values))
    found = fit_reduced_rank({"a": x, "b": x}, {"a": type(whole)(**{**vars(whole), "values": missing}), "b": other})
    assert all(np.isin(one.test, [-1, 1, 5]).all() for one in found.values())
    x, trace = session(0, trace=True)
    trace.values.train[:20, 3:6] = np.nan
    trace.values.val[:, 0] = np.nan
    holed = fit_reduced_rank({"a": x}, {"a": trace})["a"]
    assert np.isfinite(holed.test).all()
    assert measured(holed, trace) > 0.3


def test_what_cannot_be_fitted_is_absent_with_a_reason_and_leaves_the_others_alone():
    (x, good), (_, bad) = session(0, trace=False), session(1, trace=False)
    bad.values.train[:] = 1
    found = fit_reduced_rank({"good": x, "bad": x}, {"good": good, "bad": bad})
    assert "one value only" in found["bad"].reason
    alone = fit_reduced_rank({"good": x}, {"good": good})["good"]
    np.testing.assert_array_equal(found["good"].test, alone.test)
    good.values.val[:] = np.nan
    assert "no validation trial" in fit_reduced_rank({"good": x}, {"good": good})["good"].reason


def test_a_test_without_gradients_fits_all_the_same():
    import torch

    x, labels = session(0, trace=False)
    expected = fit_reduced_rank({"a": x}, {"a": labels})["a"]
    with torch.inference_mode():
        found = fit_reduced_rank({"a": x}, {"a": labels})["a"]
    np.testing.assert_array_equal(found.test, expected.test)


def test_what_a_shared_fit_scores_is_added_to_each_session_that_has_the_behaviour():
    (x, choice), (y, pupil) = session(0, trace=False), session(1, trace=True)
    decoded = {
        "a": [Decoded(eid="a", labels=one, tried=()) for one in (choice, pupil)],
        "b": [Decoded(eid="b", labels=pupil, tried=())],
    }
    found = add_reduced_rank(decoded, {"a": x, "b": y}, name="counts_rrr_all_sessions")
    assert [one.labels.name for one in found["a"]] == ["choice", "pupil"]
    for one in (*found["a"], *found["b"]):
        (tried,) = one.tried
        assert (tried.features, tried.prompt) == ("counts_rrr_all_sessions", None)
        assert ("balanced_accuracy" in tried.further) != one.labels.is_trace
    expected = fit_reduced_rank({"a": x}, {"a": choice})["a"]
    assert found["a"][0].tried[0].test == measured(expected, choice)


# ---- what counts become ----


def test_pooled_counts_keep_every_spike_whether_or_not_the_bins_divide():
    counts = np.random.default_rng(0).poisson(0.5, size=(3, 11, 2)).astype(np.uint8)
    found = in_wider_bins(counts, bin_size_s=POOLED_S / 2)
    assert found.shape == (3, 6, 2)
    np.testing.assert_array_equal(found[:, 0], counts[:, :2].sum(axis=1))
    np.testing.assert_array_equal(found.sum(axis=1), counts.sum(axis=1))
    np.testing.assert_array_equal(in_wider_bins(counts, bin_size_s=0.1), counts)  # already wider


def test_smoothing_is_over_time_and_the_first_is_none():
    counts = np.zeros((1, 21, 2), np.uint8)
    counts[0, 10, 1] = 4
    none, *smoothed = smoothed_counts(Splits(counts, counts, counts), bin_size_s=0.02)
    np.testing.assert_array_equal(none.values.train, counts)
    for candidate, width in zip(smoothed, SMOOTHING_S[1:], strict=True):
        course = candidate.values.train[0, :, 1]
        assert candidate.smoothing_s == width
        assert course.argmax() == 10
        assert course[10] == pytest.approx(4 / np.sqrt(2 * np.pi) / (width / 0.02), rel=0.05)
        assert not candidate.values.train[0, :, 0].any()

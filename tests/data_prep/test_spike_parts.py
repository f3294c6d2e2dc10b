"""Spikes that come in parts: the same shard as from all of them at once, and memory holds one part at a time."""

import weakref
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import spikes
from data_prep.binning import count_parts, count_spikes
from data_prep.inspection import inspection_text
from data_prep.observed import inferred_intervals, observed_intervals, of_silences, probe_holes
from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import SortedNeurons, no_spikes
from data_prep.spikes import SpikePart, shared_silences, silences_of, summary_of
from neuromtm.errors import SourceError

OPTIONS = PrepareOptions(window_s=(-0.1, 0.1))


def in_parts(recording, *probes):
    """The same recording, with a part for each group of probes."""
    parts = []
    for names in probes:
        own = np.isin(recording.neurons.probe, names)[recording.spike_neuron]
        part = SpikePart(recording.spike_times_s[own], recording.spike_neuron[own].astype(np.uint8))
        parts.append(lambda part=part: part)
    return replace(recording, spike_times_s=no_spikes(), spike_neuron=no_spikes(), spike_parts=tuple(parts))


def of_probes(recording, *probes):
    return replace(recording, neurons=replace(recording.neurons, probe=np.array(probes)))


def test_spikes_in_parts_give_the_same_shard_as_all_at_once(recording):
    whole = of_probes(recording, "p1", "p0", "p1")
    expected = prepare(whole, options=OPTIONS, preparation={})
    for groups in ((("p0",), ("p1",)), (("p1",), ("p0",)), (("p0", "p1"),)):
        apart = in_parts(whole, *groups)
        found = prepare(apart, options=OPTIONS, preparation={})
        np.testing.assert_array_equal(found.shard.counts, expected.shard.counts)
        np.testing.assert_array_equal(
            found.shard.header.neurons.firing_rate_hz, expected.shard.header.neurons.firing_rate_hz
        )
        assert found.notes == expected.notes
        assert inspection_text(apart) == inspection_text(whole)
        np.testing.assert_array_equal(apart.merged().spike_times_s, whole.spike_times_s)


def test_memory_never_holds_two_parts(recording):
    loaded, still_there = [], []

    def load(neuron):
        still_there.append(sum(times_s() is not None for times_s in loaded))
        times_s = recording.trials.stimulus_onset_s + 0.005
        loaded.append(weakref.ref(times_s))
        return SpikePart(times_s, np.full(len(times_s), neuron))

    parts = tuple(lambda neuron=neuron: load(neuron) for neuron in range(3))
    apart = replace(
        of_probes(recording, "p0", "p1", "p2"), spike_times_s=no_spikes(), spike_neuron=no_spikes(), spike_parts=parts
    )
    assert prepare(apart, options=OPTIONS, preparation={}).shard.counts.sum() == 15
    assert still_there == 6 * [0]


@pytest.mark.parametrize(
    ("times_s", "neuron", "words"),
    [
        ([2.0, 1.0], [0, 0], "not sorted"),
        ([1.0, np.inf], [0, 0], "infinite"),
        ([1.0, np.nan], [0, 0], "not numbers"),
        ([1.0, 2.0], [0, 3], "only 3 neurons"),
        ([1.0, 2.0], [0], "2 spike times, but 1 neuron"),
        ([], [], "no spikes"),
    ],
)
def test_a_part_is_checked_when_it_is_loaded(recording, times_s, neuron, words):
    part = SpikePart(np.array(times_s), np.array(neuron, int))
    bad = replace(recording, spike_times_s=no_spikes(), spike_neuron=no_spikes(), spike_parts=(lambda: part,))
    with pytest.raises(SourceError, match=words):
        prepare(bad, options=OPTIONS, preparation={})


@pytest.mark.parametrize(
    ("n_spikes", "dtype"), [((200, 55), np.uint8), ((200, 56), np.uint16), ((1, 65534), np.uint16)]
)
def test_counts_of_parts_add_up_and_are_wider_only_where_they_must(n_spikes, dtype):
    parts = [SpikePart(np.full(n, 0.5), np.full(n, 1)) for n in n_spikes] + [
        SpikePart(np.full(3, 0.5), np.zeros(3, int))
    ]
    counts = count_parts(parts, np.zeros(2), n_neurons=3, n_bins=1, bin_size_s=1.0)
    assert counts.dtype == dtype
    assert counts.tolist() == 2 * [[[3, sum(n_spikes), 0]]]


def test_a_count_that_no_shard_holds_is_refused_also_if_two_parts_make_it():
    parts = [SpikePart(np.full(32768, 0.5), np.zeros(32768, int))] * 2
    with pytest.raises(SourceError, match="65536 spikes in one bin"):
        count_parts(parts, np.zeros(1), n_neurons=1, n_bins=1, bin_size_s=1.0)


def test_numbers_of_neurons_in_a_small_type_do_not_overflow():
    rng = np.random.default_rng(0)
    times_s, neuron = np.sort(rng.uniform(0, 10, 5000)), rng.integers(100, 256, 5000)
    sizes = {"n_neurons": 256, "n_bins": 10, "bin_size_s": 1.0}
    expected = count_spikes(times_s, neuron, np.zeros(1), **sizes)
    np.testing.assert_array_equal(count_spikes(times_s, neuron.astype(np.uint8), np.zeros(1), **sizes), expected)
    assert expected.sum() == 5000


TIMES = st.lists(st.integers(0, 400), min_size=1, max_size=30).map(lambda t: np.sort(np.array(t, float)))


@settings(deadline=None, max_examples=50)
@given(of_each=st.lists(TIMES, min_size=1, max_size=4))
def test_the_shared_silences_are_those_of_all_spikes_together(of_each):
    together = np.sort(np.concatenate(of_each))
    found, expected = shared_silences([silences_of(times_s) for times_s in of_each]), silences_of(together)
    gaps = [[(a, b) for a, b in zip(own.starts_s, own.ends_s, strict=True) if a < b] for own in (found, expected)]
    assert gaps[0] == gaps[1]
    np.testing.assert_array_equal(of_silences(found), inferred_intervals(together))


@settings(deadline=None, max_examples=50)
@given(times_s=TIMES, at_once=st.integers(1, 7), most=st.integers(1, 9))
def test_the_longest_silences_are_kept_whatever_the_steps(times_s, at_once, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spikes, "AT_ONCE", at_once)
        patch.setattr(spikes, "MOST_SILENCES", most)
        found = silences_of(times_s)
    lengths = np.sort(found.ends_s - found.starts_s)
    np.testing.assert_array_equal(lengths, np.sort(np.diff(times_s))[::-1][:most][::-1])
    assert (np.diff(found.starts_s) >= 0).all()


# ---- a probe that was not recorded while another one was


def poisson_probe(rate_hz, times_s, neurons, rng):
    """Spikes of some neurons, each at a rate, inside (start, end)."""
    start, end = times_s
    own = [np.sort(rng.uniform(start, end, rng.poisson(rate_hz * (end - start)))) for _ in neurons]
    return np.concatenate(own), np.repeat(list(neurons), [len(times) for times in own])


def summary(*groups, probes):
    times_s, neuron = (np.concatenate(values) for values in zip(*groups, strict=True))
    order = np.argsort(times_s)
    return summary_of([SpikePart(times_s[order], neuron[order])], np.array(probes))


PROBES = 6 * ["a"] + 6 * ["b"]
A, B = range(6), range(6, 12)


def test_a_probe_that_stops_early_or_starts_late_or_pauses_is_noticed():
    rng = np.random.default_rng(0)
    a = poisson_probe(10, (0, 900), A, rng)
    for holes, recorded in (
        ([(600, np.inf)], [(0, 600)]),
        ([(-np.inf, 200)], [(200, 900)]),
        ([(300, 360)], [(0, 300), (360, 900)]),
    ):
        b = [poisson_probe(10, part, B, rng) for part in recorded]
        found = probe_holes(summary(a, *b, probes=PROBES))
        assert [*found] == ["b"]
        np.testing.assert_allclose(found["b"], holes, atol=0.5)


@pytest.mark.parametrize("rate_hz", [0.002, 0.02, 0.2, 2.0])
def test_a_probe_of_a_few_sparse_neurons_loses_no_time(rate_hz):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        sparse = poisson_probe(rate_hz, (0, 2000), range(6, 9), rng)
        assert probe_holes(summary(poisson_probe(2, (0, 2000), A, rng), sparse, probes=PROBES)) == {}


def test_a_few_neurons_that_are_lost_one_after_the_other_are_no_hole():
    rng = np.random.default_rng(0)
    lost = [poisson_probe(5, (0, end), [neuron], rng) for neuron, end in zip(B, (500, 800, 1100, 1400), strict=False)]
    assert probe_holes(summary(poisson_probe(5, (0, 2000), A, rng), *lost, probes=PROBES)) == {}


def test_a_probe_of_one_spike_or_of_one_neuron_is_not_judged():
    rng = np.random.default_rng(0)
    a = poisson_probe(5, (0, 2000), A, rng)
    for few in ((np.array([3.0]), np.array([6])), poisson_probe(20, (0, 700), [6], rng)):
        assert probe_holes(summary(a, few, probes=PROBES)) == {}


def make_stopping(recording, end_s):
    """Two probes of six neurons; the second one stops. The recording's trials are at 10, 20, 30, 40 and 50 s."""
    rng = np.random.default_rng(0)
    parts = [poisson_probe(20, (0, 60), A, rng), poisson_probe(20, (0, end_s), B, rng)]
    n = len(PROBES)
    neurons = SortedNeurons(
        uuid=np.array([f"n{number}" for number in range(n)]),
        region=np.repeat("CA1", n),
        probe=np.array(PROBES),
        label=np.ones(n),
        depth_um=np.arange(float(n)),
    )
    loads = [lambda part=part: SpikePart(np.sort(part[0]), part[1][np.argsort(part[0])]) for part in parts]
    return replace(
        recording, neurons=neurons, spike_times_s=no_spikes(), spike_neuron=no_spikes(), spike_parts=tuple(loads)
    )


def test_windows_in_which_one_probe_was_off_are_dropped_and_the_probe_is_named(recording):
    found = prepare(make_stopping(recording, 35), options=OPTIONS, preparation={})
    assert found.removed_trials == {"not observed": 2}
    assert found.shard.header.trials.stimulus_onset_s.tolist() == [10, 20, 30]
    assert any(
        note.startswith("b is silent for 25 s while another probe records, first from 35.") for note in found.notes
    )
    assert prepare(make_stopping(recording, 60), options=OPTIONS, preparation={}).removed_trials == {}


def test_probes_that_share_no_time_are_refused_by_name():
    rng = np.random.default_rng(0)
    apart = summary(poisson_probe(10, (0, 400), A, rng), poisson_probe(10, (500, 900), B, rng), probes=PROBES)

    class Apart:
        observed_s, summary = None, apart

    with pytest.raises(SourceError, match=r"at no time do all probes record: a has spikes from .* b has spikes from"):
        observed_intervals(Apart())

"""Simulated sessions hold the truth, the truth is strong enough to be seen, and all animals have the same brain."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from data_prep.options import PrepareOptions
from data_prep.prepare import prepare
from data_prep.recording import WHISKER
from data_prep.sources.simulation.brain import REGION_NAMES, connections, live, make_brain
from data_prep.sources.simulation.recording import SimulationOptions, _task, simulate_session
from neuromtm.data.shards import read_header, read_shard, write_shard
from neuromtm.errors import ConfigError
from neuromtm.randomness import numpy_generator_for

OPTIONS = PrepareOptions()


@pytest.fixture(scope="module")
def shards():
    """Four sessions of the default size."""
    simulation = SimulationOptions()
    recordings = [simulate_session(n, simulation=simulation, options=OPTIONS) for n in range(4)]
    return [prepare(recording, options=OPTIONS, preparation={}).shard for recording in recordings]


def ceiling_bps(shard):
    """Bits per spike of the true rates against each neuron's mean, averaged over neurons that fired."""
    counts = shard.counts[shard.header.splits["test"]].astype(float)
    rates = shard.true_rates[shard.header.splits["test"]].astype(float)
    spikes = counts.sum((0, 1))
    fired = spikes > 0
    null_nll = spikes - spikes * np.log(np.where(fired, counts.mean((0, 1)), 1))
    nll = (rates - counts * np.log(rates)).sum((0, 1))
    return ((null_nll - nll)[fired] / spikes[fired] / np.log(2)).mean()


def smoothed(counts, n_bins=9):
    """(trial, bin, neuron) square roots of counts, averaged over `n_bins` neighbouring bins."""
    kernel = np.ones(n_bins) / n_bins
    return np.apply_along_axis(lambda x: np.convolve(x, kernel, "same"), 1, np.sqrt(counts))


def test_the_best_reachable_bits_per_spike_is_between_0_3_and_0_7(shards):
    assert all(0.3 < ceiling_bps(shard) < 0.7 for shard in shards)


def test_median_firing_rate_is_about_3_hz_and_rates_are_log_normal(shards):
    rate_hz = np.concatenate([shard.header.neurons.firing_rate_hz for shard in shards])
    assert 2 < np.median(rate_hz) < 5
    log_rate = np.log(rate_hz[rate_hz > 0])
    assert 1.0 < log_rate.std() < 1.8
    assert abs(np.mean(((log_rate - log_rate.mean()) / log_rate.std()) ** 3)) < 0.6


def test_counts_are_poisson_about_the_stored_truth(shards):
    for shard in shards:
        counts, rates = shard.counts.astype(float), shard.true_rates.astype(float)
        assert abs(counts.sum() - rates.sum()) < 4 * np.sqrt(rates.sum())
        assert ((counts - rates) ** 2 / rates)[rates > 0.02].mean() == pytest.approx(1, abs=0.05)


def test_counts_come_out_exactly_as_drawn_from_the_stored_rates(tmp_path, monkeypatch):
    drawn = {}

    class Generator(np.random.Generator):
        def poisson(self, rates):
            drawn["rates"], drawn["counts"] = rates, super().poisson(rates)
            return drawn["counts"]

    from data_prep.sources.simulation import recording as simulation_module

    seeded = simulation_module.numpy_generator_for
    monkeypatch.setattr(
        simulation_module, "numpy_generator_for", lambda *parts: Generator(seeded(*parts).bit_generator)
    )
    simulation = SimulationOptions(n_trials=20)
    recording = simulate_session(0, simulation=simulation, options=OPTIONS)
    shard = prepare(recording, options=OPTIONS, preparation={}).shard
    np.testing.assert_array_equal(shard.counts, drawn["counts"][shard.header.trials.index])
    write_shard(tmp_path / "a.h5", shard)
    stored = read_shard(tmp_path / "a.h5").true_rates
    np.testing.assert_array_equal(stored, drawn["rates"][shard.header.trials.index])


def test_every_session_has_the_trials_asked_for_and_the_filter_had_something_to_remove(shards):
    for shard in shards:
        assert shard.header.n_trials == 200
        assert shard.header.trials.index.max() > 199


@pytest.mark.parametrize("n_trials", [3, 11, 27, 100])
def test_any_number_of_trials_is_the_number_kept(n_trials):
    simulation = SimulationOptions(n_trials=n_trials, n_neurons=12)
    recording = simulate_session(0, simulation=simulation, options=OPTIONS)
    assert prepare(recording, options=OPTIONS, preparation={}).shard.header.n_trials == n_trials


def test_sessions_have_other_neurons_of_the_same_regions(shards):
    uuids = [uuid for shard in shards for uuid in shard.header.neurons.uuid]
    assert len(set(uuids)) == len(uuids)
    assert {shard.header.info.region_names for shard in shards} == {tuple(sorted(REGION_NAMES[:4]))}
    assert len({shard.header.subject for shard in shards}) == len(shards)


def test_a_session_is_the_same_whichever_others_are_simulated():
    few, many = SimulationOptions(n_sessions=2, n_heldout=0, n_trials=5), SimulationOptions(n_sessions=9, n_trials=5)
    one, other = (simulate_session(1, simulation=s, options=OPTIONS) for s in (few, many))
    np.testing.assert_array_equal(one.spike_times_s, other.spike_times_s)
    other = simulate_session(1, simulation=replace(few, seed=1), options=OPTIONS)
    assert len(one.spike_times_s) != len(other.spike_times_s)


def test_choice_can_be_decoded_far_above_chance(shards):
    correct, chance, n = 0, 0, 0
    for shard in shards:
        splits, choice = shard.header.splits, shard.header.trials.choice
        features = smoothed(shard.counts, 15)[:, 7::15].reshape(len(choice), -1)
        features = (features - features.mean(0)) / (features.std(0) + 1e-6)
        train, test = splits["train"], splits["test"]
        decoder = LogisticRegression(C=1e-3, max_iter=300).fit(features[train], choice[train])
        correct += (decoder.predict(features[test]) == choice[test]).sum()
        chance += max((choice[test] == side).sum() for side in (-1, 1))
        n += len(test)
    assert correct / n > chance / n + 0.1


def test_whisker_motion_energy_can_be_decoded_far_above_the_trial_average(shards):
    shard = shards[0]
    train, test = shard.header.splits["train"], shard.header.splits["test"]
    features, whisker = smoothed(shard.counts), shard.behavior[WHISKER]
    n_neurons = features.shape[-1]
    decoder = Ridge(10.0).fit(features[train].reshape(-1, n_neurons), whisker[train].ravel())
    error = np.square(decoder.predict(features[test].reshape(-1, n_neurons)) - whisker[test].ravel()).mean()
    chance_error = np.square(whisker[test] - whisker[train].mean(0)).mean()
    assert error < 0.75 * chance_error


def latent_link(driver, driven, lag_bins):
    """R2 of the `driven` latents when they are predicted from the `driver` latents, `lag_bins` earlier."""
    n_bins = driver.shape[1]
    past = driver[:, : n_bins - lag_bins].reshape(-1, driver.shape[-1])
    now = driven[:, lag_bins:].reshape(-1, driven.shape[-1])
    return Ridge(1e-3).fit(past, now).score(past, now)


def test_driven_pairs_of_regions_are_linked_at_their_lag_and_pairs_between_circuits_are_not():
    brain, rng = make_brain(n_regions=5, seed=0), numpy_generator_for(0)
    task = _task(300, rng)
    task = replace(task, contrast=np.zeros(300))  # a stimulus moves both circuits, but that is no connection
    features = live(brain, task, window_s=(-0.5, 1.5), n_bins=100, bin_size_s=0.02, rng=rng).features
    for connection in brain.connections:
        lag_bins = round(connection.lag_s / 0.02)
        # the columns 2 and 3 of a driven region come from its driver
        driver, driven = features[connection.driver], features[connection.driven][..., 2:4]
        at_lag = latent_link(driver, driven, lag_bins)
        assert at_lag > 0.99
        assert at_lag > latent_link(driver, driven, 0) + 0.02
        assert at_lag > latent_link(driver, driven, 2 * lag_bins) + 0.02
    first, second = brain.regions[:3], brain.second_circuit
    assert max(latent_link(features[a], features[b], 2) for a in first for b in second) < 0.1


def test_with_four_regions_or_more_some_pair_is_unconnected():
    for n_regions in range(4, len(REGION_NAMES) + 1):
        linked = {(c.driver, c.driven) for c in connections(n_regions)}
        assert len(linked) < n_regions * (n_regions - 1) / 2
        assert all(c.lag_s > 0 for c in connections(n_regions))
        assert {name for pair in linked for name in pair} == set(REGION_NAMES[:n_regions])


def test_the_true_connections_are_in_every_shard(simulated):
    for path in simulated.glob("*.h5"):
        assert read_header(path).preparation["connections"] == [["VISp", "CA1", 0.04], ["LP", "MOs", 0.04]]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"n_sessions": 0, "n_heldout": 0}, "--n-sessions 0"),
        ({"n_heldout": 7}, "--n-heldout 7"),
        ({"n_regions": 2}, "--n-regions 2"),
        ({"n_regions": 99}, "--n-regions 99"),
        ({"n_neurons": 11}, "--n-neurons 11"),
        ({"n_trials": 2}, "--n-trials 2"),
    ],
)
def test_simulation_options_out_of_range_are_named(options, named):
    with pytest.raises(ConfigError, match=named):
        SimulationOptions(**options)

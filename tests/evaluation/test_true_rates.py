"""Predicted against true rates: the figures, and what is read."""

import numpy as np
import pytest

from neuromtm.data.shards import read_shard
from neuromtm.evaluation.true_rates import Rates, decoded_latents, rate_scores, read_rates
from tests.lorenz import EID, LATENTS, lorenz_folder, predict, true_rates


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return lorenz_folder(tmp_path_factory.mktemp("lorenz") / "data")


@pytest.fixture
def shard(data):
    return read_shard(data / f"{EID}.h5")


def test_the_truth_scores_1_and_each_neuron_s_mean_0(data, shard, tmp_path):
    true = true_rates(shard)
    (exact,) = read_rates(predict(tmp_path / "a", shard, true), data)
    scores = rate_scores(exact)
    assert scores.r2 == pytest.approx(1)
    np.testing.assert_allclose(scores.neuron_r2, 1)
    assert scores.smoothed_r2 < 1
    assert scores.latents_r2 is None
    means = np.broadcast_to(true.mean((0, 1)), true.shape)
    (constant,) = read_rates(predict(tmp_path / "b", shard, means), data)
    assert rate_scores(constant).r2 == pytest.approx(0, abs=1e-6)


def test_r2_is_that_of_scikit_learn():
    from sklearn.metrics import r2_score

    generator = np.random.default_rng(0)
    true, noise = generator.gamma(2.0, size=(4, 10, 3)), 0.3 * generator.normal(size=(4, 10, 3))
    scores = rate_scores(Rates("a", true + noise, true, generator.poisson(true), None, 0.01))
    flat = true.reshape(-1, 3), (true + noise).reshape(-1, 3)
    np.testing.assert_allclose(scores.neuron_r2, r2_score(*flat, multioutput="raw_values"))
    # weighted by variance, the pooled figure is that of all entries against each neuron's mean
    assert scores.r2 == pytest.approx(r2_score(*flat, multioutput="variance_weighted"))


def test_a_neuron_whose_true_rate_never_varies_has_no_r2():
    true = np.ones((4, 10, 2))
    true[..., 1] += np.arange(10)
    scores = rate_scores(Rates("a", true.copy(), true, true, None, 0.01))
    assert np.isnan(scores.neuron_r2[0])
    assert scores.neuron_r2[1] == scores.r2 == 1


def test_the_variables_are_read_out_on_trials_that_the_read_out_was_not_fitted_on(data, shard, tmp_path):
    (rates,) = read_rates(predict(tmp_path, shard, true_rates(shard)), data, LATENTS)
    np.testing.assert_allclose(decoded_latents(rates), rates.latents, atol=0.05)
    assert (rate_scores(rates).latents_r2 > 0.999).all()
    spoilt = rates.latents.copy()
    spoilt[1::2] = np.random.default_rng(0).normal(size=spoilt[1::2].shape)
    assert (rate_scores(rates._replace(latents=spoilt)).latents_r2 < 0.1).all()


def test_neurons_are_matched_by_their_names(data, shard, tmp_path):
    chosen = [4, 1]
    true = true_rates(shard)[..., chosen]
    (rates,) = read_rates(predict(tmp_path, shard, true, neurons=chosen), data)
    np.testing.assert_array_equal(rates.true, rates.predicted)
    np.testing.assert_array_equal(rates.counts, shard.counts[shard.header.splits["test"]][..., chosen])


def test_earlier_predictions_that_were_renamed_aside_are_left_out(data, shard, tmp_path):
    run = predict(tmp_path, shard, true_rates(shard))
    folder = run / "predictions"
    (folder / f"{EID}.2026-01-01T00-00-00.h5").write_bytes((folder / f"{EID}.h5").read_bytes())
    assert len(read_rates(run, data)) == 1

"""`neuromtm rates`: what it reads, the figures it prints, and what it refuses."""

import h5py
import numpy as np
import pytest

from neuromtm.commands.rates import Rates, decoded_latents, rate_scores, rates_figure, read_rates
from neuromtm.data.shards import read_shard
from tests.running import neuromtm, refusal

LATENTS = ("lorenz_x", "lorenz_y", "lorenz_z")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small Lorenz session; not to be changed."""
    from data_prep.__main__ import main

    out = tmp_path_factory.mktemp("lorenz") / "data"
    sizes = ["--n-neurons", "6", "--n-conditions", "5", "--n-trials", "6", "--duration-s", "0.4"]
    assert main(["lorenz", "--out", str(out), *sizes]) == 0
    return out


@pytest.fixture
def shard(data):
    return read_shard(data / "lorenz-0-00.h5")


def predict(run, shard, rates, neurons=slice(None), eid="lorenz-0-00"):
    """Write predictions of the test trials as `neuromtm predict` does."""
    path = run / "predictions" / f"{eid}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs["eid"] = eid
        file["rates"], file["trial"] = rates, shard.header.splits["test"]
        file.create_dataset("neurons/uuid", data=list(shard.header.neurons.uuid[neurons]), dtype=h5py.string_dtype())
    return run


def true_rates(shard):
    return shard.true_rates[shard.header.splits["test"]].astype(np.float32)


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
    (folder / "lorenz-0-00.2026-01-01T00-00-00.h5").write_bytes((folder / "lorenz-0-00.h5").read_bytes())
    assert len(read_rates(run, data)) == 1


def test_the_command_prints_a_row_a_session_and_draws_it(data, shard, tmp_path, capsys):
    run = predict(tmp_path, shard, true_rates(shard))
    for latents in ((), ("--latents", *LATENTS)):
        neuromtm("rates", run, "--data", data, *latents)
        printed = capsys.readouterr().out
        assert "| lorenz-0-00 | " in printed
        assert printed.count("1.000") == 2 + 3 * bool(latents)
        assert (run / "figures" / "truth-lorenz-0-00.png").stat().st_size > 10_000
    assert len(list((run / "figures").iterdir())) == 2  # the earlier one was renamed aside


def test_the_figure_shows_every_neuron_and_trial_there_is():
    generator = np.random.default_rng(0)
    for n_trials, n_neurons in ((1, 1), (2, 3), (9, 9)):
        true = generator.gamma(2.0, size=(n_trials, 10, n_neurons))
        rates = Rates("a", true, true, generator.poisson(true), None, 0.01)
        figure = rates_figure(rates, rate_scores(rates))
        shown = min(n_trials, 1 if n_trials < 4 else 3) * min(n_neurons, 4)
        assert len(figure.axes) == shown


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda run, shard: (run / "predictions" / "lorenz-0-00.h5").unlink(), "neuromtm predict --config"),
        (lambda run, shard: predict(run, shard, true_rates(shard), eid="other"), "no session other"),
        (lambda run, shard: predict(run, shard, true_rates(shard)[:, 1:]), "other bins"),
    ],
)
def test_what_does_not_belong_together_is_refused(data, shard, tmp_path, capsys, spoil, words):
    run = predict(tmp_path, shard, true_rates(shard))
    spoil(run, shard)
    assert words in refusal(capsys, "rates", run, "--data", data)


def test_a_session_without_truth_or_without_such_a_variable_is_refused(data, shard, tmp_path, capsys):
    run = predict(tmp_path / "run", shard, true_rates(shard))
    assert "no behaviour w. It has: lorenz_x" in refusal(capsys, "rates", run, "--data", data, "--latents", "w")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in data.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    with h5py.File(copy / "lorenz-0-00.h5", "a") as file:
        del file["truth"]
    assert "holds no true rates" in refusal(capsys, "rates", run, "--data", copy)

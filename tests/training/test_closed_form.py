"""The mathematics of stitchers from few trials, beside scipy's."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import nbinom

from neuromtm.training import closed_form
from neuromtm.training.closed_form import (
    Evidence,
    gamma_prior,
    poisson_regressions,
    shared_directions,
    shrunk_means,
)

N_ENTRIES = 400


def spikes_of(seed, *, shape=0.7, mean=0.08, n_neurons=300):
    rng = np.random.default_rng(seed)
    return rng.poisson(N_ENTRIES * rng.gamma(shape, mean / shape, n_neurons))


@pytest.mark.parametrize("seed", range(3))
def test_the_gamma_prior_is_the_most_likely_one_by_scipy_s_negative_binomial(seed):
    spikes = spikes_of(seed)

    def cost(parameters):
        shape, rate = np.exp(parameters)
        return -nbinom.logpmf(spikes, shape, rate / (rate + N_ENTRIES)).sum()

    options = {"xatol": 1e-9, "fatol": 1e-10, "maxiter": 10_000}
    best = np.exp(minimize(cost, [0.0, 2.0], method="Nelder-Mead", options=options).x)
    np.testing.assert_allclose(gamma_prior(spikes, n_entries=N_ENTRIES), best, rtol=1e-4)


def test_means_are_shrunk_more_where_neurons_are_alike_and_none_is_0():
    alike = np.random.default_rng(0).poisson(8.0, 300)
    unlike = spikes_of(0)
    for spikes, least, most in ((alike, 0.0, 0.2), (unlike, 0.9, 1.0)):
        slope = np.polyfit(spikes / N_ENTRIES, shrunk_means(spikes, n_entries=N_ENTRIES), 1)[0]
        assert least <= slope <= most
    assert (shrunk_means(unlike, n_entries=N_ENTRIES) > 0).all()
    assert not unlike.all()
    assert 0 < shrunk_means(np.zeros(5), n_entries=N_ENTRIES).max() < 0.1 / N_ENTRIES * 5
    one = shrunk_means(np.array([40]), n_entries=N_ENTRIES)
    np.testing.assert_allclose(one, 0.1, rtol=1e-3)  # alone it is its own prior


def made_up(seed, n_neurons=5, n_features=4):
    """Evidence in which a neuron is hidden once, twice or in other bins, and the logarithms of the mean rates."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(scale=0.8, size=(n_neurons, n_features))

    def part(neurons, n_bins):
        features = rng.normal(size=(12, n_bins, n_features))
        counts = rng.poisson(0.3 * np.exp(features @ truth[neurons].T))
        return Evidence(torch.tensor(neurons), torch.from_numpy(features), torch.from_numpy(counts))

    return [part([0, 1, 2, 3, 4], 7), part([1, 3], 3), part([4, 0], 7)], torch.full((n_neurons,), -1.5).double()


@pytest.mark.parametrize("seed", range(3))
def test_newton_s_method_finds_scipy_s_optimum_in_double_precision(seed, monkeypatch):
    monkeypatch.setattr(closed_form, "WEIGHT_PRECISION", 3.0)
    evidence, log_means = made_up(seed)
    fitted = poisson_regressions(evidence, log_means)
    for neuron in range(len(log_means)):
        rows, counts = [], []
        for neurons, features, observed in evidence:
            if neuron in neurons.tolist():
                rows.append(features.flatten(0, 1).numpy())
                counts.append(observed[..., neurons.tolist().index(neuron)].flatten().numpy())
        x, y = np.concatenate(rows), np.concatenate(counts)

        def cost(w, x=x, y=y):
            eta = x @ w[:-1] + w[-1] - 1.5
            return 0.35 * (np.exp(eta) - y * eta).sum() + 3.0 * (w[:-1] ** 2).sum() / 2 + w[-1] ** 2 / 2

        def slope(w, x=x, y=y):
            residual = 0.35 * (np.exp(x @ w[:-1] + w[-1] - 1.5) - y)
            return np.append(residual @ x + 3.0 * w[:-1], residual.sum() + w[-1])

        best = minimize(cost, np.zeros(x.shape[1] + 1), jac=slope, method="BFGS", options={"gtol": 1e-10}).x
        np.testing.assert_allclose(fitted.weights[neuron], best[:-1], atol=1e-8)
        np.testing.assert_allclose(fitted.log_means[neuron], best[-1] - 1.5, atol=1e-8)


def test_the_fit_ends_at_an_optimum_however_far_it_is(monkeypatch):
    monkeypatch.setattr(closed_form, "WEIGHT_PRECISION", 1e-3)
    features = torch.linspace(-3, 3, 40).double()[None, :, None]
    counts = (features > 1).long() * 30
    fitted = poisson_regressions([Evidence(torch.tensor([0]), features, counts)], torch.tensor([-9.0]).double())
    eta = features[0, :, 0] * fitted.weights[0] + fitted.log_means[0]
    slope = 0.35 * (eta.exp() - counts[0, :, 0]) @ features[0, :, 0] + 1e-3 * fitted.weights[0, 0]
    assert slope.abs() < 1e-5


def test_a_neuron_without_evidence_keeps_its_mean_rate():
    evidence, log_means = made_up(0)
    fitted = poisson_regressions(evidence[1:2], log_means)
    assert torch.equal(fitted.weights[0], torch.zeros(4).double())
    assert fitted.log_means[0] == -1.5
    assert fitted.weights[1].abs().min() > 0


def test_shared_directions_carry_the_covariance_of_the_read_outs():
    read_outs = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([5, 3, 1, 1, 0.5, 0.1])
    directions = shared_directions(read_outs, 6)
    covariance = read_outs.double().T @ read_outs.double() / 50
    made = directions @ directions.T
    torch.testing.assert_close(made, covariance / torch.linalg.eigvalsh(covariance)[-1])
    torch.testing.assert_close(shared_directions(read_outs, 2), directions[:, :2])
    torch.testing.assert_close(directions[:, 0].norm(), torch.tensor(1.0).double())
    low = read_outs[:, :2] @ torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    assert shared_directions(low, 6).shape == (6, 2)

"""The regressions of the baselines: closed forms and solver against refitting by scikit-learn or by the formula."""

import numpy as np
import pytest
from einops import rearrange, repeat
from sklearn.decomposition import FactorAnalysis
from sklearn.linear_model import PoissonRegressor, Ridge

from neuromtm.baselines import factor_analysis, glm
from neuromtm.baselines.psth import TrialAverage, fit_average, smoothed_averages
from neuromtm.baselines.reduced_rank import reduced_rank
from neuromtm.baselines.regression import penalties
from neuromtm.baselines.ridge import ridge
from neuromtm.baselines.views import Problem, ahead, beside, design

EVERY = np.arange(7)
LEFT_OUT = Problem(EVERY, EVERY, left_out=True)
ACROSS = Problem(np.array([0, 2, 5, 6]), np.array([1, 3, 4]), left_out=False)
BOTH = pytest.mark.parametrize("problem", [LEFT_OUT, ACROSS], ids=["left out", "across"])


def correlated(trials=40, bins=10, neurons=7, seed=0):
    """(trial, bin, neuron) float32 counts that share two latents."""
    generator = np.random.default_rng(seed)
    latents = generator.normal(size=(trials, bins, 2))
    gains = latents @ generator.normal(scale=0.5, size=(2, neurons))
    return generator.poisson(np.exp(gains + np.linspace(-1, 0.5, neurons))).astype(np.float32)


@pytest.fixture(scope="module")
def samples():
    counts = correlated()
    return design(beside(10, width_s=0.02, bin_size_s=0.02), counts, plain_average(counts))


def plain_average(counts) -> TrialAverage:
    return next(iter(smoothed_averages(counts, bin_size_s=0.02)))


def flat(values):
    return rearrange(values, "trial position neuron -> (trial position) neuron").astype(np.float64)


def of_setting(candidates, **setting):
    """The weights of the only problem under a setting."""
    (found,) = [one.weights[0] for one in candidates if one.setting == pytest.approx(setting)]
    return found


def one_by_one(problem):
    """(visible neurons, target) of every regression that refitting makes."""
    for neuron in problem.hidden:
        yield np.setdiff1d(problem.visible, [neuron]), int(neuron)


# ---- the trial average ----


def test_the_psth_is_the_mean_over_train_trials_by_hand():
    train = np.array([[[2], [0], [0]], [[0], [0], [1]]], dtype=np.float32)  # 2 trials, 3 bins, 1 neuron
    average = plain_average(train)
    assert average.mean.tolist() == pytest.approx([3.5 / 6])  # half a spike is added
    assert average.rates[:, 0].tolist() == pytest.approx([1, 0.001 * 3.5 / 6, 0.5])
    assert average.largest.tolist() == [2]


def test_smoothing_is_chosen_by_validation_trials():
    sharp, train = np.array([0.1, 3, 0.1, 3, 0.1, 3]), correlated(trials=200, bins=6, neurons=1)
    generator = np.random.default_rng(0)
    steps = generator.poisson(repeat(sharp, "bin -> trial bin 1", trial=200)).astype(np.float32)
    assert fit_average(steps[:150], steps[150:], bin_size_s=0.02).setting["average_width_s"] <= 0.01
    few = fit_average(train[:5], train[5:], bin_size_s=0.02)  # nothing but noise differs between bins
    assert few.setting["average_width_s"] >= 0.08


# ---- ridge ----


@BOTH
def test_ridge_equals_refitting_without_each_neuron(samples, problem):
    weights = of_setting(ridge(samples, [problem]), gain_variance=0.03).slope
    penalty = penalties(problem, gain_variance=0.03)
    features, left = flat(samples.features), flat(samples.counts - samples.expected)
    for column, (visible, neuron) in enumerate(one_by_one(problem)):
        refitted = Ridge(penalty / samples.mean[neuron], fit_intercept=False).fit(features[:, visible], left[:, neuron])
        found = weights[np.isin(problem.visible, visible), column]
        np.testing.assert_allclose(found, refitted.coef_, atol=1e-5)


def test_left_out_neurons_have_no_weight_on_themselves(samples):
    for fit in (ridge, reduced_rank, factor_analysis.factor_analysis, glm.poisson):
        for candidate in fit(samples, [LEFT_OUT]):
            slope = candidate.weights[0].slope
            assert (np.diagonal(slope) == 0).all()
            assert np.abs(slope).max() > 0


# ---- reduced rank ----


def test_reduced_rank_regression_of_full_rank_is_ridge(samples):
    slope = of_setting(reduced_rank(samples, [ACROSS]), gain_variance=0.3, rank=4).slope
    penalty = penalties(ACROSS, gain_variance=0.3) / samples.mean[ACROSS.hidden].mean()
    left = flat(samples.counts - samples.expected)[:, ACROSS.hidden]
    refitted = Ridge(penalty, fit_intercept=False).fit(flat(samples.features)[:, ACROSS.visible], left)
    np.testing.assert_allclose(slope, refitted.coef_.T, atol=1e-5)


def test_no_other_weights_of_that_rank_cost_less(samples):
    slope = of_setting(reduced_rank(samples, [ACROSS]), gain_variance=0.3, rank=1).slope.astype(np.float64)
    assert np.linalg.matrix_rank(slope, tol=1e-5) == 1
    penalty = penalties(ACROSS, gain_variance=0.3) / samples.mean[ACROSS.hidden].mean()
    noise = np.sqrt(samples.mean[ACROSS.hidden])
    features = flat(samples.features)[:, ACROSS.visible]
    targets = flat(samples.counts - samples.expected)[:, ACROSS.hidden] / noise

    def cost(weights):
        return np.square(targets - features @ weights).sum() + penalty * np.square(weights).sum()

    left, values, right = np.linalg.svd(slope / noise, full_matrices=False)
    best, generator = cost(slope / noise), np.random.default_rng(0)
    assert best < cost(0 * slope)
    for _ in range(50):
        moved = left[:, 0] + generator.normal(scale=0.05, size=4), right[0] + generator.normal(scale=0.05, size=3)
        assert cost(values[0] * np.outer(*moved)) > best


def test_neurons_hidden_by_tenths_are_predicted_from_the_other_nine():
    counts = correlated(neurons=23)
    samples = design(beside(10, width_s=0.02, bin_size_s=0.02), counts, plain_average(counts))
    problem = Problem(np.arange(23), np.arange(23), left_out=True)
    slope = of_setting(reduced_rank(samples, [problem]), gain_variance=0.3, rank=4).slope
    together, others = np.array([3, 13]), np.setdiff1d(np.arange(23), [3, 13])
    assert (slope[np.ix_(together, together)] == 0).all()
    penalty = penalties(problem, gain_variance=0.3) / samples.mean.mean()
    left = flat(samples.counts - samples.expected)[:, together]  # two targets: rank 4 does not reduce them
    refitted = Ridge(penalty, fit_intercept=False).fit(flat(samples.features)[:, others], left)
    np.testing.assert_allclose(slope[np.ix_(others, together)], refitted.coef_.T, atol=1e-5)


# ---- factor analysis ----


@BOTH
def test_factors_predict_the_gaussian_conditional_mean(samples, problem):
    factors = factor_analysis.fit_factors(samples.gram, samples.n_samples, n_factors=2)
    covariance = factors.loadings @ factors.loadings.T + np.diag(factors.noise)
    slope = of_setting(factor_analysis.factor_analysis(samples, [problem]), n_factors=2).slope
    for column, (visible, neuron) in enumerate(one_by_one(problem)):
        expected = np.linalg.solve(covariance[np.ix_(visible, visible)], covariance[visible, neuron])
        found = slope[np.isin(problem.visible, visible), column] * samples.reader.scale[neuron]
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_factors_from_sums_of_products_are_those_of_the_samples(samples, monkeypatch):
    monkeypatch.setattr(factor_analysis, "FACTORS_TOLERANCE", 1e-9)
    whole = FactorAnalysis(1, tol=1e-9, svd_method="lapack").fit(flat(samples.features))
    found = factor_analysis.fit_factors(samples.gram, samples.n_samples, n_factors=1)
    covariance = found.loadings @ found.loadings.T + np.diag(found.noise)
    np.testing.assert_allclose(covariance, whole.get_covariance(), atol=1e-4)


# ---- Poisson regression ----


@BOTH
def test_poisson_regression_equals_refitting_without_each_neuron(samples, problem, monkeypatch):
    monkeypatch.setattr(glm, "TOLERANCE", 1e-9)
    slope, log_gain = of_setting(glm.poisson(samples, [problem]), gain_variance=0.1)
    penalty = penalties(problem, gain_variance=0.1)
    features = flat(samples.features)
    expected = flat(np.broadcast_to(samples.expected, samples.counts.shape))
    for column, (visible, neuron) in enumerate(one_by_one(problem)):
        exposure = expected[:, neuron]  # rates in units of it, weighted by it, have it as an offset
        model = PoissonRegressor(alpha=penalty / exposure.sum(), tol=1e-8, max_iter=1000)
        model.fit(features[:, visible], flat(samples.counts)[:, neuron] / exposure, sample_weight=exposure)
        np.testing.assert_allclose(slope[np.isin(problem.visible, visible), column], model.coef_, atol=2e-4)
        assert log_gain[column] == pytest.approx(model.intercept_, abs=2e-4)


def test_the_solver_stops_close_to_the_maximum(samples):
    close = of_setting(glm.poisson(samples, [LEFT_OUT]), gain_variance=0.3).slope
    fit = glm._Fit(samples, LEFT_OUT)
    for _ in range(20):  # starts anew where it stopped
        exact = fit(penalties(LEFT_OUT, gain_variance=0.3))
    assert np.abs(close - exact.slope).max() < 0.02 * np.abs(exact.slope).max()


# ---- time ----


def test_a_view_of_the_future_reads_the_past_only():
    view = ahead(10, n_hidden=2, width_s=0.05, bin_size_s=0.02)
    assert view.bins == slice(8, 10)
    assert (view.read[-1, 8:] == 0).all()
    assert (view.read[-1, :8] > 0).all()
    for position in range(8):
        assert not view.read[position, position + 1 :].any()
        assert np.flatnonzero(view.predicted[position]).tolist() == [position + 1, position + 2]
    assert view.read[-1, 7] / view.read[-1, 6] == pytest.approx(np.exp(0.02 / 0.05))


def test_a_view_of_the_same_time_predicts_every_bin():
    view = beside(10, width_s=0.05, bin_size_s=0.02)
    assert view.bins == slice(0, 10)
    np.testing.assert_array_equal(view.predicted, np.eye(10))
    np.testing.assert_allclose(view.read.sum(axis=1), 1, rtol=1e-6)


def test_features_of_the_train_trials_have_mean_0_and_unit_variance(samples):
    features = samples.features.astype(np.float64)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(np.square(features).mean(axis=(0, 1)), 1, rtol=1e-5)
    np.testing.assert_allclose(np.diagonal(samples.gram), samples.n_samples, rtol=1e-5)

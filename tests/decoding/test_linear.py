"""Linear read-outs: the reduction loses nothing, and missing labels cost nothing but themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from threadpoolctl import threadpool_limits

from neuromtm.decoding.linear import (
    CLASS_STRENGTHS,
    TRACE_STRENGTHS,
    _cross_validated_cost,
    fit_classes,
    fit_trace,
    project,
)
from neuromtm.metrics.absent import Absent

N_BINS, N_NEURONS = 12, 8


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


def draw(seed=0, trials=60):
    """Rates (trial, bin, neuron) that carry a choice and a trace, with both."""
    generator = np.random.default_rng(seed)
    choice = generator.choice([-1.0, 1.0], trials)
    drive = generator.normal(size=(trials, N_BINS))
    log_rates = 0.5 * generator.normal(size=(trials, N_BINS, N_NEURONS))
    log_rates[..., 0] += 0.6 * choice[:, None]
    log_rates[..., 1] += drive
    trace = drive + 0.3 * generator.normal(size=(trials, N_BINS)) + np.arange(N_BINS) / 8
    return np.exp(log_rates).astype(np.float32), choice, trace.astype(np.float32)


def standardised(rates, train):
    """The features that a direct fit would use, (trial, bin * neuron)."""
    centred = rates.astype(np.float64) - train.mean(axis=0)
    deviation = np.sqrt(np.square(train - train.mean(axis=0)).mean(axis=(0, 1)))
    return (centred / deviation).reshape(len(rates), -1) / np.sqrt(N_BINS * N_NEURONS)


# ---- the strength ----


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("noise", [0.3, 3.0, 30.0])
def test_the_strength_is_the_one_that_a_grid_search_of_scikit_learn_finds(noise, n_classes):
    generator = np.random.default_rng(n_classes)
    labels = np.resize(np.arange(n_classes), 40) - 1.0
    components = generator.normal(size=(40, 12)) * noise
    components[:, 0] += labels
    components /= np.linalg.norm(components) / 40**0.5
    search = GridSearchCV(
        LogisticRegression(tol=1e-5, max_iter=2000),
        {"C": CLASS_STRENGTHS},
        scoring="neg_log_loss",
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
    )
    search.fit(components, labels)
    costs = [_cross_validated_cost(components, (labels + 1).astype(int), strength) for strength in CLASS_STRENGTHS]
    np.testing.assert_allclose(costs, -search.cv_results_["mean_test_score"], rtol=1e-9)
    assert fit_classes(components, labels).strength == search.best_params_["C"]


# ---- the reduction ----


@given(seed=st.integers(0, 1000))
@settings(max_examples=4)
def test_the_reduced_choice_readout_is_the_direct_fit_on_all_features(seed):
    (rates, choice, _), (other, _, _) = draw(seed, trials=40), draw(seed + 1, trials=20)
    projection = project(rates)
    readout = fit_classes(projection.train, choice)
    direct = LogisticRegression(C=readout.model.C, tol=1e-8, max_iter=5000)
    direct.fit(standardised(rates, rates), choice)
    expected = direct.decision_function(standardised(other, rates))
    found = readout.model.decision_function(projection(other))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert (readout.predict(projection(other)) == np.sign(found)).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=4)
def test_the_reduced_trace_readout_is_the_direct_fit_on_all_features(seed):
    (rates, _, trace), (other, _, _) = draw(seed, trials=40), draw(seed + 1, trials=20)
    projection = project(rates)
    readout = fit_trace(projection.train, trace)
    direct = Ridge(alpha=readout.strength).fit(standardised(rates, rates), trace)
    found = readout.predict(projection(other))
    np.testing.assert_allclose(found, direct.predict(standardised(other, rates)), atol=1e-3)


def test_the_strength_of_a_trace_readout_is_scikit_learns():
    rates, _, trace = draw()
    components = project(rates).train
    assert fit_trace(components, trace).strength == RidgeCV(TRACE_STRENGTHS).fit(components, trace).alpha_


def test_classes_are_predicted_as_they_are_called():
    rates, choice, _ = draw()
    level = np.where(choice < 0, 0.2, np.where(rates[:, :, 2].mean(axis=1) > 1.13, 0.8, 0.5))
    readout = fit_classes(project(rates).train, level)
    assert readout.classes.tolist() == [0.2, 0.5, 0.8]
    assert (readout.predict(project(rates).train) == level).mean() > 0.8


def test_fewer_trials_than_features_are_spanned_by_one_dimension_less_than_trials():
    rates, _, _ = draw(trials=30)
    projection = project(rates)
    assert projection.train.shape == (30, 29)  # centring takes one
    np.testing.assert_allclose(projection(rates), projection.train, atol=1e-5)
    np.testing.assert_allclose(projection.basis.T @ projection.basis, np.eye(29), atol=1e-4)


def test_inner_products_of_train_trials_survive_the_projection():
    rates, _, _ = draw(trials=30)
    features = standardised(rates, rates)
    projected = project(rates)(rates)
    np.testing.assert_allclose(projected @ projected.T, features @ features.T, atol=1e-5)


@given(scale=st.floats(1e-4, 1e4))
@settings(max_examples=10)
def test_the_unit_of_a_neurons_rate_does_not_matter(scale):
    rates, _, trace = draw()
    scaled = rates * np.where(np.arange(N_NEURONS) == 1, scale, 1).astype(np.float32)
    found, expected = (fit_trace(project(x).train, trace).predict(project(x).train) for x in (scaled, rates))
    np.testing.assert_allclose(found, expected, atol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_a_neuron_of_constant_rate_changes_nothing(constant):
    rates, choice, trace = draw()
    still = np.concatenate([rates, np.full((60, N_BINS, 1), constant, np.float32)], axis=2)
    for fit, labels in ((fit_classes, choice), (fit_trace, trace)):
        found, expected = (fit(project(x).train, labels).predict(project(x).train) for x in (still, rates))
        np.testing.assert_allclose(found, expected, atol=1e-5)


# ---- labels that are missing ----


def test_trials_of_unknown_class_do_not_change_the_fit():
    rates, choice, _ = draw()
    components = project(rates).train
    expected = fit_classes(components[:40], choice[:40]).model.coef_
    choice[40:] = np.nan
    np.testing.assert_allclose(fit_classes(components, choice).model.coef_, expected, rtol=1e-6)


def test_a_stretch_of_nan_takes_its_trials_out_of_the_fit_of_its_bins_only():
    rates, _, trace = draw()
    components = project(rates).train
    whole = fit_trace(components, trace)
    trace[:5, 3:7] = np.nan
    holed = fit_trace(components, trace)
    found, there = holed.predict(components), np.ones(N_BINS, bool)
    there[3:7] = False
    assert np.isfinite(found).all()
    fewer = Ridge(holed.strength).fit(components[5:], trace[5:, 3:7]).predict(components)
    np.testing.assert_allclose(found[:, 3:7], fewer, rtol=1e-6)
    assert holed.strength == whole.strength
    np.testing.assert_allclose(found[:, there], whole.predict(components)[:, there], rtol=1e-6)


def test_a_bin_that_no_train_trial_knows_is_not_predicted():
    rates, _, trace = draw()
    trace[:, 4] = np.nan
    components = project(rates).train
    assert np.flatnonzero(np.isnan(fit_trace(components, trace).predict(components)).all(axis=0)).tolist() == [4]


@pytest.mark.parametrize(
    ("classes", "reason"),
    [(np.ones(60), "only one class, 1,"), (np.full(60, np.nan), "no class is known")],
    ids=["one class", "none known"],
)
def test_classes_that_cannot_be_fitted_are_absent_with_a_reason(classes, reason):
    found = fit_classes(project(draw()[0]).train, classes)
    assert isinstance(found, Absent)
    assert reason in found.reason


def test_a_trace_that_no_train_trial_knows_is_absent_with_a_reason():
    assert "no bin is known" in fit_trace(project(draw()[0]).train, np.full((60, N_BINS), np.nan)).reason


def test_features_that_never_change_give_no_readout():
    components = project(np.full((60, N_BINS, N_NEURONS), 0.3, np.float32)).train
    assert isinstance(fit_classes(components, draw()[1]), Absent)
    assert isinstance(fit_trace(components, draw()[2]), Absent)

"""Linear read-outs: the reduction loses nothing, missing labels cost nothing, prompts are chosen on validation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits

from neuromtm.evaluation.readout import (
    Absent,
    BehaviorScores,
    Projection,
    Splits,
    decode,
    fit_choice,
    fit_trace,
    project,
)

N_BINS, N_NEURONS = 12, 8


@pytest.fixture(autouse=True)
def _one_thread():
    with threadpool_limits(1):
        yield


def draw(seed=0, trials=60):
    """Rates (trial, bin, neuron) that carry a choice and a trace, with both."""
    generator = np.random.default_rng(seed)
    choice = generator.choice([-1, 1], trials).astype(np.int8)
    drive = generator.normal(size=(trials, N_BINS))
    log_rates = 0.5 * generator.normal(size=(trials, N_BINS, N_NEURONS))
    log_rates[..., 0] += 0.6 * choice[:, None]
    log_rates[..., 1] += drive
    trace = drive + 0.3 * generator.normal(size=(trials, N_BINS)) + np.arange(N_BINS) / 8
    return np.exp(log_rates).astype(np.float32), choice, trace.astype(np.float32)


def splits(seed=0):
    """Rates, choice and trace of a session, each as Splits."""
    return (Splits(*parts) for parts in zip(*(draw(3 * seed + i, n) for i, n in enumerate((60, 30, 40))), strict=True))


def standardised(rates, train):
    """The features that a direct fit would use, (trial, bin * neuron)."""
    centred = rates.astype(np.float64) - train.mean(axis=0)
    deviation = np.sqrt(np.square(train - train.mean(axis=0)).mean(axis=(0, 1)))
    return (centred / deviation).reshape(len(rates), -1) / np.sqrt(N_BINS * N_NEURONS)


# ---- the reduction ----


@given(seed=st.integers(0, 1000))
@settings(max_examples=4)
def test_the_reduced_choice_readout_is_the_direct_fit_on_all_features(seed):
    (rates, choice, _), (other, _, _) = draw(seed, trials=40), draw(seed + 1, trials=20)
    readout = fit_choice(project(rates), choice)
    direct = LogisticRegression(C=readout.model.C, tol=1e-8, max_iter=2000)
    direct.fit(standardised(rates, rates), choice)
    expected = direct.decision_function(standardised(other, rates))
    found = readout.model.decision_function(readout.projection(other))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert (readout.predict(other) == np.sign(found)).all()


@given(seed=st.integers(0, 1000))
@settings(max_examples=4)
def test_the_reduced_trace_readout_is_the_direct_fit_on_all_features(seed):
    (rates, _, trace), (other, _, _) = draw(seed, trials=40), draw(seed + 1, trials=20)
    readout = fit_trace(project(rates), trace)
    direct = Ridge(alpha=readout.model.alpha_).fit(standardised(rates, rates), trace)
    np.testing.assert_allclose(readout.predict(other), direct.predict(standardised(other, rates)), atol=1e-3)


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
    found = fit_trace(project(scaled), trace).predict(scaled)
    np.testing.assert_allclose(found, fit_trace(project(rates), trace).predict(rates), atol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1])
def test_a_neuron_of_constant_rate_changes_nothing(constant):
    rates, choice, trace = draw()
    still = np.concatenate([rates, np.full((60, N_BINS, 1), constant, np.float32)], axis=2)
    for fit, labels in ((fit_choice, choice), (fit_trace, trace)):
        expected = fit(project(rates), labels).predict(rates)
        np.testing.assert_allclose(fit(project(still), labels).predict(still), expected, atol=1e-5)


# ---- labels that are missing ----


def test_trials_of_unknown_choice_do_not_change_the_fit():
    rates, choice, _ = draw()
    choice[40:] = 0
    projection = project(rates)
    known = Projection(projection.mean, projection.scale, projection.basis, projection.train[:40])
    np.testing.assert_allclose(
        fit_choice(projection, choice).model.coef_, fit_choice(known, choice[:40]).model.coef_, rtol=1e-6
    )


def test_a_stretch_of_nan_takes_its_trials_out_of_the_fit_only():
    rates, _, trace = draw()
    projection = project(rates)
    whole = Projection(projection.mean, projection.scale, projection.basis, projection.train[5:])
    expected = fit_trace(whole, trace[5:]).predict(rates)
    trace[:5, 3:7] = np.nan
    found = fit_trace(projection, trace).predict(rates)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        (np.ones(60), "both choices"),
        (np.zeros(60), "both choices"),
        (np.where(np.arange(60) < 4, -1, 1), "4 train trials"),
    ],
    ids=["one class", "none known", "too few of a class"],
)
def test_a_choice_that_cannot_be_fitted_is_absent_with_a_reason(choice, reason):
    found = fit_choice(project(draw()[0]), choice)
    assert isinstance(found, Absent)
    assert reason in found.reason


def test_a_trace_of_too_few_whole_trials_is_absent_with_a_reason():
    rates, _, trace = draw()
    trace[4:, 0] = np.nan
    assert "4 train trials" in fit_trace(project(rates), trace).reason


def test_rates_that_never_change_give_no_readout():
    projection = project(np.full((60, N_BINS, N_NEURONS), 0.3, np.float32))
    assert isinstance(fit_choice(projection, draw()[1]), Absent)
    assert isinstance(fit_trace(projection, draw()[2]), Absent)


# ---- decode ----


def test_decoding_beats_chance_where_the_rates_carry_the_behaviour():
    rates, choice, whisker = splits()
    scores = decode(lambda _: rates, prompts=["neuron"], choice=choice, whisker=whisker)
    assert scores.choice_accuracy > scores.choice_chance + 0.2
    assert scores.whisker_r2 > scores.whisker_chance + 0.05
    assert (scores.choice_prompt, scores.whisker_prompt) == ("neuron", "neuron")


def test_the_same_rates_give_the_same_scores_twice():
    rates, choice, whisker = splits()
    first, second = (decode(lambda _: rates, prompts=["a"], choice=choice, whisker=whisker) for _ in range(2))
    assert first == second


def test_the_prompt_is_the_best_on_validation_even_if_another_is_better_on_test():
    rates, choice, whisker = splits()
    noise = np.random.default_rng(0).random
    good_on_val = rates._replace(test=noise(rates.test.shape, np.float32))
    good_on_test = rates._replace(val=noise(rates.val.shape, np.float32))
    given = {"causal": good_on_test, "neuron": good_on_val}
    scores = decode(given.__getitem__, prompts=list(given), choice=choice, whisker=whisker)
    assert (scores.choice_prompt, scores.whisker_prompt) == ("neuron", "neuron")
    alone = decode(given.__getitem__, prompts=["causal"], choice=choice, whisker=whisker)
    assert alone.whisker_r2 > scores.whisker_r2


def test_equal_prompts_give_the_first():
    rates, choice, _ = splits()
    assert decode(lambda _: rates, prompts=["neuron", "causal"], choice=choice).choice_prompt == "neuron"


def test_without_validation_labels_the_first_prompt_stands():
    rates, choice, whisker = splits()
    empty = Splits(rates.train, rates.val[:0], rates.test)
    scores = decode(
        lambda _: empty,
        prompts=["neuron", "causal"],
        choice=choice._replace(val=choice.val[:0]),
        whisker=whisker._replace(val=whisker.val[:0]),
    )
    assert scores.choice_prompt == "neuron"
    assert scores.choice_accuracy is not None
    assert scores.whisker_r2 is not None


def test_rates_of_one_prompt_are_asked_for_once():
    rates, choice, whisker = splits()
    asked = []
    decode(lambda prompt: asked.append(prompt) or rates, prompts=["a", "b"], choice=choice, whisker=whisker)
    assert asked == ["a", "b"]


def test_a_session_without_labels_has_no_figures_but_reasons():
    scores = decode(lambda _: next(iter(splits())), prompts=["neuron"])
    absent = "the session has no such label"
    assert scores == BehaviorScores(choice_absent=absent, whisker_absent=absent)


def test_one_class_in_train_leaves_neither_accuracy_nor_chance_but_the_other_figure():
    rates, choice, whisker = splits()
    one_class = choice._replace(train=np.ones(60))
    scores = decode(lambda _: rates, prompts=["neuron"], choice=one_class, whisker=whisker)
    assert (scores.choice_accuracy, scores.choice_chance, scores.choice_prompt) == (None, None, None)
    assert "both choices" in scores.choice_absent
    assert scores.whisker_r2 is not None


def test_labels_missing_from_all_test_trials_leave_both_figures_out():
    rates, choice, whisker = splits()
    scores = decode(
        lambda _: rates,
        prompts=["neuron"],
        choice=choice._replace(test=0 * choice.test),
        whisker=whisker._replace(test=np.full_like(whisker.test, np.nan)),
    )
    assert (scores.choice_accuracy, scores.choice_chance) == (None, None)
    assert (scores.whisker_r2, scores.whisker_chance) == (None, None)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_rates_that_are_not_finite_are_a_reason_not_a_crash(split):
    rates, choice, whisker = splits()
    broken = rates._replace(**{split: np.full_like(getattr(rates, split), np.nan)})
    scores = decode(lambda _: broken, prompts=["neuron"], choice=choice, whisker=whisker)
    assert (scores.choice_accuracy, scores.choice_chance) == (None, None)
    assert (scores.whisker_r2, scores.whisker_chance) == (None, None)
    assert "not finite" in scores.choice_absent
    assert "not finite" in scores.whisker_absent

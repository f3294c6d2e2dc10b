"""Neurons that are shown are chosen by rank, and drawn with what was measured."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.neurons import (
    MOST_CONDITIONS,
    N_GROUPS,
    RANKS,
    SEEN_BEFORE,
    Example,
    by_rank,
    examples_plot,
    firing_rates_plot,
)
from neuromtm.plots.style import SMOOTHING_S
from neuromtm.smoothing import smooth

NAN = float("nan")
N_BINS, BIN_SIZE_S, WINDOW_S = 20, 0.05, (-0.25, 0.75)


@given(bps=st.lists(st.one_of(st.floats(-3, 3), st.just(NAN)), max_size=60))
def test_a_good_neuron_is_not_worse_than_a_typical_one_nor_that_than_a_bad_one(bps):
    values = np.array(bps, dtype=np.float64)
    chosen = by_rank(values)
    assert len(set(chosen.values())) == len(chosen) == min(len(RANKS), np.isfinite(values).sum())
    shown = [values[chosen[name]] for name in RANKS if name in chosen]
    assert np.isfinite(shown).all()
    assert shown == sorted(shown, reverse=True)


def test_the_ranks_are_those_named():
    values = np.random.default_rng(0).permutation(np.arange(101.0))
    assert {name: values[place] for name, place in by_rank(values).items()} == {"good": 95, "typical": 50, "bad": 5}


def test_the_best_and_the_worst_of_many_are_not_shown_as_good_and_bad():
    values = np.r_[1000.0, np.linspace(0, 1, 40), -1000.0]
    assert all(abs(values[place]) <= 1 for place in by_rank(values).values())


def test_a_neuron_whose_rates_diverged_is_a_bad_one():
    values = np.array([0.3, NAN, -np.inf, 0.1])
    assert by_rank(values) == {"good": 0, "typical": 3, "bad": 2}


def example(seed=0, n_trials=30, n_conditions=2):
    generator = np.random.default_rng(seed)
    number = np.arange(n_trials) % n_conditions
    expected = 0.2 + 0.1 * np.sin(np.arange(N_BINS) / 3 + number[:, None])
    counts = generator.poisson(expected)
    return Example(title="good: x, LP", counts=counts, expected=expected), number


def drawn(n_conditions=2, n_examples=1, **changes):
    one, number = example(n_conditions=n_conditions)
    one = replace(one, **changes)
    figure = examples_plot(
        eid="mouse",
        task="co_smoothing",
        examples=[one] * n_examples,
        conditions=[f"condition {c}" for c in range(n_conditions)],
        number=number,
        bin_size_s=BIN_SIZE_S,
        window_s=WINDOW_S,
        align_event="stimOn_times",
    )
    figure.canvas.draw()
    return figure, one, number


def test_trials_stand_condition_by_condition_in_both_maps():
    figure, one, number = drawn()
    order = [*np.flatnonzero(number == 0), *np.flatnonzero(number == 1)]
    observed, expected = (axes.images[0].get_array() for axes in figure.axes[:2])
    np.testing.assert_array_equal(observed, one.counts[order])
    np.testing.assert_allclose(expected, one.expected[order] / BIN_SIZE_S)


def smoothed(average):
    """(bin,) an average as it is drawn, in spikes per second."""
    return smooth(average[:, None], width_s=SMOOTHING_S, bin_size_s=BIN_SIZE_S)[:, 0] / BIN_SIZE_S


def test_averages_by_condition_are_observed_and_predicted_smoothed_alike_in_spikes_per_second():
    figure, one, number = drawn()
    lines = figure.axes[2].lines
    for condition in (0, 1):
        for line, values in zip(lines[2 * condition :], (one.counts, one.expected), strict=False):
            np.testing.assert_allclose(line.get_ydata(), smoothed(values[number == condition].mean(axis=0)))
    assert lines[1].get_linestyle() == "--"
    assert figure.axes[2].get_xlabel() == "time from stimulus onset (s)"


def test_of_a_task_that_predicts_the_end_the_bins_before_are_marked_as_seen():
    expected = np.where(np.arange(N_BINS) < N_BINS - 2, NAN, example()[0].expected)
    figure, one, number = drawn(expected=expected)
    n_shown = 2 * (SEEN_BEFORE + 1)
    observed, predicted = (axes.images[0] for axes in figure.axes[:2])
    np.testing.assert_array_equal(observed.get_array(), one.counts[np.argsort(number, kind="stable"), -n_shown:])
    assert np.isnan(np.ma.filled(predicted.get_array(), NAN)[:, :-2]).all()
    assert observed.get_extent()[:2] == pytest.approx([WINDOW_S[1] - n_shown * BIN_SIZE_S, WINDOW_S[1]])
    for axes in figure.axes[:3]:
        assert WINDOW_S[1] - 2 * BIN_SIZE_S in [pytest.approx(np.ravel(line.get_xdata())[0]) for line in axes.lines]
    assert "hidden from here on" in legend(figure)
    hidden = one.counts[number == 0].mean(axis=0)[-2:]  # what was seen is not smoothed into it
    np.testing.assert_allclose(figure.axes[2].lines[0].get_ydata()[-2:], smoothed(hidden))


@pytest.mark.parametrize("bad", [NAN, np.inf])
def test_a_neuron_of_which_nothing_finite_is_predicted_is_drawn(bad):
    figure, *_ = drawn(expected=np.full((30, N_BINS), bad))
    assert np.isfinite(figure.axes[1].images[0].get_clim()).all()


def test_each_task_is_named_as_everywhere():
    one, number = example()
    for task, title in TASK_TITLES.items():
        figure = examples_plot(
            eid="mouse",
            task=task,
            examples=[one],
            conditions=["a", "b"],
            number=number,
            bin_size_s=BIN_SIZE_S,
            window_s=WINDOW_S,
        )
        assert f"rank in {title}, 30 test trials" in figure.get_suptitle()


def test_a_constant_prediction_is_grey_and_the_highest_rates_are_within_the_scale():
    figure, one, number = drawn()
    assert figure.axes[1].images[0].get_clim()[1] >= np.percentile(one.expected, 99.9) / BIN_SIZE_S
    constant = replace(one, expected=np.full_like(one.expected, 0.3))
    options = {
        "task": "co_smoothing",
        "conditions": ["a", "b"],
        "number": number,
        "bin_size_s": BIN_SIZE_S,
        "window_s": WINDOW_S,
    }
    image = examples_plot(eid="mouse", examples=[constant], **options).axes[1].images[0]
    np.testing.assert_allclose(image.norm(image.get_array()), 0.5)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_legend_names_conditions_with_their_trials_and_no_more_than_can_be_told_apart():
    assert legend(drawn()[0])[:2] == ["condition 0 (15 trials)", "condition 1 (15 trials)"]
    many = legend(drawn(n_conditions=7)[0])
    assert sum(name.startswith("condition") for name in many) == MOST_CONDITIONS
    assert "other conditions" in many


def test_a_column_a_neuron():
    assert len(drawn(n_examples=3)[0].axes) == 3 * (3 + 1)  # and a colour bar each


def scores(n_neurons=40, seed=0):
    """Task -> (neuron,) bits per spike, and (neuron,) firing rates."""
    generator = np.random.default_rng(seed)
    return {task: generator.random(n_neurons) for task in TASK_TITLES}, generator.random(n_neurons)


def test_every_neuron_with_a_score_stands_at_its_firing_rate():
    bps, rate_hz = scores(n_neurons=45)
    bps["inter_region"][3] = NAN
    figure = firing_rates_plot(bps, rate_hz)
    figure.canvas.draw()
    points = figure.axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points[:, 0], rate_hz)
    np.testing.assert_allclose(points[:, 1], bps["co_smoothing"].clip(*figure.axes[0].get_ylim()))
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes] == [45, 45, 45, 44]
    assert "44 neurons" in figure.axes[3].get_title()


def test_the_median_is_of_equal_groups_of_similar_rate():
    step = np.arange(40) // (40 // N_GROUPS) / 10
    figure = firing_rates_plot(scores()[0] | {"co_smoothing": step}, np.logspace(-1, 2, 40))
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), np.arange(N_GROUPS) / 10)


@pytest.mark.parametrize("n_neurons", [1, 3])
def test_few_neurons_or_none_with_a_score_are_drawn(n_neurons):
    nothing = np.full(n_neurons, NAN)
    for bps, rate_hz in (scores(n_neurons), (dict.fromkeys(TASK_TITLES, nothing), nothing)):
        firing_rates_plot(bps, rate_hz).canvas.draw()

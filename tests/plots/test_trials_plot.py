"""Single trials: what is a spike, what is predicted, and what the model saw."""

import numpy as np
import pytest
from matplotlib.colors import to_rgba

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.ordering import NeuronOrder
from neuromtm.plots.style import ACCENT, EMPTY, OBSERVED
from neuromtm.plots.trials import FOLDS, TrialExample, trials_plot

N_BINS, BIN_SIZE_S, WINDOW_S = 20, 0.02, (-0.1, 0.3)
REGIONS = ["LP", "CA1", "CA1", "LP", "CA1"]
ORDER = NeuronOrder(np.array([4, 2, 1, 3, 0]), "in an order")
MEAN = np.array([0.1, 0.2, 0.4, 0.1, 0.3])
NAN = float("nan")


def example(seed=0):
    generator = np.random.default_rng(seed)
    rates = MEAN * np.exp(generator.normal(size=(N_BINS, len(MEAN))))
    future = np.where(np.arange(N_BINS)[:, None] < N_BINS - 2, NAN, rates)
    known = np.where(np.arange(len(MEAN)) == 3, NAN, rates)
    return TrialExample(
        title=f"trial {seed}",
        counts=generator.poisson(rates),
        predicted=dict(zip(TASK_TITLES, (rates, future, known, known), strict=True)),
    )


def draw(examples):
    figure = trials_plot(
        title="mouse-1",
        examples=examples,
        mean_counts=MEAN,
        regions=REGIONS,
        order=ORDER,
        bin_size_s=BIN_SIZE_S,
        window_s=WINDOW_S,
        align_event="stimOn_times",
    )
    figure.canvas.draw()
    return figure


@pytest.fixture(scope="module")
def drawn():
    return draw([example(0), example(1)])


def test_a_row_a_trial_and_a_column_for_the_spikes_each_task_and_the_mean(drawn):
    assert len(drawn.axes) == 2 * (1 + 4 + 1) + 1  # and the colour bar
    assert [axes.get_title() for axes in drawn.axes[:6]] == [
        "observed spikes",
        *TASK_TITLES.values(),
        "mean over neurons",
    ]
    assert [drawn.axes[i].get_ylabel() for i in (0, 6)] == ["trial 0", "trial 1"]


def test_the_spikes_are_as_recorded_in_the_given_order(drawn):
    for i, seed in ((0, 0), (6, 1)):
        image = drawn.axes[i].images[0]
        np.testing.assert_array_equal(image.get_array(), example(seed).counts.T[ORDER.places])
        assert image.get_extent() == [*WINDOW_S, len(MEAN), 0]


def test_a_prediction_is_a_multiple_of_the_neurons_own_mean_on_one_scale_of_octaves(drawn):
    expected = np.log2(example(0).predicted["co_smoothing"] / MEAN)
    image = drawn.axes[1].images[0]
    np.testing.assert_allclose(image.get_array(), expected.T[ORDER.places])
    assert {axes.images[-1].get_clim() for axes in drawn.axes[1:5]} == {(-np.log2(FOLDS), np.log2(FOLDS))}
    assert [label.get_text() for label in drawn.axes[-1].get_yticklabels()] == ["1/4", "1/2", "1", "2", "4"]


def test_of_forward_prediction_the_seen_bins_show_the_spikes_and_a_line_where_they_end(drawn):
    seen, predicted = (np.ma.filled(image.get_array().astype(float), NAN) for image in drawn.axes[2].images)
    np.testing.assert_array_equal(seen[:, :-2], example(0).counts.T[ORDER.places][:, :-2])
    assert np.isnan(seen[:, -2:]).all()
    assert np.isnan(predicted[:, :-2]).all()
    assert np.isfinite(predicted[:, -2:]).all()
    (line,) = drawn.axes[2].lines
    assert line.get_xdata()[0] == pytest.approx(WINDOW_S[1] - 2 * BIN_SIZE_S)


def test_a_neuron_that_a_task_does_not_predict_is_empty(drawn):
    (image,) = drawn.axes[3].images
    row = list(ORDER.places).index(3)
    assert np.ma.getmaskarray(np.ma.masked_invalid(image.get_array()))[row].all()
    assert drawn.axes[3].get_facecolor() == to_rgba(EMPTY)


def test_the_means_are_of_all_neurons_in_spikes_per_second(drawn):
    observed, predicted = drawn.axes[5].lines
    np.testing.assert_allclose(observed.get_ydata(), example(0).counts.mean(axis=1) / BIN_SIZE_S)
    np.testing.assert_allclose(predicted.get_ydata(), example(0).predicted["co_smoothing"].mean(axis=1) / BIN_SIZE_S)
    assert (observed.get_color(), predicted.get_color()) == (OBSERVED, ACCENT)
    assert drawn.axes[5].get_ylabel() == "spikes/s"
    assert drawn.axes[-2].get_xlabel() == "time from stimulus onset (s)"


def test_the_legend_has_the_shades_of_the_spikes_and_the_lines(drawn):
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert texts == [
        "1 spike",
        "2",
        "3 or more in a bin of 20 ms",
        "mean over neurons: observed",
        "predicted (co-smoothing)",
    ]
    shades = [patch.get_facecolor() for patch in drawn.legends[0].get_patches()]
    image = drawn.axes[0].images[0]
    assert shades == [image.cmap(image.norm(n)) for n in (1, 2, 3)]
    assert image.norm(7) == 1


def test_the_means_of_all_trials_are_on_one_scale_from_zero(drawn):
    (limits,) = {drawn.axes[i].get_ylim() for i in (5, 11)}
    assert limits[0] == 0


def test_regions_are_named_and_parted(drawn):
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == ["CA1", "LP"]
    assert [line[0][1] for line in drawn.axes[0].collections[0].get_segments()] == [3]


@pytest.mark.parametrize("value", [0.0, np.inf, NAN])
def test_trials_of_which_nothing_finite_is_predicted_are_drawn(value):
    one = example()
    nothing = {task: np.full_like(rates, value) for task, rates in one.predicted.items()}
    draw([TrialExample(title="x", counts=one.counts, predicted=nothing)])

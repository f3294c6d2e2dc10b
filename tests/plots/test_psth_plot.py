"""Averages by condition show the recorded spread and the prediction, and selective neurons are found."""

import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from neuromtm.plots.psth import PsthPanel, psth_plot, selectivity
from neuromtm.plots.style import CONDITIONS

N_BINS, BIN_SIZE_S, WINDOW_S = 10, 0.02, (-0.1, 0.1)
NUMBER = np.array([0, 0, 0, 1, 1, 1, 1, -1, 2])


def panel(seed=0):
    generator = np.random.default_rng(seed)
    expected = generator.random((len(NUMBER), N_BINS))
    return PsthPanel(title=f"neuron {seed}", counts=generator.poisson(expected), expected=expected, number=NUMBER)


@pytest.fixture(scope="module")
def drawn():
    figure = psth_plot(
        {"one": [panel(0), panel(1)], "two": [panel(2)]},
        conditions=("left", "right", "none"),
        title="averages",
        bin_size_s=BIN_SIZE_S,
        window_s=WINDOW_S,
        align_event="stimOn_times",
    )
    figure.canvas.draw()
    return figure


def test_a_condition_has_its_recorded_and_its_predicted_average_in_its_colour(drawn):
    lines, one = drawn.axes[0].lines, panel(0)
    for condition in range(3):
        own = condition == NUMBER
        observed, predicted = lines[2 * condition : 2 * condition + 2]
        np.testing.assert_allclose(observed.get_ydata(), one.counts[own].mean(axis=0) / BIN_SIZE_S)
        np.testing.assert_allclose(predicted.get_ydata(), one.expected[own].mean(axis=0) / BIN_SIZE_S)
        assert observed.get_color() == predicted.get_color() == CONDITIONS(condition)
        assert predicted.get_linewidth() > observed.get_linewidth()
    np.testing.assert_allclose(lines[0].get_xdata(), WINDOW_S[0] + BIN_SIZE_S * (np.arange(N_BINS) + 0.5))


def test_the_band_is_a_standard_error_each_way_and_one_trial_has_none(drawn):
    bands = [found for found in drawn.axes[0].collections if isinstance(found, PolyCollection)]
    assert [to_hex(band.get_facecolor()[0][:3]) for band in bands] == [to_hex(CONDITIONS(i)) for i in (0, 1)]
    rates = panel(0).counts[NUMBER == 1] / BIN_SIZE_S
    error = rates.std(axis=0, ddof=1) / 2
    edges = bands[1].get_paths()[0].vertices[:, 1]
    assert edges.max() == pytest.approx((rates.mean(axis=0) + error).max())
    assert edges.min() == pytest.approx((rates.mean(axis=0) - error).min())


def test_rows_are_named_and_a_shorter_one_ends_early(drawn):
    assert [drawn.axes[i].get_ylabel() for i in (0, 2)] == ["one\nspikes/s", "two\nspikes/s"]
    assert [axes.get_visible() for axes in drawn.axes] == [True, True, True, False]
    assert drawn.axes[2].get_xlabel() == "time from stimulus onset (s)"


def test_the_lowest_visible_panel_of_a_column_has_the_axis_of_time(drawn):
    assert drawn.axes[1].get_xlabel() == "time from stimulus onset (s)"
    assert drawn.axes[1].xaxis.get_tick_params()["labelbottom"]
    assert drawn.axes[0].get_xlabel() == ""


def test_the_legend_names_the_conditions_the_band_and_the_line(drawn):
    texts = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert texts == ["left", "right", "none", "recorded, mean ± standard error", "predicted"]


def test_a_neuron_that_the_condition_settles_has_1_and_one_that_only_time_changes_has_0():
    number = np.array([0, 0, 1, 1, -1])
    counts = np.zeros((5, 4, 4))
    counts[:, :, 0] = np.where(number == 1, 3, 1)[:, None]
    counts[:, :, 1] = np.arange(4)
    counts[:, :, 2] = number[:, None] + [[0], [2], [0], [2], [50]]
    np.testing.assert_allclose(selectivity(counts, number), [1, 0, 1 / 5, 0])


def test_of_trials_without_a_condition_no_neuron_is_selective():
    assert (selectivity(np.ones((3, 4, 2)), np.full(3, -1)) == 0).all()

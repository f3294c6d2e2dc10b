"""The plot of a comparison shows every session or neuron that both runs score."""

import numpy as np

from neuromtm.plots.comparison import points_plot

TITLES = {"co": "co-smooth (bits/spike)", "choice": "choice accuracy", "whisker": "whisker R2"}


def test_a_panel_a_metric_says_how_many_sessions_lie_above_the_line():
    points = np.transpose([[0.1, 0.2, 0.3], [0.2, 0.1, 0.4]])
    figure = points_plot({"mtm": {"co": points}}, TITLES, reference="base", unit="session")
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.get_title() == "co-smooth (bits/spike)\n2 of 3 sessions above the line"
    np.testing.assert_allclose(axes.collections[0].get_offsets(), points)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("base", "mtm")


def test_a_metric_has_a_panel_if_any_run_shares_it_and_says_where_one_does_not():
    points = np.ones((2, 2))
    runs = {"a": {"whisker": points}, "b": {"co": points, "choice": points[:0]}}
    figure = points_plot(runs, TITLES, reference="base", unit="session")
    assert [axes.get_title().partition("\n")[0] for axes in figure.axes[:2]] == [TITLES["co"], TITLES["whisker"]]
    assert len(figure.axes) == 4
    assert figure.axes[0].get_title().endswith("no session scored by both")
    assert figure.axes[3].get_title() == "no session scored by both"
    framed = [axes.spines["left"].get_visible() for axes in figure.axes]
    assert framed == [False, True, True, False]  # no empty panel
    assert [axes.get_xlabel() for axes in figure.axes] == ["", "base", "base", ""]


def test_a_run_that_shares_no_metric_has_no_row():
    runs = {"a": {"co": np.ones((2, 2))}, "b": {"co": np.ones((0, 2))}, "c": {}}
    figure = points_plot(runs, TITLES, reference="base", unit="session")
    assert [axes.get_ylabel() for axes in figure.axes] == ["a"]


def test_without_anything_shared_the_plot_says_so():
    figure = points_plot({"a": {}}, TITLES, reference="base", unit="neuron")
    figure.canvas.draw()
    assert [axes.get_title() for axes in figure.axes] == ["co-smooth (bits/spike)\nno neuron scored by both"]


def test_every_neuron_is_shown_even_a_far_one():
    values = np.random.default_rng(0).normal(size=180)
    values[0] = 1000.0
    figure = points_plot({"mtm": {"co": np.stack([values, values], 1)}}, TITLES, reference="base", unit="neuron")
    figure.canvas.draw()
    points = figure.axes[0].collections[0].get_offsets()
    assert len(points) == 180
    low, high = figure.axes[0].get_xlim()
    assert high < 10
    assert ((points >= low) & (points <= high)).all()
    assert "outermost 1 %" in figure.get_suptitle()

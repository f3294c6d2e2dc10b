"""Trials are placed by their states alone, and coloured by what is known of them."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from neuromtm.plots.embedding import embedding_plot, principal_plane
from neuromtm.plots.style import CONDITIONS, DIFFERENCES, EMPTY


@pytest.fixture
def states():
    """Two variables of unequal size in a space of five dimensions, and a little noise."""
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(5, 2)))[0].T
    return rng.normal(size=(30, 2)) * (3, 1) @ axes + 7 + 0.01 * rng.normal(size=(30, 5))


def points_of(axes):
    return [found for found in axes.collections if isinstance(found, PathCollection) and len(found.get_offsets())]


def test_the_plane_keeps_the_distances_of_states_that_lie_in_one(states):
    places, shares = principal_plane(states)
    assert shares[0] > shares[1] > 0.05
    assert shares.sum() == pytest.approx(1, abs=1e-3)
    for of_two in ((0, 1), (5, 9)):
        assert np.linalg.norm(np.subtract(*places[[*of_two]])) == pytest.approx(
            np.linalg.norm(np.subtract(*states[[*of_two]])), rel=0.05
        )


def test_the_sign_of_a_component_does_not_depend_on_that_of_the_states(states):
    # the largest place in size is above 0, whatever an eigenvector's sign
    for one in (states, -states):
        places, _ = principal_plane(one)
        assert (places.max(axis=0) == np.abs(places).max(axis=0)).all()


@pytest.mark.parametrize("states", [np.ones((4, 3)), np.ones((1, 3)), np.arange(4.0)[:, None]])
def test_states_without_a_plane_have_places_still(states):
    places, shares = principal_plane(states)
    assert places.shape == (len(states), 2)
    assert (places[:, 1] == 0).all()
    assert shares[1] == 0


def test_texts_have_a_colour_and_a_number_each_and_every_trial_is_drawn_once(states):
    sides = np.array(["left", "right", "right"] * 10)
    figure = embedding_plot(states, {"side": sides}, title="trials")
    figure.canvas.draw()
    (axes,) = figure.axes
    left, right = points_of(axes)
    assert (len(left.get_offsets()), len(right.get_offsets())) == (10, 20)
    np.testing.assert_allclose(left.get_offsets(), principal_plane(states)[0][sides == "left"])
    assert tuple(left.get_facecolor()[0]) == CONDITIONS(0)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["left (10)", "right (20)"]


def test_zero_is_in_the_middle_of_the_colours_of_numbers_that_may_be_below_it_and_the_unknown_is_grey(states):
    contrast = np.linspace(-0.2, 1, 30)
    contrast[[3, 4]] = np.nan, 0
    figure = embedding_plot(states, {"contrast": contrast}, title="trials")
    figure.canvas.draw()
    unknown, known = points_of(figure.axes[0])
    np.testing.assert_allclose(unknown.get_facecolor(), [to_rgba(EMPTY)])
    colours = known.get_facecolor()
    assert len(colours) == 29
    assert tuple(colours[3]) == DIFFERENCES(0.5)
    assert tuple(colours[-1]) == DIFFERENCES(1.0)
    assert tuple(colours[0]) == DIFFERENCES(0.4)


def test_numbers_of_which_none_is_known_are_all_grey(states):
    figure = embedding_plot(states, {"unknown": np.full(30, np.nan)}, title="trials")
    figure.canvas.draw()
    (unknown,) = points_of(figure.axes[0])
    assert len(unknown.get_offsets()) == 30


def test_every_variable_has_a_panel_with_the_same_places(states):
    variables = {"side": np.array(["left", "right"] * 15), "spikes": np.arange(30)}
    figure = embedding_plot(states, variables, title="30 trials")
    figure.canvas.draw()
    panels = figure.axes[:2]
    assert [axes.get_title() for axes in panels] == ["side", "spikes"]
    assert panels[0].get_xlim() == panels[1].get_xlim()
    assert panels[0].get_xlabel().startswith("component 1 (")
    assert figure.get_suptitle() == "30 trials"

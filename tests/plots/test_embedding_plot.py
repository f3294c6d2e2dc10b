"""Trials are placed by their states alone, and coloured by what is known of them."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_rgba

from neuromtm.plots.embedding import embedding_plot, plane_along, principal_plane
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


def test_many_variables_stand_in_two_rows(states):
    figure = embedding_plot(states, {f"v{i}": np.arange(30) for i in range(5)}, title="x")
    figure.canvas.draw()
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_subplotspec().rowspan.start for axes in panels] == [0, 0, 0, 1, 1]
    assert [axes.get_ylabel().partition(" (")[0] for axes in (panels[0], panels[3])] == ["component 2"] * 2
    assert sum(not axes.get_visible() for axes in figure.axes) == 1


def test_trials_of_an_unknown_text_are_grey_and_take_no_colour_of_the_others(states):
    figure = embedding_plot(states, {"side": np.array(["left", "unknown", "right"] * 10)}, title="trials")
    figure.canvas.draw()
    unknown, left, right = points_of(figure.axes[0])
    assert tuple(unknown.get_facecolor()[0]) == to_rgba(EMPTY)
    assert [tuple(points.get_facecolor()[0]) for points in (left, right)] == [CONDITIONS(0), CONDITIONS(1)]


@pytest.mark.parametrize("length", [0.1, 20])
def test_a_given_direction_is_the_first_axis_and_the_second_is_at_right_angles_to_it(states, length):
    direction = length * np.array([1.0, 0, 0, 0, 0])
    places, shares = plane_along(direction, states)
    centred = states - states.mean(axis=0)
    np.testing.assert_allclose(places[:, 0], centred[:, 0])
    rest = principal_plane(centred[:, 1:])[0][:, 0]
    np.testing.assert_allclose(np.abs(places[:, 1]), np.abs(rest))
    assert shares[0] == pytest.approx(centred[:, 0].var() / centred.var(axis=0).sum())
    figure = embedding_plot(states, {"n": np.arange(30)}, title="x", direction=direction, direction_name="read-out")
    np.testing.assert_allclose(points_of(figure.axes[0])[-1].get_offsets(), places)
    assert figure.axes[0].get_xlabel() == f"read-out ({100 * shares[0]:.0f} % of variance)"


def test_a_share_below_one_percent_is_not_rounded_to_none(states):
    thin = states * (1, 1, 1, 1, 0) + np.outer(np.linspace(-1, 1, 30), [0, 0, 0, 0, 0.1])
    figure = embedding_plot(thin, {"n": np.arange(30)}, title="x", direction=np.array([0, 0, 0, 0, 1.0]))
    share = 100 * thin[:, 4].var() / thin.var(axis=0).sum()
    assert 0 < share < 0.5
    assert figure.axes[0].get_xlabel() == f"direction ({share:.1g} % of variance)"


def test_equal_states_have_no_variance_along_any_direction():
    places, shares = plane_along(np.ones(3), np.ones((4, 3)))
    assert (places == 0).all()
    assert (shares == 0).all()

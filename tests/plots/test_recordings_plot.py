import numpy as np
import pytest
from matplotlib.figure import Figure

from neuromtm.plots.recordings import (
    LOWEST_HZ,
    MOST_LEVELS,
    MOST_NAMED,
    Decisions,
    Stretch,
    choices_plot,
    drift_plot,
    places_plot,
    rates_plot,
    sizes_plot,
    traces_plot,
)


def drawn(figure: Figure) -> list:
    """Its panels that are seen, after a whole drawing."""
    figure.canvas.draw()
    return [axes for axes in figure.axes if axes.get_visible()]


def bars(axes) -> np.ndarray:
    return np.array([patch.get_width() for patch in axes.patches])


@pytest.mark.parametrize("n_sessions", [1, 3, MOST_NAMED + 20])
def test_every_session_has_a_bar_of_its_trials_and_neurons(n_sessions):
    names = [f"$s_{n}$" for n in range(n_sessions)]
    trials = {"train": np.arange(n_sessions) + 7, "val": np.full(n_sessions, 1), "test": np.full(n_sessions, 2)}
    roles = ["heldout" if n == 1 else "pretrain" for n in range(n_sessions)]
    left, right = drawn(sizes_plot(names, roles=roles, trials=trials, neurons=np.arange(n_sessions) + 20))
    np.testing.assert_array_equal(bars(left), np.concatenate(list(trials.values())))
    np.testing.assert_array_equal(bars(right)[:n_sessions], np.arange(n_sessions) + 20)
    shown = [label.get_text() for label in left.get_yticklabels()]
    assert shown == (names if n_sessions <= MOST_NAMED else [])
    assert left.get_ylim() == right.get_ylim()


def test_a_silent_neuron_has_a_place_on_the_axis_of_rates():
    left, right = drawn(rates_plot(["a", "b"], [np.array([0.0, 3.0]), np.array([50.0])], roles=["pretrain", "heldout"]))
    for axes in (left, right):
        low, high = axes.get_xlim()
        assert low < LOWEST_HZ
        assert high > 50
    assert sum(patch.get_height() for patch in right.patches) == 3


def test_trials_are_drawn_over_time_whatever_their_order():
    time_s = np.array([180.0, 60.0, 120.0, 240.0])
    split = np.array(["train", "val", "test", "train"])
    plot = drift_plot(
        [Stretch("a", time_s, time_s / 60, split, True), Stretch("b", np.arange(4.0), time_s, split, False)]
    )
    first, second = drawn(plot)
    lines = {line.get_label(): line for line in first.lines}
    np.testing.assert_array_equal(lines["val"].get_xdata(), [1])
    np.testing.assert_array_equal(lines["train"].get_xdata(), [3, 4])
    np.testing.assert_array_equal(lines["running mean"].get_xdata(), [1, 2, 3, 4])
    assert "min" in first.get_xlabel()
    assert "row" in second.get_xlabel()


def test_neurons_of_unknown_place_do_not_press_the_other_regions_together():
    neurons = {"pretrain": np.array([900, 20, 5]), "heldout": np.array([100, 0, 5])}
    left, _ = drawn(places_plot(["root", "CA1", "VISp"], neurons=neurons, rates_hz=[np.ones(3)] * 3))
    assert left.get_xlim()[1] < 30
    assert {text.get_text() for text in left.texts} >= {"20", "10"}
    assert any("1000" in text.get_text() for text in left.texts)


def test_unplaced_neurons_alone_fill_the_axis():
    left, _ = drawn(places_plot(["void"], neurons={"pretrain": np.array([40])}, rates_hz=[np.ones(40)]))
    assert left.get_xlim()[1] > 40


def test_choices_are_shares_of_the_known_ones_at_each_contrast():
    one = Decisions(np.array([-1, -1, -1, 0, 1, np.nan]), np.array([-1, 1, 0, 0, 1, 1]))
    left, right = drawn(choices_plot([one]))
    of_all = next(line for line in left.lines if line.get_marker() == "o")
    np.testing.assert_array_equal(of_all.get_xdata(), [-1, 0, 1])
    np.testing.assert_array_equal(of_all.get_ydata(), [0.5, np.nan, 1.0])
    assert sum(patch.get_height() for patch in right.patches) == 5


def test_many_contrasts_are_drawn_in_steps():
    contrast = np.linspace(-1, 1, 200)
    left, right = drawn(choices_plot([Decisions(contrast, np.sign(contrast))]))
    assert len(left.lines[0].get_xdata()) == MOST_LEVELS
    assert sum(patch.get_height() for patch in right.patches) == 200


def test_without_a_contrast_there_is_no_plot_of_choices():
    assert choices_plot([Decisions(np.full(3, np.nan), np.ones(3))]) is None


def test_sessions_of_other_bins_have_no_common_mean():
    long, short = np.arange(10) / 10, np.arange(5) / 10
    plot = traces_plot({"same": [(long, long), (long, 3 * long)], "other": [(long, long), (short, short)]})
    same, other = drawn(plot)
    np.testing.assert_allclose(same.lines[2].get_ydata(), 2 * long)
    assert len(other.lines) == 2

"""Plots show what they say: order, scale, marks, labels."""

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.ordering import NeuronOrder, neuron_order
from neuromtm.plots.style import DISTINCT, SMOOTHING_S
from neuromtm.plots.tasks import (
    TaskPanel,
    scores_plot,
    task_plot,
    time_label,
)
from neuromtm.smoothing import smooth

REGIONS = ["LP", "CA1", "root", "CA1", "LP", "CA1", "LP", "CA1"]
N_BINS, N_NEURONS, BIN_SIZE_S, WINDOW_S = 40, 8, 0.05, (-0.5, 1.5)


def trial(seed=0):
    """True rates per bin and counts, (bin, neuron)."""
    generator = np.random.default_rng(seed)
    phase = np.linspace(0, 2 * np.pi, N_NEURONS, endpoint=False)
    rates = np.exp(np.sin(np.arange(N_BINS)[:, None] / 6 + phase)) * np.linspace(0.2, 2, N_NEURONS)
    return rates, generator.poisson(rates)


def panels():
    rates, _ = trial()
    future, known = np.full_like(rates, np.nan), rates.copy()
    future[-4:] = rates[-4:]
    known[:, 2] = np.nan  # the neuron of unknown region
    return [
        TaskPanel(task="co_smoothing", predicted=rates, bps=0.552),
        TaskPanel(task="forward_prediction", predicted=future, bps=-0.1),
        TaskPanel(task="intra_region", predicted=known, bps=None),
        TaskPanel(task="inter_region", predicted=known, bps=0.2),
    ]


ORDER = NeuronOrder(np.array([7, 5, 3, 1, 0, 4, 6, 2]), "in an order")


@pytest.fixture(scope="module")
def drawn():
    figure = task_plot(
        eid="mouse-1",
        counts=trial()[1],
        regions=REGIONS,
        panels=panels(),
        order=ORDER,
        bin_size_s=BIN_SIZE_S,
        window_s=WINDOW_S,
        align_event="stimOn_times",
        shown="one test trial",
    )
    figure.canvas.draw()
    return figure


def texts(axes):
    return " ".join(text.get_text() for text in axes.texts)


def test_a_plot_is_drawn_without_pyplot(drawn):
    assert isinstance(drawn.canvas, FigureCanvasAgg)
    assert "mouse-1: 8 neurons, one test trial; within a region in an order" in drawn.get_suptitle()
    pyplot = getattr(matplotlib, "pyplot", None)
    assert pyplot is None or not pyplot.get_fignums()


def test_there_is_a_map_and_a_mean_for_the_counts_and_each_task(drawn):
    assert len(drawn.axes) == 2 * 5 + 1  # and the colour bar
    titles = [axes.get_title() for axes in drawn.axes[:5]]
    assert titles == [
        "observed\ncounts, smoothed (40 ms)",
        "co-smoothing: 0.55 bits/spike\neach neuron hidden in turn",
        "forward prediction: -0.10 bits/spike\nthe last 200 ms hidden",
        "intra-region: no score\nother regions and each neuron hidden",
        "inter-region: 0.20 bits/spike\neach region hidden in turn",
    ]


def test_all_maps_share_one_colour_scale_in_spikes_per_second(drawn):
    scales = {(image.norm.vmin, image.norm.vmax) for axes in drawn.axes[:5] for image in axes.images}
    assert len(scales) == 1
    assert drawn.axes[-1].get_ylabel().startswith("spikes/s")
    rates, _ = trial()
    np.testing.assert_allclose(drawn.axes[1].images[0].get_array(), (rates / BIN_SIZE_S).T[ORDER.places])


def test_time_is_in_seconds_from_the_event(drawn):
    for axes in drawn.axes[:5]:
        assert axes.images[-1].get_extent() == [*WINDOW_S, N_NEURONS, 0]
    assert {axes.get_xlabel() for axes in drawn.axes[5:10]} == {"time from stimulus onset (s)"}


def test_regions_are_named_with_their_numbers_of_neurons_and_separated(drawn):
    labels = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert sorted(labels) == ["CA1 (4)", "LP (3)", "root (1)"]
    lines = drawn.axes[0].collections[0].get_segments()
    assert [line[0][1] for line in lines] == [4, 7]


def test_the_hidden_future_is_marked_and_what_was_seen_is_grey(drawn):
    forward = drawn.axes[2]
    assert "seen (grey)" in texts(forward)
    assert WINDOW_S[1] - 4 * BIN_SIZE_S in [pytest.approx(line.get_xdata()[0]) for line in forward.lines]
    seen, predicted = (np.ma.masked_invalid(image.get_array()) for image in forward.images)
    assert (seen.mask == ~np.broadcast_to(np.arange(N_BINS) < 36, seen.shape)).all()
    assert (predicted.mask == ~seen.mask).all()
    assert all("seen" not in texts(drawn.axes[i]) for i in (0, 1, 3, 4))


def test_the_means_below_are_over_the_neurons_that_the_task_predicts(drawn):
    observed, predicted = (line.get_ydata() for line in drawn.axes[8].lines[:2])
    rates, counts = trial()
    known = np.arange(N_NEURONS) != 2
    np.testing.assert_allclose(predicted, rates[:, known].mean(axis=1) / BIN_SIZE_S)
    np.testing.assert_allclose(observed, counts[:, known].mean(axis=1) / BIN_SIZE_S)


def test_the_map_of_the_counts_is_smoothed_as_its_title_says(drawn):
    smoothed = smooth(trial()[1], width_s=SMOOTHING_S, bin_size_s=BIN_SIZE_S) / BIN_SIZE_S
    np.testing.assert_allclose(drawn.axes[0].images[0].get_array(), smoothed.T[ORDER.places])


def test_the_event_is_called_what_it_is_and_an_unknown_one_by_its_name():
    assert time_label("goCue_times") == "time from the go cue (s)"
    assert time_label("lick") == "time from lick (s)"


def test_the_legend_lies_over_no_panel(drawn):
    box = drawn.legends[0].get_window_extent()
    assert not any(axes.legend_ for axes in drawn.axes)
    assert all(box.y1 <= axes.get_window_extent().y0 for axes in drawn.axes)


def test_no_two_regions_have_akin_colours():
    lab = np.array([cielab(colour) for colour in DISTINCT])
    distance = np.linalg.norm(lab[:, None] - lab, axis=2)
    assert distance[~np.eye(len(lab), dtype=bool)].min() > 25


def cielab(colour):
    rgb = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]] @ linear / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def draw_session(regions, *, bad=np.nan):
    """The tasks' plot of silent neurons in such regions, of which the model predicts nothing but `bad`."""
    counts = np.zeros((2, N_BINS, len(regions)))
    figure = task_plot(
        eid="x",
        counts=counts[0],
        regions=regions,
        panels=[TaskPanel(task=task, predicted=np.full_like(counts[0], bad), bps=None) for task in TASK_TITLES],
        order=neuron_order(counts, regions, bin_size_s=BIN_SIZE_S),
        bin_size_s=BIN_SIZE_S,
        window_s=(0.0, 2.0),
    )
    figure.canvas.draw()
    return figure


LONG = [f"VISp{i:02d}-layer-2/3-with-a-long-name" for i in range(15)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "regions",
    [["root"], ["root"] * 2, LONG, [*LONG[:14], *["root"] * 1686]],
    ids=["one neuron", "one region", "a neuron a region", "1700 neurons"],
)
def test_sessions_of_any_size_without_a_prediction_are_drawn(regions, bad):
    figure = draw_session(regions, bad=bad)
    assert len(figure.axes) == 2 * 5 + 1
    assert np.isfinite(figure.axes[0].images[0].norm.vmax)
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    tops, bottoms = sorted(box.y1 for box in boxes), sorted(box.y0 for box in boxes)
    assert all(top <= bottom + 1 for top, bottom in zip(tops, bottoms[1:], strict=False))  # none over another
    assert all(box.x0 >= 0 for box in boxes)


# ---- scores ----


def scores(n_neurons, seed=0):
    """Task -> (neuron,) bits per spike."""
    generator = np.random.default_rng(seed)
    return {task: generator.normal(0.5, 0.3, n_neurons) for task in TASK_TITLES}


def test_the_scores_show_median_and_mean_of_each_task_and_every_region():
    both, regions = scores(10), np.array([*REGIONS, "CA1", "VISp"])
    figure = scores_plot(both, regions, whose="2 sessions")
    figure.canvas.draw()
    assert len(figure.axes) == 8
    for axes, (task, values) in zip(figure.axes, both.items(), strict=False):
        assert axes.get_title() == (
            f"{TASK_TITLES[task]}\nmedian {np.median(values):.2f}, mean {values.mean():.2f}\n"
            f"{100 * (values < 0).mean():.0f} % of 10 neurons below 0"
        )
    assert {axes.get_xlim() for axes in figure.axes} == {figure.axes[0].get_xlim()}
    labels = [label.get_text() for label in figure.axes[4].get_yticklabels()]
    assert labels == ["CA1 (5)", "LP (3)", "VISp (1)", "root (1)"]
    assert {axes.get_xlabel() for axes in figure.axes[4:]} == {"bits per spike"}
    assert "2 sessions: 10 neurons" in figure.get_suptitle()


def test_every_scored_neuron_is_in_the_histogram_even_far_ones():
    far = np.array([-50.0, -50.0, 0.1, 0.2, 0.3, 0.4, 0.5, np.nan])
    figure = scores_plot(scores(8) | {"inter_region": far}, np.array(REGIONS), whose="a")
    assert sum(bar.get_height() for bar in figure.axes[3].patches) == 7


def test_scores_without_any_neuron_in_a_task_say_so():
    figure = scores_plot(dict.fromkeys(TASK_TITLES, np.full(8, np.nan)), np.array(REGIONS), whose="a")
    figure.canvas.draw()
    assert all("no neuron scored" in axes.get_title() for axes in figure.axes[:4])


def test_neurons_whose_rates_diverged_are_at_the_lower_end_and_below_0():
    diverged = np.array([-np.inf, -np.inf, *[0.5] * 6])
    figure = scores_plot(scores(8) | {"intra_region": diverged}, np.array(REGIONS), whose="a")
    figure.canvas.draw()
    assert "25 % of 8 neurons below 0" in figure.axes[2].get_title()
    assert next(bar.get_height() for bar in figure.axes[2].patches if bar.get_height()) == 2


@pytest.mark.parametrize("regions", [["root"], LONG, LONG * 113], ids=["one neuron", "15 regions", "1695 neurons"])
def test_scores_of_sessions_of_any_size_are_drawn(regions):
    figure = scores_plot(scores(len(regions)), np.array(regions), whose="a")
    figure.canvas.draw()
    assert len(figure.axes[4].get_yticklabels()) == len(set(regions))
    assert all(label.get_window_extent().x0 >= 0 for label in figure.axes[4].get_yticklabels())

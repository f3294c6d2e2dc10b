"""Figures show what they say: order, scale, marks, labels."""

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from neuromtm.evaluation.figures import (
    SMOOTHING_S,
    TITLES,
    TaskPanel,
    neuron_order,
    scores_figure,
    similarity_order,
    smooth,
    task_figure,
)
from neuromtm.evaluation.report import NEURON_COLUMNS, NeuronScores

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


@pytest.fixture(scope="module")
def drawn():
    figure = task_figure(
        eid="mouse-1",
        counts=trial()[1],
        regions=REGIONS,
        panels=panels(),
        bin_size_s=BIN_SIZE_S,
        window_s=WINDOW_S,
        align_event="stimulus onset",
        shown="one test trial",
    )
    figure.canvas.draw()
    return figure


def texts(axes):
    return " ".join(text.get_text() for text in axes.texts)


def test_a_figure_is_drawn_without_pyplot(drawn):
    assert isinstance(drawn.canvas, FigureCanvasAgg)
    assert "mouse-1: 8 neurons, one test trial" in drawn.get_suptitle()
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
    order = neuron_order(smooth(trial()[1], BIN_SIZE_S), REGIONS)
    np.testing.assert_allclose(drawn.axes[1].images[0].get_array(), (rates / BIN_SIZE_S).T[order])


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
    np.testing.assert_allclose(observed, smooth(counts, BIN_SIZE_S)[:, known].mean(axis=1) / BIN_SIZE_S)


@pytest.mark.parametrize("n_neurons", [1, 2])
def test_the_smallest_sessions_and_tasks_without_a_prediction_are_drawn(n_neurons):
    panel = TaskPanel(task="inter_region", predicted=np.full((N_BINS, n_neurons), np.nan), bps=None)
    figure = task_figure(
        eid="x",
        counts=np.zeros((N_BINS, n_neurons)),
        regions=["root"] * n_neurons,
        panels=[panel],
        bin_size_s=BIN_SIZE_S,
        window_s=(0.0, 2.0),
    )
    figure.canvas.draw()
    assert len(figure.axes) == 5


# ---- order and smoothing ----


@given(seed=st.integers(0, 1000), n_neurons=st.integers(1, 20))
def test_the_order_names_every_neuron_once_region_by_region(seed, n_neurons):
    generator = np.random.default_rng(seed)
    regions = generator.choice(["CA1", "LP", "VISp"], n_neurons).tolist()
    order = neuron_order(generator.poisson(0.3, (15, n_neurons)).astype(float), regions)
    assert sorted(order) == list(range(n_neurons))
    assert [regions[i] for i in order] == sorted(regions)


@given(shuffle=st.permutations(range(12)))
@settings(max_examples=20)
def test_neurons_that_follow_each_other_in_phase_stand_side_by_side(shuffle):
    phase = 2 * np.pi * np.arange(12) / 12
    activity = (np.sin(np.linspace(0, 6 * np.pi, 90)[:, None] + phase) + 1) * np.arange(1, 13)
    order = np.asarray(shuffle)[similarity_order(activity[:, shuffle])]
    assert (np.isin(np.diff(order) % 12, (1, 11))).all()


def test_smoothing_keeps_a_constant_and_spreads_a_spike_by_its_width():
    np.testing.assert_allclose(smooth(np.full((30, 2), 0.7), 0.02), 0.7)
    spike = np.zeros((101, 1))
    spike[50] = 1
    spread = smooth(spike, 0.005)[:, 0]
    time_s = 0.005 * (np.arange(101) - 50)
    assert spread.sum() == pytest.approx(1, rel=1e-3)
    assert np.sqrt((spread * time_s**2).sum()) == pytest.approx(SMOOTHING_S, rel=1e-2)


# ---- scores ----


def scores(eid, regions, seed=0, **figures):
    generator = np.random.default_rng(seed)
    names = NEURON_COLUMNS[3:]
    values = {name: torch.from_numpy(generator.normal(0.5, 0.3, len(regions))) for name in names}
    return NeuronScores(
        eid=eid, uuid=tuple(f"{eid}-{i}" for i in range(len(regions))), region=tuple(regions), **(values | figures)
    )


def test_the_scores_show_median_and_mean_of_each_task_and_every_region():
    figure = scores_figure([scores("a", REGIONS), scores("b", ["CA1", "VISp"], seed=1)])
    figure.canvas.draw()
    assert len(figure.axes) == 8
    both = torch.cat([scores("a", REGIONS).co_smoothing_bps, scores("b", ["CA1", "VISp"], seed=1).co_smoothing_bps])
    title = figure.axes[0].get_title()
    assert title == f"co-smoothing\nmedian {np.median(both):.2f}, mean {both.mean():.2f} (10 neurons)"
    labels = [label.get_text() for label in figure.axes[4].get_yticklabels()]
    assert labels == ["CA1 (5)", "LP (3)", "VISp (1)", "root (1)"]
    assert {axes.get_xlabel() for axes in figure.axes[4:]} == {"bits per spike"}
    assert "2 sessions: 10 neurons" in figure.get_suptitle()


def test_every_scored_neuron_is_in_the_histogram_even_far_ones():
    far = torch.full((8,), -50.0, dtype=torch.float64)
    far[2:] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, float("nan")])
    figure = scores_figure([scores("a", REGIONS, inter_region_bps=far)])
    assert sum(bar.get_height() for bar in figure.axes[3].patches) == 7


def test_scores_without_any_neuron_in_a_task_say_so():
    nothing = torch.full((8,), float("nan"), dtype=torch.float64)
    figure = scores_figure([scores("a", REGIONS, **{f"{task}_bps": nothing for task in TITLES})])
    figure.canvas.draw()
    assert all("no neuron scored" in axes.get_title() for axes in figure.axes[:4])

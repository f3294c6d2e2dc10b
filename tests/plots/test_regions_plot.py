"""The means of regions are drawn with their intervals."""

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection

from neuromtm.metrics.keys import TASK_TITLES
from neuromtm.plots.regions import MOST_COLOURED, Means, regions_plot


def means(regions, seed=0, without_interval=()):
    """Of each of these regions; those of few neurons have no interval."""
    middle = np.random.default_rng(seed).normal(0.3, 0.1, len(regions))
    alone = np.isin(regions, without_interval)
    return Means(regions, middle, np.where(alone, np.nan, middle - 0.1), np.where(alone, np.nan, middle + 0.1))


def every_task(of):
    return dict.fromkeys(TASK_TITLES, of)


def points_of(axes):
    return [collection for collection in axes.collections if isinstance(collection, PathCollection)]


def test_every_region_of_every_session_has_a_point_and_an_interval_in_each_task():
    first, second, other = means(["CA1", "LP"]), means(["LP"], seed=1), means(["CA1", "LP"], seed=2)
    figure = regions_plot({"a": every_task(first) | {"inter_region": other}, "b": every_task(second)})
    figure.canvas.draw()
    assert len(figure.axes) == 4
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["CA1", "LP"]
    for axes, drawn in ((figure.axes[0], (first, second)), (figure.axes[3], (other, second))):
        points = np.concatenate([one.get_offsets() for one in points_of(axes)])
        np.testing.assert_allclose(points[:, 0], np.concatenate([one.mean for one in drawn]))
        np.testing.assert_array_equal(np.round(points[:, 1]), [0, 1, 1])
        lines = [c for c in axes.collections if isinstance(c, LineCollection)]
        ends = {tuple(segment[:, 0]) for line in lines for segment in line.get_segments()}
        assert {end for one in drawn for end in zip(one.low, one.high, strict=True)} <= ends
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_a_mean_of_too_few_neurons_is_hollow():
    figure = regions_plot({"a": every_task(means(["CA1", "LP"], without_interval=["CA1"]))})
    (points,) = points_of(figure.axes[0])
    assert points.get_facecolors()[0].tolist() == [1, 1, 1, 1]
    assert points.get_facecolors()[1].tolist() != [1, 1, 1, 1]


def test_a_task_that_a_session_does_not_have_is_left_empty():
    figure = regions_plot({"a": {"co_smoothing": means(["LP"])}})
    assert [len(points_of(axes)) for axes in figure.axes] == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("eids", "regions"),
    [
        (["a"], ["LP"]),
        (["a"], [f"REGION{i:02d}-with-a-long-name" for i in range(15)]),
        ([f"session-{i}" for i in range(MOST_COLOURED + 5)], ["LP", "CA1"]),
        ([], []),
    ],
    ids=["one", "fifteen", "many sessions", "none"],
)
def test_regions_of_any_number_are_drawn(eids, regions):
    figure = regions_plot({eid: every_task(means(regions)) for eid in eids})
    figure.canvas.draw()
    assert bool(figure.legends) == (1 < len(eids) <= MOST_COLOURED)
    assert figure.get_size_inches()[1] < 30


def test_many_sessions_of_many_regions_stay_within_a_largest_height():
    names = [f"region {n}" for n in range(100)]
    few, many = (regions_plot({f"s{n}": {"co_smoothing": means(names)} for n in range(n_eids)}) for n_eids in (2, 12))
    assert few.get_figheight() == pytest.approx(1.8 + 0.3 * 100)
    assert many.get_figheight() == pytest.approx(1.8 + 60)

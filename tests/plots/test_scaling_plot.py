"""The plot of the scaling curve shows every point, interval and line that it is given."""

import numpy as np

from neuromtm.plots.scaling import Points, ScalingPanel, scaling_plot

X = np.array([1.0, 4.0, 34.0])
MEAN = np.array([0.1, 0.2, 0.3])


def points(**more):
    return Points(x=X, mean=MEAN, low=MEAN - 0.02, high=MEAN + 0.02, **more)


def test_points_stand_at_their_numbers_of_sessions_with_their_intervals():
    figure = scaling_plot([ScalingPanel(title="co-smooth", points={"mtm": points()})], against="sessions")
    figure.canvas.draw()
    axes = figure.axes[0]
    (drawn,) = [line for line in axes.lines if line.get_label() == "mtm"]
    np.testing.assert_allclose(drawn.get_xydata(), np.stack([X, MEAN], axis=1))
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "4", "34"]
    (bars,) = [c for c in axes.collections if len(c.get_segments()) == 3]
    ends = np.array([segment[:, 1] for segment in bars.get_segments()])
    np.testing.assert_allclose(ends, np.stack([MEAN - 0.02, MEAN + 0.02], axis=1))
    assert axes.get_xlabel() == "sessions in pretraining"


def test_lines_of_scratch_baselines_and_chance_are_named_once():
    curve = (X, MEAN, MEAN - 0.1, MEAN + 0.1)
    panel = ScalingPanel(
        title="co-smooth",
        points={"mtm": points(scratch=0.12, curve=curve), "temporal": points(scratch=0.11)},
        baselines={"psth": 0.05, "ridge": 0.07},
        chance=0.5,
    )
    figure = scaling_plot([panel] * 4, against="trials")
    figure.canvas.draw()
    (legend,) = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert sorted(named) == sorted(
        ["psth", "ridge", "chance", "mtm", "temporal", "mtm, from scratch", "temporal, from scratch"]
    )
    flat = {line.get_label(): line.get_ydata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 2}
    assert flat["mtm, from scratch"] == 0.12
    assert flat["ridge"] == 0.07
    assert [axes.get_visible() for axes in figure.axes] == [True] * 4 + [False] * 2


def test_a_point_without_interval_is_drawn():
    nothing = np.full(3, np.nan)
    panel = ScalingPanel(title="choice", points={"mtm": Points(x=X, mean=MEAN, low=nothing, high=nothing)})
    figure = scaling_plot([panel], against="sessions")
    figure.canvas.draw()
    low, high = figure.axes[0].get_ylim()
    assert low < 0.1 < 0.3 < high

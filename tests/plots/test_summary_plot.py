"""The plot a page opens with: every session and mean at its place, chance at 0."""

import numpy as np

from neuromtm.plots.summary import LOWEST, Scored, summary_plot


def rows(**bps):
    return [Scored(name=f"the {role}", role=role, bps=np.array(values)) for role, values in bps.items()]


def test_every_task_has_a_row_for_each_with_sessions_mean_and_its_value():
    figure = summary_plot(
        {
            "co_smoothing": rows(model=[0.1, 0.3], baseline=[0.05, 0.05], ceiling=[0.5, 0.7]),
            "intra_region": rows(model=[0.2, 0.2]),
        }
    )
    figure.canvas.draw()
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        *("the model", "the baseline", "the ceiling"),
        "the model",
    ]
    sessions, means = axes.collections[::2], axes.collections[1::2]
    assert sessions[0].get_offsets()[:, 0].tolist() == [0.1, 0.3]
    np.testing.assert_allclose([float(one.get_offsets()[0, 0]) for one in means], [0.2, 0.05, 0.6, 0.2])
    texts = [text.get_text() for text in axes.texts]
    assert {"co-smoothing", "intra-region", "0.20", "0.05", "0.60"} == set(texts)
    low, high = axes.get_xlim()
    assert low < 0 < 0.7 < high
    below = [float(one.get_offsets()[0, 1]) for one in means]
    assert below == sorted(below)
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first row is at the top


def test_a_score_far_below_is_drawn_at_the_end_and_written_as_it_is():
    figure = summary_plot({"co_smoothing": rows(model=[0.1, -30.1])})
    figure.canvas.draw()
    (axes,) = figure.axes
    assert axes.collections[0].get_offsets()[:, 0].tolist() == [0.1, LOWEST]
    assert "-15.00" in [text.get_text() for text in axes.texts]
    assert axes.get_xlim()[0] > -2


def test_a_name_is_no_formula():
    one = Scored(name="$x^{$", role="baseline", bps=np.array([0.1]))
    summary_plot({"co_smoothing": [one]}).canvas.draw()

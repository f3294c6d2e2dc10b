"""The plot of functional connectivity shows the pairs where its labels say, on one scale around 0."""

import numpy as np
import pytest
from matplotlib.colors import Normalize

from neuromtm.evaluation.connectivity import Matrices
from neuromtm.plots.connectivity import MOST_LABELLED, connectivity_plot, region_order


def matrices(bps):
    bps, n = np.asarray(bps, float), len(bps)
    np.fill_diagonal(bps, np.nan)
    nothing = np.full(n, -0.1)
    return Matrices(tuple(f"r{i}" for i in range(n)), np.arange(n) + 5.0, bps, bps + 0.1, nothing, nothing + 0.4)


def two_circuits():
    """r0 predicts r2, r1 and r3 predict each other; nothing else is predicted."""
    bps = np.full((4, 4), -0.1)
    bps[0, 2], bps[1, 3], bps[3, 1] = 0.25, 0.17, 0.11
    return matrices(bps)


@pytest.fixture(scope="module")
def drawn():
    figure = connectivity_plot(**two_circuits()._asdict(), title="s0: some sessions")
    figure.canvas.draw()
    return figure


def cells(figure, panel):
    """(row label, column label) -> text."""
    first, axes = figure.axes[0], figure.axes[panel]  # the rows have their labels at the first panel
    rows = dict(zip(first.get_yticks(), (label.get_text() for label in first.get_yticklabels()), strict=True))
    columns = dict(zip(axes.get_xticks(), (label.get_text() for label in axes.get_xticklabels()), strict=True))
    return {(rows[int(t.get_position()[1])], columns[int(t.get_position()[0])]): t.get_text() for t in axes.texts}


def test_a_row_is_what_is_visible_and_a_column_what_is_predicted(drawn):
    bps, gain, _ = drawn.axes
    found = cells(drawn, 0)
    assert (bps.get_ylabel(), bps.get_xlabel()) == ("visible (neurons)", "predicted")
    assert found["r0 (5)", "r2"] == "0.25"
    assert found["r2 (7)", "r0"] == "-0.10"
    assert found["r1 (6)", "r3"] == "0.17"
    assert found["r3 (8)", "r1"] == "0.11"
    assert found["nothing", "r2"] == "-0.10"
    assert found["all others", "r2"] == "0.30"
    assert ("r0 (5)", "r0") not in found
    assert len(found) == 4 * 3 + 2 * 4
    assert "gain over nothing" in gain.get_title()
    assert drawn.get_suptitle() == "s0: some sessions"


def test_the_second_panel_is_the_gain_over_nothing(drawn):
    found = cells(drawn, 1)
    assert found["r0 (5)", "r2"] == "0.35"
    assert found["r2 (7)", "r0"] == "0.00"
    assert found["nothing", "r1"] == "0.00"
    assert found["all others", "r1"] == "0.40"


def test_colours_are_centred_at_0_and_the_same_in_both_panels(drawn):
    norms = [axes.images[0].norm for axes in drawn.axes[:2]]
    assert {(norm.vmin, norm.vmax) for norm in norms} == {(-0.4, 0.4)}
    assert all(isinstance(norm, Normalize) for norm in norms)


def test_a_pair_far_below_0_does_not_pale_the_others():
    bps = two_circuits().bps
    bps[2, 3] = -30
    figure = connectivity_plot(**matrices(bps)._asdict(), title="")
    assert figure.axes[0].images[0].norm.vmin == -0.4


@pytest.mark.parametrize("lowest", [-1.0, -np.inf])
def test_a_matrix_without_a_value_above_0_is_drawn(lowest):
    figure = connectivity_plot(
        **matrices(np.full((3, 3), lowest))._replace(all_others_bps=np.full(3, lowest))._asdict(), title=""
    )
    figure.canvas.draw()
    assert figure.axes[0].images[0].norm.vmax > 0


def test_regions_that_predict_each_other_stand_side_by_side():
    order = region_order(two_circuits().gain).tolist()
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1
    assert sorted(order) == [0, 1, 2, 3]


@pytest.mark.parametrize("n", [2, 3, 15])
def test_any_number_of_regions_is_drawn_and_few_are_labelled(n):
    figure = connectivity_plot(**matrices(np.random.default_rng(0).normal(size=(n, n)))._asdict(), title="")
    figure.canvas.draw()
    assert bool(figure.axes[0].texts) == (n <= MOST_LABELLED)

"""The plot of behaviour: every session's scores at their places, and nothing where nothing was decoded."""

import numpy as np

from neuromtm.plots.behavior import LOWEST, behavior_plot

SESSIONS = {
    "a": {"choice_accuracy": 0.8, "choice_accuracy_counts": 0.7, "choice_chance": 0.5, "choice_balanced_accuracy": 0.8},
    "b": {"choice_accuracy": 0.6, "choice_chance": 0.4, "pupil_r2": 0.3, "pupil_r2_rrr": -7.0, "pupil_chance": 0.1},
    "c": {"co_smoothing_bps": 1.0},
}


def points(axes):
    return [np.asarray(one.get_offsets())[:, 1].tolist() for one in axes.collections[::2]]


def test_each_behaviour_has_a_panel_of_its_sessions_and_their_means():
    choice, pupil = behavior_plot(SESSIONS).axes
    assert choice.get_title() == "choice\n2 sessions"
    assert [label.get_text() for label in choice.get_xticklabels()] == ["model", "counts", "chance"]
    model, counts, chance = points(choice)
    assert (model, chance) == ([0.8, 0.6], [0.5, 0.4])
    assert counts[0] == 0.7
    assert np.isnan(counts[1]) or np.ma.is_masked(counts[1])
    assert [text.get_text() for text in choice.texts] == ["0.70", "0.70", "0.45"]
    assert [label.get_text() for label in pupil.get_xticklabels()] == ["model", "counts,\nlow rank", "chance"]


def test_a_score_far_below_is_drawn_at_the_end_and_written_as_it_is():
    _, pupil = behavior_plot(SESSIONS).axes
    assert points(pupil)[1] == [LOWEST]
    assert pupil.texts[1].get_text() == "-7.00"


def test_without_decoded_behaviour_there_is_no_plot():
    assert behavior_plot({"c": SESSIONS["c"]}) is None


def test_an_axis_begins_at_zero_or_at_the_lowest_point_below_it():
    sessions = {"a": {"choice_accuracy": 0.8, "choice_chance": 0.7, "pupil_r2": 0.21, "pupil_chance": 0.2}}
    assert [axes.get_ylim()[0] for axes in behavior_plot(sessions).axes] == [0, 0]
    sessions["a"]["pupil_chance"] = -0.3
    choice, pupil = behavior_plot(sessions).axes
    assert choice.get_ylim()[0] == 0
    assert -0.35 < pupil.get_ylim()[0] < -0.3


def test_what_decodes_is_called_as_asked():
    (axes,) = behavior_plot({"a": {"choice_accuracy": 0.8, "choice_chance": 0.5}}, model="decoder").axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["decoder", "chance"]

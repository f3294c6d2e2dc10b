"""The first sentence of a page says what the numbers say."""

import pytest

from neuromtm.evaluation.statistics import Interval
from neuromtm.report.verdict import TaskStanding, activity_verdict, decoded_sentence, decoder_verdict, standing

TASKS = ("co_smoothing", "forward_prediction", "intra_region", "inter_region")


def of(chance, baseline=None, share=None):
    """The verdict of four tasks: a word each, or one for all."""
    chance, baseline = ([word] * 4 if isinstance(word, str | None) else word for word in (chance, baseline))
    rows = zip(TASKS, chance, baseline, strict=True)
    return activity_verdict({task: TaskStanding(*both, share) for task, *both in rows})


@pytest.mark.parametrize(
    ("chance", "baseline", "level", "short"),
    [
        ("better", None, "good", "Better than chance"),
        (("better", "level", "better", "worse"), None, "mixed", "Better than chance in part"),
        ("level", None, "poor", "No better than chance"),
        ("worse", "better", "poor", "No better than chance"),
        ("better", "better", "good", "Better than a simple baseline"),
        ("better", ("better", "level", "level", "worse"), "mixed", "Better than a simple baseline in part"),
        (("better", "level", "level", "level"), "better", "mixed", "Better than a simple baseline in part"),
        ("better", "level", "mixed", "Better than chance, level with a simple baseline"),
        ("better", "worse", "poor", "Better than chance, but worse than a simple baseline"),
        (
            ("better", "worse", "level", "level"),
            "worse",
            "poor",
            "Better than chance in part, but worse than a simple baseline",
        ),
    ],
)
def test_the_answer_in_a_few_words(chance, baseline, level, short):
    found = of(chance, baseline)
    assert (found.level, found.short) == (level, short)


def test_the_sentence_names_the_tasks_and_the_share_of_the_ceiling():
    found = of(("better", "level", "better", "better"), ("better", "worse", "level", "level"), share=0.394)
    assert found.reason == (
        "it predicts hidden spikes better than each neuron's mean rate in co-smoothing, intra-region and inter-region; "
        "against the best simple baseline it is better in co-smoothing, level in intra-region and inter-region, "
        "worse in forward prediction; it reaches 39 % of the ceiling in co-smoothing."
    )
    assert of("worse").reason == "it predicts hidden spikes better than each neuron's mean rate in none of the 4 tasks."
    assert of("better").reason.endswith("in all of the 4 tasks.")


def test_one_task_and_none():
    one = activity_verdict({"co_smoothing": TaskStanding("better", None, None)})
    assert one.reason.endswith("in the one task scored.")
    assert activity_verdict({}).level == "unknown"


@pytest.mark.parametrize(
    ("difference", "interval", "word"),
    [
        (0.2, Interval(0.1, 0.3), "better"),
        (0.2, Interval(-0.1, 0.5), "level"),
        (-0.2, Interval(-0.3, -0.1), "worse"),
        (0.2, None, "better"),
        (0.004, None, "level"),
        (-0.2, None, "worse"),
    ],
)
def test_a_difference_is_one_if_its_interval_leaves_out_zero(difference, interval, word):
    assert standing(difference, interval) == word


def test_behaviour_is_said_beside_chance_and_the_better_read_out_of_counts():
    mean = {"choice_accuracy": 0.6, "choice_chance": 0.5, "choice_accuracy_counts": 0.7, "choice_accuracy_rrr": 0.8}
    said = decoded_sentence({**mean, "co_smoothing_bps": 1.0, "whisker_r2": 0.3, "whisker_chance": 0.1})
    assert (
        said == "Behaviour: choice accuracy 0.60 (chance 0.50, best of raw counts 0.80); whisker R2 0.30 (chance 0.10)."
    )
    assert decoded_sentence({"co_smoothing_bps": 1.0}) is None


def sessions(*pairs):
    return {f"s{i}": {"choice_accuracy": model, "choice_chance": chance} for i, (model, chance) in enumerate(pairs)}


@pytest.mark.parametrize(
    ("pairs", "level", "above"),
    [
        ([(0.9, 0.5), (0.8, 0.6)], "good", "2 of 2 sessions"),
        ([(0.9, 0.5), (0.5, 0.6)], "mixed", "1 of 2 sessions"),
        ([(0.5, 0.5)], "poor", "0 of 1 session."),
        ([(0.504, 0.5)], "poor", "1 of 1 session."),  # two digits do not show it
        ([(0.9, 0.5), *[(0.49, 0.5)] * 5], "poor", "1 of 6 sessions"),  # one session's luck
    ],
)
def test_a_decoder_is_held_against_chance(pairs, level, above):
    found = decoder_verdict(sessions(*pairs))
    assert found.level == level
    assert above in found.reason


def test_a_decoder_without_scores_is_not_judged():
    assert decoder_verdict({}).level == "unknown"
    assert decoder_verdict({"a": {}}).level == "unknown"

"""Behaviour decoded: labels without guesses, chosen on validation, scored on what is known."""

import csv

import numpy as np
import pytest

from neuromtm.decoding.linear import Splits
from neuromtm.decoding.selection import (
    BEHAVIOR_COLUMNS,
    Candidate,
    Decoded,
    Tried,
    behavior_metrics,
    behavior_text,
    decode,
    labels_of,
)
from neuromtm.decoding.targets import Target
from neuromtm.metrics.absent import Absent

N_BINS, N_NEURONS = 12, 8
TRIALS = (np.arange(60), np.arange(60, 90), np.arange(90, 130))
NAN = float("nan")


def draw(seed=0, trials=130):
    """Rates (trial, bin, neuron) of a session that carry a choice and a trace, with both."""
    generator = np.random.default_rng(seed)
    choice = generator.choice([-1.0, 1.0], trials)
    drive = generator.normal(size=(trials, N_BINS))
    log_rates = 0.5 * generator.normal(size=(trials, N_BINS, N_NEURONS))
    log_rates[..., 0] += 0.6 * choice[:, None]
    log_rates[..., 1] += drive
    trace = drive + 0.3 * generator.normal(size=(trials, N_BINS)) + np.arange(N_BINS) / 8
    return np.exp(log_rates).astype(np.float32), choice.astype(np.float32), trace.astype(np.float32)


def cut(values):
    return Splits(*(values[numbers] for numbers in TRIALS))


def labels(values, name="choice"):
    return labels_of(Target(name, np.asarray(values, np.float32)), TRIALS)


def decoded(rates, values, name="choice"):
    (found,) = decode("a", [labels(values, name)], [Candidate("rates", cut(rates), prompt="neuron")])
    return found


# ---- labels ----


def test_what_is_left_out_of_classes_is_counted():
    _, choice, _ = draw()
    choice[[0, 1, 60, 90, 91, 92]] = NAN  # two of train, one of validation, three of test
    found = labels(choice)
    assert found.n_trials == (58, 29, 37)
    assert (found.n_trials_left_out, found.n_bins_left_out) == (6, 0)


def test_what_is_left_out_of_a_trace_is_counted():
    _, _, trace = draw()
    trace[3] = NAN
    trace[95] = NAN
    trace[7, 2:6] = NAN
    trace[100, 0] = NAN
    found = labels(trace, "pupil")
    assert found.n_trials == (59, 30, 39)
    assert (found.n_trials_left_out, found.n_bins_left_out) == (2, 4 + 1)


def test_a_bin_that_too_few_train_trials_know_is_left_out_of_every_split():
    _, _, trace = draw()
    trace[4:60, 3] = NAN
    found = labels(trace, "pupil")
    assert all(np.isnan(part[:, 3]).all() for part in found.values)
    assert found.n_bins_left_out == 130
    assert not np.isnan(found.values.train[:, 2]).any()


def test_a_class_of_too_few_train_trials_is_not_learned_and_its_test_trials_are_wrong():
    rates, choice, _ = draw()
    choice[:4] = 3  # of the train trials
    choice[90:100] = 3  # of 40 test trials
    rates[:4, :, 0] = rates[90:100, :, 0] = 60
    found = decoded(rates, choice)
    assert found.labels.n_trials == (56, 30, 40)
    assert found.labels.n_trials_left_out == 4
    assert found.metrics()["choice_accuracy"] <= 30 / 40
    assert found.metrics()["choice_balanced_accuracy"] <= 2 / 3


# ---- decode ----


def test_decoding_beats_chance_where_the_rates_carry_the_behaviour():
    rates, choice, trace = draw()
    figures = decoded(rates, choice).metrics() | decoded(rates, trace, "whisker_motion_energy").metrics()
    assert list(figures) == [
        "choice_accuracy",
        "choice_balanced_accuracy",
        "choice_chance",
        "whisker_r2",
        "whisker_chance",
    ]
    assert figures["choice_accuracy"] > figures["choice_chance"] + 0.2
    assert figures["whisker_r2"] > figures["whisker_chance"] + 0.05


def test_several_classes_are_told_apart_under_their_own_name():
    rates, choice, _ = draw()
    rates[..., 2] *= np.where(np.arange(130) % 2, 4, 1)[:, None]
    block = np.where(choice < 0, 0.2, np.where(np.arange(130) % 2, 0.8, 0.5))
    figures = decoded(rates, block, "block").metrics()
    assert set(figures) == {"block_accuracy", "block_balanced_accuracy", "block_chance"}
    assert figures["block_balanced_accuracy"] > 0.7
    assert figures["block_chance"] < 0.7


def test_a_number_of_a_trial_is_a_trace_of_one_bin():
    rates, choice, _ = draw()
    figures = decoded(rates, 0.3 + 0.1 * choice[:, None], "reaction_time_s").metrics()
    assert set(figures) == {"reaction_time_s_r2", "reaction_time_s_chance"}
    assert figures["reaction_time_s_r2"] > 0.3


@pytest.mark.parametrize("name", ["choice", "pupil"])
def test_the_labels_of_test_trials_change_nothing_but_the_score(name):
    rates, choice, trace = draw()
    values = choice if name == "choice" else trace
    shuffled = values.copy()
    shuffled[90:] = np.roll(values[90:], 1, axis=0)
    (one,), (other,) = (decoded(rates, given, name).tried for given in (values, shuffled))
    assert (one.strength, one.validation) == (other.strength, other.validation)
    assert one.test > other.test


def test_the_same_rates_give_the_same_scores_twice():
    rates, choice, _ = draw()
    assert decoded(rates, choice).tried == decoded(rates, choice).tried


def noisy(rates, numbers):
    """Rates that say nothing of these trials."""
    rates = rates.copy()
    rates[numbers] = np.random.default_rng(0).random(rates[numbers].shape)
    return cut(rates)


def test_the_features_are_the_best_on_validation_even_if_others_are_better_on_test():
    rates, choice, trace = draw()
    candidates = [
        Candidate("rates", noisy(rates, TRIALS[1]), prompt="causal"),
        Candidate("states", noisy(rates, TRIALS[2]), prompt="neuron"),
    ]
    for one in decode("a", [labels(choice), labels(trace, "pupil")], candidates):
        good_on_test, good_on_val = one.tried
        assert good_on_test.test > good_on_val.test
        assert one.best(("rates", "states")) is good_on_val
        assert one.best(("rates",)) is good_on_test
        assert good_on_val.test in one.metrics().values()


def test_equal_candidates_give_the_first_as_does_having_nothing_to_validate_on():
    rates, choice, _ = draw()
    for values in (choice, np.where((np.arange(130) >= 60) & (np.arange(130) < 90), NAN, choice)):
        candidates = [Candidate("rates", cut(rates), prompt=prompt) for prompt in ("neuron", "causal")]
        (found,) = decode("a", [labels(values)], candidates)
        assert found.best(("rates",)).prompt == "neuron"


def test_baselines_stand_beside_the_model_and_do_not_replace_it():
    rates, choice, _ = draw()
    mute = cut(np.random.default_rng(1).random(rates.shape))
    (found,) = decode("a", [labels(choice)], [Candidate("rates", mute), Candidate("counts", cut(rates))])
    figures = found.metrics()
    assert figures["choice_accuracy_counts"] > figures["choice_accuracy"] + 0.2
    (alone,) = decode("a", [labels(choice)], [Candidate("counts", cut(rates))])
    assert alone.metrics() == {}


def test_features_are_taken_one_after_the_other():
    rates, choice, _ = draw()
    alive = []

    def candidates():
        for prompt in "ab":
            alive.append(prompt)
            yield Candidate("rates", cut(rates), prompt=prompt)
            alive.remove(prompt)
            assert not alive

    decode("a", [labels(choice)], candidates())


def test_without_behaviour_no_features_are_computed():
    def candidates():
        raise AssertionError
        yield

    assert decode("a", [], candidates()) == []
    assert behavior_metrics([]) == {}


# ---- figures that do not exist ----


def test_one_class_in_train_leaves_no_figure_but_a_reason():
    rates, choice, _ = draw()
    choice[:60] = 1
    found = decoded(rates, choice)
    assert found.metrics() == {}
    assert found.absent == "only one class, 1, has 5 train trials"


def test_labels_missing_from_all_test_trials_leave_no_figure():
    rates, choice, trace = draw()
    choice[90:] = NAN
    trace[90:] = NAN
    for found in (decoded(rates, choice), decoded(rates, trace, "pupil")):
        assert found.metrics() == {}
        assert "no test trial has a label" in found.absent


@pytest.mark.parametrize("trial", [0, 70, 100])
def test_rates_that_are_not_finite_are_a_reason_not_a_crash(trial):
    rates, choice, _ = draw()
    rates[trial] = NAN
    assert "not finite" in decoded(rates, choice).absent


def test_a_session_without_train_trials_says_so():
    rates, choice, _ = draw()
    empty = [TRIALS[0][:0], *TRIALS[1:]]
    of = labels_of(Target("choice", choice), empty)
    (found,) = decode("a", [of], [Candidate("rates", Splits(*(rates[n] for n in empty)))])
    assert found.absent == "the session has no train trials"
    assert of.chance is None


# ---- behavior.csv ----


def balanced(accuracy: float) -> dict[str, float]:
    """The further metrics of classes."""
    return {"balanced_accuracy": accuracy}


def test_behavior_csv_has_a_row_for_each_readout_and_marks_those_of_metrics_json():
    _, choice, _ = draw()
    choice[[0, 90]] = NAN
    tried = [
        Tried(features="rates", prompt="neuron", strength=10.0, validation=0.6, test=0.9, further=balanced(0.85)),
        Tried(features="states", prompt="neuron", strength=1.0, validation=0.7, test=0.8, further=balanced(0.75)),
        Absent("a reason"),
        Tried(features="counts", smoothing_s=0.04, strength=1.0, validation=None, test=0.5, further=balanced(0.5)),
        Tried(features="counts_rrr", rank=2, strength=0.125, validation=0.5, test=0.7, further=balanced(0.7)),
    ]
    found = Decoded(eid="a", labels=labels(choice), tried=tuple(tried))
    rows = list(csv.DictReader(behavior_text([found]).splitlines()))
    assert tuple(rows[0]) == BEHAVIOR_COLUMNS
    assert [row["features"] for row in rows] == ["rates", "states", "counts", "counts_rrr"]
    assert [row["chosen"] for row in rows] == ["0", "1", "1", "1"]
    assert [row["prompt"] for row in rows] == ["neuron", "neuron", "", ""]
    assert [row["smoothing_s"] for row in rows] == ["", "", "0.04", ""]
    assert [row["rank"] for row in rows] == ["", "", "", "2"]
    assert rows[2]["validation"] == ""
    for row in rows:
        assert (row["eid"], row["target"], row["score"]) == ("a", "choice", "accuracy")
        assert (row["n_train"], row["n_val"], row["n_test"], row["n_trials_left_out"]) == ("59", "30", "39", "2")
        assert row["chance"] == f"{found.labels.chance:.6g}"
    assert found.metrics()["choice_accuracy"] == 0.8
    assert found.metrics()["choice_accuracy_rrr"] == 0.7

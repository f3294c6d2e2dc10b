"""Runs are paired by who a neuron is, and a difference says what it is uncertain over."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuromtm.errors import UserError
from neuromtm.evaluation.pairing import TestedRun, against_mean_rate, pair, read_run
from neuromtm.evaluation.references import share_of_ceiling
from neuromtm.evaluation.results import read_neurons, write_results
from neuromtm.evaluation.scores import NeuronScores, SessionScores, activity_means
from neuromtm.evaluation.trials import TaskTrials, TrialScores, write_trials
from neuromtm.metrics.intervals import trial_null_nll
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.neurons import NUMBER_COLUMNS

KEY = "co_smoothing_bps"
NAN = float("nan")


def run(sessions, key=KEY):
    """A tested run: eid -> uuid -> its only figure."""
    table = {eid: {uuid: {key: value} for uuid, value in neurons.items()} for eid, neurons in sessions.items()}
    return TestedRun({"sessions": {}, "mean": {}}, table)


def of_sessions(*values):
    """A run whose sessions have these figures of their neurons."""
    return run({f"s{i}": {f"n{j}": v for j, v in enumerate(own)} for i, own in enumerate(values)})


def test_neurons_are_matched_by_name_not_by_place():
    first = run({"a": {"x": 1.0, "y": 2.0, "only first": 50.0}, "only first": {"x": 9.0}})
    second = run({"only second": {"x": 9.0}, "a": {"y": 2.5, "only second": 50.0, "x": 1.1}})
    found = pair(first, second)[KEY]
    assert list(found.sessions) == ["a"]
    assert found.n_neurons == 2
    assert found.difference == pytest.approx((0.1 + 0.5) / 2)


def test_a_neuron_of_the_same_name_in_another_session_is_another_neuron():
    assert pair(run({"a": {"x": 1.0}}), run({"b": {"x": 2.0}})) == {}


def test_a_task_that_one_run_does_not_score_is_not_paired():
    assert pair(run({"a": {"x": 1.0}}), run({"a": {"x": 1.0}}, key="inter_region_bps")) == {}


def test_sessions_weigh_the_same_whatever_their_numbers_of_neurons():
    found = pair(of_sessions([0.0] * 9, [0.0]), of_sessions([1.0] * 9, [-2.0]))[KEY]
    assert found.difference == pytest.approx(-0.5)
    assert (found.wins, found.losses) == (1, 1)


def test_a_tie_is_won_by_none():
    found = pair(of_sessions([0.5, 0.1], [1.0]), of_sessions([0.1, 0.5], [2.0]))[KEY]
    assert (found.wins, found.losses) == (1, 0)


def test_five_sessions_are_what_an_interval_is_over_and_fewer_are_not():
    figures = [list(row) for row in np.random.default_rng(0).normal(size=(5, 30))]
    zeros = [[0.0] * 30] * 5
    many, few = (
        pair(of_sessions(*zeros), of_sessions(*figures)),
        pair(of_sessions(*zeros[:4]), of_sessions(*figures[:4])),
    )
    assert many[KEY].over == "sessions"
    assert few[KEY].over == "neurons"  # without trials


def test_five_sessions_that_differ_much_are_less_certain_than_their_neurons_are():
    zeros, figures = [[0.0] * 40] * 5, [[i + 0.01 * j for j in range(40)] for i in range(5)]
    over_sessions = pair(of_sessions(*zeros), of_sessions(*figures))[KEY].interval
    over_neurons = pair(of_sessions(*zeros[1:]), of_sessions(*figures[1:]))[KEY].interval
    assert over_sessions.high - over_sessions.low > 10 * (over_neurons.high - over_neurons.low)


bps = st.lists(st.floats(-3, 3), min_size=5, max_size=8)


@given(figures=st.lists(bps, min_size=1, max_size=6), gain=st.floats(-1, 1))
def test_a_run_that_is_better_by_the_same_everywhere_is_better_by_just_that(figures, gain):
    found = pair(of_sessions(*figures), of_sessions(*[[v + gain for v in own] for own in figures]))[KEY]
    assert found.difference == pytest.approx(gain, abs=1e-9)
    assert found.interval == pytest.approx((gain, gain), abs=1e-9)


@given(figures=st.lists(st.tuples(bps, bps).map(lambda two: list(zip(*two, strict=False))), min_size=1, max_size=6))
def test_the_other_way_round_every_difference_changes_its_sign(figures):
    first, second = (of_sessions(*[[pair[i] for pair in own] for own in figures]) for i in (0, 1))
    there, back = pair(first, second)[KEY], pair(second, first)[KEY]
    assert there.difference == pytest.approx(-back.difference, abs=1e-9)
    assert (there.wins, there.losses) == (back.losses, back.wins)
    assert there.interval == pytest.approx((-back.interval.high, -back.interval.low), abs=1e-9)


def test_the_share_of_the_ceiling_is_of_means_and_undefined_where_the_ceiling_is_not_above_zero():
    found = pair(of_sessions([1.0, 3.0], [2.0]), of_sessions([0.5, 2.5], [1.0]))[KEY]
    assert share_of_ceiling(found) == pytest.approx((1.5 + 1.0) / (2.0 + 2.0))
    assert share_of_ceiling(pair(of_sessions([-1.0]), of_sessions([1.0]))[KEY]) is None


def test_the_mean_rate_has_no_bits_per_spike():
    found = against_mean_rate(of_sessions([1.0, 3.0], [NAN, 2.0]))
    assert list(found) == [KEY]
    assert found[KEY].means.tolist()[0] == [0.0, 2.0]


# ---- trial by trial ----


def by_trial(seed=0, eids=("a",), *, n_trials=30, n_neurons=6, better_by=0.0, counts_seed=0, subjects=None):
    """A run with the sums of its trials, whose costs are lower by so much a spike in every trial."""
    table, trials = {}, {}
    for number, eid in enumerate(eids):
        spikes = np.random.default_rng([counts_seed, number]).poisson(2.0, (n_trials, n_neurons))
        noise = np.random.default_rng([seed, number]).normal(0, 0.3, (n_trials, 1))  # the same in all neurons
        nll = trial_null_nll(spikes, 10) - (better_by + noise) * spikes
        uuid = tuple(f"u{i}" for i in range(n_neurons))
        task = TaskTrials(10, nll, spikes, np.full(n_neurons, True))
        subject = "one" if subjects is None else subjects[number]
        trials[eid] = TrialScores(subject, uuid, np.arange(n_trials), {KEY: task})
        bits = task.null_gains.nats.sum(axis=0) / spikes.sum(axis=0) / np.log(2)
        table[eid] = {name: {KEY: float(value)} for name, value in zip(uuid, bits, strict=True)}
    return TestedRun({"sessions": {}, "mean": {}}, table, trials)


def test_few_sessions_are_compared_over_their_trials_and_neurons_that_share_them_make_it_less_certain():
    first, second = by_trial(1, ("a", "b")), by_trial(2, ("a", "b"), better_by=0.1)
    found = pair(first, second)[KEY]
    assert (found.over, found.n_animals, found.unpaired) == ("trials", 1, ())
    assert found.interval.low < found.difference < found.interval.high
    assert np.mean(found.interval) == pytest.approx(found.difference, abs=1e-6)
    old = pair(replace(first, trials=None), second)[KEY]
    assert old.over == "neurons"
    assert old.difference == found.difference
    assert old.interval.high - old.interval.low < 0.5 * (found.interval.high - found.interval.low)


def test_runs_on_the_same_trials_are_paired_and_on_others_are_not():
    first = by_trial(1)
    same, other = pair(first, by_trial(1, better_by=0.1))[KEY], pair(first, by_trial(1, counts_seed=1))[KEY]
    assert same.interval == pytest.approx((same.difference, same.difference), abs=1e-6)
    assert other.unpaired == ("a",)
    assert other.interval.low < other.difference < other.interval.high


def test_neurons_in_another_order_are_the_same_neurons():
    first, second = by_trial(1), by_trial(2, better_by=0.1)
    own = second.trials["a"]
    task = own.tasks[KEY]
    order = np.array([3, 0, 5, 1, 2, 4])
    turned = TrialScores(own.subject, tuple(own.uuid[i] for i in order), own.trial, {KEY: task.of_neurons(order)})
    again = replace(second, trials={"a": turned})
    assert pair(first, again)[KEY].interval == pytest.approx(pair(first, second)[KEY].interval)


def test_many_animals_are_what_an_interval_is_over():
    eids = [f"s{i}" for i in range(8)]
    of_six, of_two = ([f"m{i % n}" for i in range(8)] for n in (6, 2))
    for subjects, over, n in ((of_six, "animals", 6), (of_two, "sessions", 2)):
        first, second = by_trial(1, eids, subjects=subjects), by_trial(2, eids, better_by=0.1, subjects=subjects)
        found = pair(first, second)[KEY]
        assert (found.over, found.n_animals) == (over, n)
        # what is known of one run's sessions is known of the other's
        assert pair(first, replace(second, trials=None))[KEY].interval == found.interval


def test_against_the_mean_rate_trials_are_resampled_too():
    found = against_mean_rate(by_trial(1, better_by=0.2))[KEY]
    assert found.over == "trials"
    assert found.interval.low < found.difference < found.interval.high


# ---- what is read ----


def scores(eid, seed=0, n_neurons=7, shift=0.0):
    generator = torch.Generator().manual_seed(seed)
    figures = {name: torch.randn(n_neurons, generator=generator).double() + shift for name in NUMBER_COLUMNS}
    figures["inter_region_bps"][2] = NAN
    return NeuronScores(
        eid=eid, uuid=tuple(f"u{i}" for i in range(n_neurons)), region=("LP",) * n_neurons, columns=figures
    )


def as_tested(folder, *tables):
    """A folder as a test leaves it."""
    sessions = [SessionScores(eid=t.eid, **activity_means(t), behavior={"choice_accuracy": 0.8}) for t in tables]
    write_results(folder, sessions, tables)
    return folder


def test_what_a_test_wrote_is_what_is_read(tmp_path):
    table = scores("a")
    found = read_run(as_tested(tmp_path, table)).neurons["a"]
    assert list(found) == list(table.uuid)
    assert "inter_region_bps" not in found["u2"]
    for key in BPS_KEYS:
        assert [found[u].get(key, NAN) for u in table.uuid] == pytest.approx(
            table.columns[key].tolist(), rel=1e-5, nan_ok=True
        )


def test_a_run_by_its_metrics_file_is_the_run_by_its_folder(tmp_path):
    as_tested(tmp_path, scores("a"))
    assert read_run(tmp_path / "metrics.json") == read_run(tmp_path)


def test_an_earlier_tests_metrics_are_not_paired_by_a_later_tests_neurons(tmp_path):
    as_tested(tmp_path, scores("a", seed=1))
    (tmp_path / "metrics.json").rename(tmp_path / "metrics.2026-11-21T07-40-12.json")
    assert read_run(tmp_path / "metrics.2026-11-21T07-40-12.json").neurons is None
    (tmp_path / "neurons.csv").rename(tmp_path / "neurons.2026-11-21T07-40-12.csv")
    assert read_run(tmp_path / "metrics.2026-11-21T07-40-12.json").neurons is not None


def test_tables_of_two_tests_are_refused(tmp_path):
    as_tested(tmp_path, scores("a", seed=1))
    as_tested(tmp_path / "other", scores("a", seed=2))
    (tmp_path / "other" / "metrics.json").replace(tmp_path / "metrics.json")
    with pytest.raises(UserError, match=r"neurons\.csv: the mean co_smoothing_bps of a is .*two tests"):
        read_run(tmp_path)


@pytest.mark.parametrize("text", ["uuid,co_smoothing_bps\nx,1\n", "eid,uuid,co_smoothing_bps\na,x,much\n"])
def test_a_damaged_table_is_one_sentence_with_its_name(tmp_path, text):
    (tmp_path / "neurons.csv").write_text(text)
    with pytest.raises(UserError, match=r"neurons\.csv: not a table of neurons"):
        read_neurons(tmp_path / "neurons.csv")


def with_trials(folder, *, seed=1):
    """A folder whose neurons.csv and trials.h5 are of one test."""
    tested = by_trial(seed)
    (own,) = tested.trials.values()
    unknown = torch.full((len(own.uuid),), NAN, dtype=torch.float64)
    bits = torch.tensor([one[KEY] for one in tested.neurons["a"].values()])
    columns = dict.fromkeys(NUMBER_COLUMNS, unknown) | {KEY: bits}
    as_tested(folder, NeuronScores(eid="a", uuid=own.uuid, region=("LP",) * 6, columns=columns, trials=own))
    return tested


def test_trials_that_a_test_wrote_are_read_with_it(tmp_path):
    tested = with_trials(tmp_path)
    found, own = read_run(tmp_path).trials["a"], tested.trials["a"]
    assert (found.subject, found.uuid, list(found.tasks)) == ("one", own.uuid, [KEY])
    np.testing.assert_array_equal(found.trial, own.trial)
    task = found.tasks[KEY]
    assert task.n_bins == 10
    np.testing.assert_array_equal(task.spikes, own.tasks[KEY].spikes)
    np.testing.assert_allclose(task.model_nll, own.tasks[KEY].model_nll, rtol=1e-6)
    first, second = read_run(tmp_path), by_trial(2, better_by=0.1)
    assert pair(first, second)[KEY].interval == pytest.approx(pair(tested, second)[KEY].interval, abs=1e-4)


def test_a_table_without_the_rows_of_a_session_is_refused(tmp_path):
    as_tested(tmp_path, scores("a", seed=1))
    table = (tmp_path / "neurons.csv").read_text()
    (tmp_path / "neurons.csv").write_text(table.partition("\n")[0] + "\n")
    with pytest.raises(UserError, match=r"neurons\.csv: has no neuron with co_smoothing_bps of a, but the metrics"):
        read_run(tmp_path)


def test_trials_of_another_test_are_refused(tmp_path):
    with_trials(tmp_path)
    write_trials(tmp_path / "trials.h5", by_trial(5, better_by=0.3).trials)
    with pytest.raises(UserError, match=r"trials\.h5: the mean co_smoothing_bps of a is .*two tests"):
        read_run(tmp_path)
    write_trials(tmp_path / "trials.h5", {})
    with pytest.raises(UserError, match=r"trials\.h5: has no trials of co_smoothing_bps of a"):
        read_run(tmp_path)


def test_a_file_that_holds_no_trials_is_one_sentence_with_its_name(tmp_path):
    with_trials(tmp_path)
    (tmp_path / "trials.h5").write_bytes(b"no HDF5")
    with pytest.raises(UserError, match=r"trials\.h5: not the trials of a test"):
        read_run(tmp_path)


def test_a_later_test_without_trials_leaves_none_of_the_earlier_test(tmp_path):
    with_trials(tmp_path)
    as_tested(tmp_path, scores("a"))
    assert read_run(tmp_path).trials is None
    assert len(list(tmp_path.glob("trials.*.h5"))) == 1

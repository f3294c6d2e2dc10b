"""Several seeds of one model as one entry: their scores are averaged, and their spread is known."""

from dataclasses import replace

import numpy as np
import pytest

from neuromtm.errors import UserError
from neuromtm.evaluation.pairing import TestedRun, pair
from neuromtm.evaluation.seeds import average, spread
from tests.evaluation.test_pairing import KEY, by_trial


def seeds(*seeds, **options):
    return [with_metrics(by_trial(seed, **options)) for seed in seeds]


def with_metrics(run):
    sessions = {eid: {KEY: np.mean([one[KEY] for one in own.values()])} for eid, own in run.neurons.items()}
    mean = {KEY: float(np.mean([own[KEY] for own in sessions.values()]))}
    return replace(run, metrics={"sessions": sessions, "mean": mean})


def test_the_average_is_over_seeds_in_sessions_neurons_and_trials():
    runs = seeds(1, 2, 3, eids=("a", "b"))
    found = average("mtm", runs)
    assert found.metrics["mean"][KEY] == pytest.approx(np.mean([run.metrics["mean"][KEY] for run in runs]))
    assert found.neurons["b"]["u4"][KEY] == pytest.approx(np.mean([run.neurons["b"]["u4"][KEY] for run in runs]))
    nll = [run.trials["a"].tasks[KEY].model_nll for run in runs]
    np.testing.assert_allclose(found.trials["a"].tasks[KEY].model_nll, np.mean(nll, axis=0))


def test_a_difference_from_an_average_is_the_average_difference_and_lies_in_the_middle_of_its_interval():
    runs, (other,) = seeds(1, 2, 3), seeds(9, better_by=0.2)
    found = pair(average("mtm", runs), other)[KEY]
    assert found.over == "trials"
    assert found.difference == pytest.approx(np.mean([pair(run, other)[KEY].difference for run in runs]))
    assert np.mean(found.interval) == pytest.approx(found.difference, abs=1e-5)


def test_one_run_is_itself():
    (run,) = seeds(1)
    assert average("mtm", [run]) is run
    assert spread([run]) == {}


def test_the_spread_is_that_of_the_means():
    runs = seeds(1, 2, 3)
    values = [run.metrics["mean"][KEY] for run in runs]
    found = spread(runs)[KEY]
    assert found == pytest.approx((3, np.mean(values), np.std(values, ddof=1), min(values), max(values)))


def test_seeds_of_other_sessions_are_refused():
    with pytest.raises(UserError, match=r"mtm: its runs were tested on different sessions; not all have b\."):
        average("mtm", [*seeds(1), *seeds(2, eids=("a", "b"))])


def test_what_one_seed_lacks_the_average_lacks():
    first, second = seeds(1, 2)
    assert average("mtm", [first, replace(second, trials=None)]).trials is None
    assert average("mtm", [first, replace(second, neurons=None)]).neurons is None
    assert average("mtm", [first, *seeds(2, counts_seed=1)]).trials is None  # other trials
    without = TestedRun({"sessions": {"a": {}}, "mean": {}}, {"a": {"u0": {}}})
    found = average("mtm", [first, without])
    assert found.metrics["sessions"] == {"a": {}}
    assert found.neurons == {"a": {"u0": {}}}

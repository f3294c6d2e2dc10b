"""Comparison of two runs, neuron by neuron and session by session."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from neuromtm.errors import UserError
from neuromtm.evaluation.amounts import train_trials_of
from neuromtm.evaluation.results import METRICS_FILE, NEURONS_FILE, Metrics, NeuronTable, read_metrics, read_neurons
from neuromtm.evaluation.statistics import bootstrap_mean_of_means
from neuromtm.evaluation.trials import TRIALS_FILE, TaskTrials, TrialScores, animals_of, read_trials_file
from neuromtm.metrics.intervals import (
    Gains,
    Interval,
    SessionDifference,
    interval_over_trials,
    level_of,
    mean_bits_per_spike,
    over_sessions,
)
from neuromtm.metrics.keys import BPS_KEYS

TOLERANCE = 1e-4
"""largest difference of a metric in metrics.json from the mean of its column in neurons.csv, which has six digits"""


@dataclass(frozen=True)
class TestedRun:
    """The results of a test."""

    __test__ = False  # pytest would take it for a test class

    metrics: Metrics
    neurons: NeuronTable | None
    """None if there is no neurons.csv"""
    trials: Mapping[str, TrialScores] | None = None
    """eid -> sums of each test trial; None if there is no trials.h5"""
    train_trials: str | None = None
    """training trials of each session that it was trained on: a number or "all"; None if unknown"""


Over = Literal["animals", "sessions", "trials", "neurons"]
"""what an interval is over; over neurons, as if they were independent, only where a run has no trials.h5"""


class SessionPair(NamedTuple):
    """A metric of two runs in one session, for the neurons in which both runs have it."""

    reference: np.ndarray
    """(neuron,)"""
    run: np.ndarray
    """(neuron,)"""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """A metric of a run beside the same metric of another run, the reference."""

    key: str
    sessions: Mapping[str, SessionPair]
    """eid -> neurons; only sessions with a neuron that both runs score"""
    over: Over
    """what the interval is over"""
    interval: Interval | None
    """95 % interval of the difference"""
    n_animals: int | None = None
    """animals of these sessions; None if unknown"""
    unpaired: tuple[str, ...] = ()
    """eids of the sessions of which the two runs scored other trials, so that trials were resampled apart"""

    @property
    def n_neurons(self) -> int:
        return sum(len(pair.run) for pair in self.sessions.values())

    @property
    def means(self) -> np.ndarray:
        """(session, 2) mean over neurons of the reference and of the run."""
        return np.array([[pair.reference.mean(), pair.run.mean()] for pair in self.sessions.values()]).reshape(-1, 2)

    @property
    def difference(self) -> float:
        """Mean over sessions of the mean over neurons of run minus reference."""
        return float(np.mean(self.means[:, 1] - self.means[:, 0]))

    @property
    def wins(self) -> int:
        """Sessions in which the run's mean is the higher one."""
        return int((self.means[:, 1] > self.means[:, 0]).sum())

    @property
    def losses(self) -> int:
        return int((self.means[:, 1] < self.means[:, 0]).sum())


def pair(reference: TestedRun, run: TestedRun) -> dict[str, Paired]:
    """Match two runs' neurons by eid and uuid, and their trials by number.

    Returns:
        Key of metrics.json -> the pair, for the activity tasks in which both runs score some neuron; empty if a run has
        no neurons.csv.
    """
    return _pairs(run, reference)


def against_mean_rate(run: TestedRun) -> dict[str, Paired]:
    """Pair a run with each neuron's mean rate, which scores 0 bits per spike. Returns are those of `pair`."""
    return _pairs(run, None)


def _pairs(run: TestedRun, reference: TestedRun | None) -> dict[str, Paired]:
    if run.neurons is None or (reference is not None and reference.neurons is None):
        return {}
    found = {key: _pair(key, run, reference) for key in BPS_KEYS}
    return {key: paired for key, paired in found.items() if paired.sessions}


def _pair(key: str, run: TestedRun, reference: TestedRun | None) -> Paired:
    """Pair a run with a reference; None stands for the mean rate of each neuron."""
    sessions, matched = {}, {}
    for eid, own in (run.neurons or {}).items():
        others = own if reference is None else (reference.neurons or {}).get(eid, {})
        both = [u for u in others if key in others[u] and key in own.get(u, {})]
        if both:
            beside = [0.0 if reference is None else others[uuid][key] for uuid in both]
            sessions[eid] = SessionPair(np.array(beside), np.array([own[uuid][key] for uuid in both]))
            matched[eid] = both
    if reference is not None:  # the order of the first run
        sessions = {eid: sessions[eid] for eid in reference.neurons or {} if eid in sessions}
    eids = list(sessions)
    animals = animals_of(eids, run.trials) or animals_of(eids, None if reference is None else reference.trials)
    paired = Paired(
        key=key,
        sessions=sessions,
        n_animals=None if animals is None else len(set(animals)),
        over=level_of(len(sessions), animals),
        interval=None,
    )
    groups = [one.run - one.reference for one in sessions.values()]
    if paired.over != "trials":
        return replace(paired, interval=over_sessions([float(values.mean()) for values in groups], animals))
    differences = [_by_trial(eid, key, matched[eid], run, reference) for eid in eids]
    known = [one for one in differences if one is not None]
    if len(known) < len(eids):
        return replace(paired, over="neurons", interval=bootstrap_mean_of_means(groups, "compare", key))
    unpaired = tuple(eid for eid, one in zip(eids, known, strict=True) if one.minus is not None)
    return replace(paired, interval=interval_over_trials(known, "compare", key), unpaired=unpaired)


def _by_trial(
    eid: str, key: str, uuids: Sequence[str], run: TestedRun, reference: TestedRun | None
) -> SessionDifference | None:
    """The difference in one session, trial by trial; None if a run has no sums of the session's trials."""
    own = _chosen(eid, key, uuids, run)
    if own is None or reference is None:
        return None if own is None else SessionDifference(own.null_gains)
    other = _chosen(eid, key, uuids, reference)
    if other is None:
        return None
    # both runs have trials, for `_chosen` has found them
    first, second = ((one.trials or {})[eid].trial for one in (run, reference))
    if np.array_equal(first, second) and np.array_equal(own.spikes, other.spikes):
        return SessionDifference(Gains(other.model_nll - own.model_nll, own.spikes))
    return SessionDifference(own.null_gains, other.null_gains)


def _chosen(eid: str, key: str, uuids: Sequence[str], run: TestedRun) -> TaskTrials | None:
    """A task's trials with these neurons, in their order; None if they are not known."""
    session = (run.trials or {}).get(eid)
    if session is None or key not in session.tasks:
        return None
    place = {uuid: i for i, uuid in enumerate(session.uuid)}
    return session.tasks[key].of_neurons(np.array([place[uuid] for uuid in uuids]))


def shares_explained(neurons: NeuronTable | None) -> dict[str, float]:
    """Eid -> share of the co-smoothing deviance explained, the mean over the session's neurons that have one."""
    shares = {
        eid: [metrics["deviance_explained"] for metrics in session.values() if "deviance_explained" in metrics]
        for eid, session in (neurons or {}).items()
    }
    return {eid: math.fsum(values) / len(values) for eid, values in shares.items() if values}


def read_run(path: Path) -> TestedRun:
    """Read the results of a test.

    Args:
        path: run directory, or the metrics file of a test.

    Raises:
        UserError: if the run was not tested, a test did not write one of the files, or the files are of two tests.
    """
    path = Path(path)
    metrics = read_metrics(path)
    path = path / METRICS_FILE if path.is_dir() else path
    stem = METRICS_FILE.partition(".")[0]
    if not path.name.startswith(stem):
        return TestedRun(metrics, None)
    # an earlier test's metrics.TIME.json belongs to neurons.TIME.csv
    middle = path.name.removeprefix(stem).removesuffix(".json")
    amount = train_trials_of(path.parent, middle=middle)
    neurons = path.with_name(f"{NEURONS_FILE.removesuffix('.csv')}{middle}.csv")
    if not neurons.exists():
        return TestedRun(metrics, None, train_trials=amount)
    table = read_neurons(neurons)
    _check_one_test(neurons, metrics, table)
    by_trial = path.with_name(f"{TRIALS_FILE.removesuffix('.h5')}{middle}.h5")
    if not by_trial.exists():
        return TestedRun(metrics, table, train_trials=amount)
    trials = read_trials_file(by_trial)
    _check_trials(by_trial, trials, table)
    return TestedRun(metrics, table, trials, amount)


def _check_one_test(path: Path, metrics: Metrics, table: NeuronTable) -> None:
    if unknown := sorted(set(table) - set(metrics["sessions"])):
        raise UserError(
            f"{path}: has the session {unknown[0]!r}, which the metrics beside it lack. Test the run again."
        )
    for eid, key, values in _columns(table):
        found, written = math.fsum(values) / len(values), metrics["sessions"].get(eid, {}).get(key)
        if written is None or not math.isclose(found, written, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise UserError(
                f"{path}: the mean {key} of {eid} is {found:.6g}, but the metrics beside it say "
                f"{'nothing of it' if written is None else f'{written:.6g}'}: they are of two tests. "
                "Test the run again."
            )
    for eid, own in metrics["sessions"].items():
        for key in BPS_KEYS:
            if key in own and not any(key in neuron for neuron in table.get(eid, {}).values()):
                raise UserError(
                    f"{path}: has no neuron with {key} of {eid}, but the metrics beside it have its mean: rows are "
                    "missing, or they are of two tests. Test the run again."
                )


def _columns(table: NeuronTable) -> Iterator[tuple[str, str, list[float]]]:
    for eid, neurons in table.items():
        for key in BPS_KEYS:
            values = [metrics[key] for metrics in neurons.values() if key in metrics]
            if values:
                yield eid, key, values


def _check_trials(path: Path, trials: Mapping[str, TrialScores], table: NeuronTable) -> None:
    for eid, neurons in table.items():
        for key in BPS_KEYS:
            written = [metrics[key] for metrics in neurons.values() if key in metrics]
            task = trials[eid].tasks.get(key) if eid in trials else None
            if task is None or not written:
                if written:
                    raise UserError(f"{path}: has no trials of {key} of {eid}. Test the run again.")
                continue
            gains = task.null_gains
            found = float(mean_bits_per_spike(gains.nats.sum(axis=0), gains.spikes.sum(axis=0)))
            if not math.isclose(found, np.mean(written), rel_tol=TOLERANCE, abs_tol=TOLERANCE):
                raise UserError(
                    f"{path}: the mean {key} of {eid} is {found:.6g} by its trials, but {np.mean(written):.6g} by "
                    "the neurons.csv beside it: they are of two tests. Test the run again."
                )

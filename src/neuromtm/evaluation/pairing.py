"""Comparison of two runs, neuron by neuron and session by session."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from neuromtm.errors import UserError
from neuromtm.evaluation.results import METRICS_FILE, NEURONS_FILE, Metrics, NeuronTable, read_metrics, read_neurons
from neuromtm.evaluation.statistics import Interval, bootstrap_mean, bootstrap_mean_of_means
from neuromtm.metrics.keys import BPS_KEYS

FEWEST_SESSIONS = 5
"""fewest sessions that are resampled; with fewer sessions, neurons are resampled within each session"""

TOLERANCE = 1e-4
"""largest difference of a metric in metrics.json from the mean of its column in neurons.csv, which has six digits"""


@dataclass(frozen=True)
class TestedRun:
    """The results of a test."""

    __test__ = False  # pytest would take it for a test class

    metrics: Metrics
    neurons: NeuronTable | None
    """None if there is no neurons.csv"""


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
    resampled: Literal["sessions", "neurons"]
    """what is resampled for the interval"""
    interval: Interval | None
    """95 % bootstrap interval of the difference"""

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
    """Match two runs' neurons by eid and uuid.

    Returns:
        Key of metrics.json -> the pair, for the activity tasks in which both runs score some neuron; empty if a run has
        no neurons.csv.
    """
    if reference.neurons is None or run.neurons is None:
        return {}
    return {key: paired for key in BPS_KEYS if (paired := _pair(key, reference.neurons, run.neurons)).sessions}


def against_mean_rate(run: TestedRun) -> dict[str, Paired]:
    """Pair a run with each neuron's mean rate, which scores 0 bits per spike. Returns are those of `pair`."""
    zeros = {
        eid: {uuid: dict.fromkeys(BPS_KEYS, 0.0) for uuid in neurons} for eid, neurons in (run.neurons or {}).items()
    }
    return pair(TestedRun(run.metrics, zeros), run)


def _pair(key: str, reference: NeuronTable, run: NeuronTable) -> Paired:
    sessions = {}
    for eid in (eid for eid in reference if eid in run):
        both = [u for u, metrics in reference[eid].items() if key in metrics and key in run[eid].get(u, {})]
        if both:
            columns = (np.array([table[eid][uuid][key] for uuid in both]) for table in (reference, run))
            sessions[eid] = SessionPair(*columns)
    differences = [pair.run - pair.reference for pair in sessions.values()]
    if len(sessions) >= FEWEST_SESSIONS:
        interval = bootstrap_mean(np.array([values.mean() for values in differences]), "compare", key)
        return Paired(key=key, sessions=sessions, resampled="sessions", interval=interval)
    interval = bootstrap_mean_of_means(differences, "compare", key)
    return Paired(key=key, sessions=sessions, resampled="neurons", interval=interval)


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
    neurons = path.with_name(f"{NEURONS_FILE.removesuffix('.csv')}{middle}.csv")
    if not neurons.exists():
        return TestedRun(metrics, None)
    table = read_neurons(neurons)
    _check_one_test(neurons, metrics, table)
    return TestedRun(metrics, table)


def _check_one_test(path: Path, metrics: Metrics, table: NeuronTable) -> None:
    for eid, key, values in _columns(table):
        found, written = math.fsum(values) / len(values), metrics["sessions"].get(eid, {}).get(key)
        if written is None or not math.isclose(found, written, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            raise UserError(
                f"{path}: the mean {key} of {eid} is {found:.6g}, but the metrics beside it say "
                f"{'nothing of it' if written is None else f'{written:.6g}'}: they are of two tests. "
                "Test the run again."
            )


def _columns(table: NeuronTable) -> Iterator[tuple[str, str, list[float]]]:
    for eid, neurons in table.items():
        for key in BPS_KEYS:
            values = [metrics[key] for metrics in neurons.values() if key in metrics]
            if values:
                yield eid, key, values

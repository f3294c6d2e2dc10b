"""`trials.h5`: the sums of each test trial, of which the bits per spike in neurons.csv are made.

With them, two runs are compared trial by trial, and trials are resampled. See `metrics.intervals`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from neuromtm.errors import UserError
from neuromtm.files import reason_of, whole_file
from neuromtm.hdf5_files import new_hdf5, require_plain
from neuromtm.metrics.intervals import Gains, trial_null_nll
from neuromtm.regular_files import require_regular

TRIALS_FILE = "trials.h5"
FORMAT = "neuromtm-trials"


@dataclass(frozen=True)
class TaskTrials:
    """One activity task of one session, trial by trial."""

    n_bins: int
    """scored bins of a trial"""
    model_nll: np.ndarray
    """(trial, neuron) float32 Poisson cost of these bins in nats, without the constant log(count!)"""
    spikes: np.ndarray
    """(trial, neuron) spikes in these bins"""
    scored: np.ndarray
    """(neuron,) bool, neurons that the task scored; the costs of others are 0"""

    @property
    def null_gains(self) -> Gains:
        """What is gained over each neuron's mean rate."""
        return Gains(trial_null_nll(self.spikes, self.n_bins) - self.model_nll, self.spikes)

    def of_neurons(self, neurons: np.ndarray) -> TaskTrials:
        """Some neurons, by their places."""
        return TaskTrials(self.n_bins, self.model_nll[:, neurons], self.spikes[:, neurons], self.scored[neurons])


@dataclass(frozen=True)
class TrialScores:
    """The activity tasks of one session, trial by trial."""

    subject: str
    """name of the animal"""
    uuid: tuple[str, ...]
    """of each neuron"""
    trial: np.ndarray
    """(trial,) int64 numbers of the trials in the shard, ascending"""
    tasks: Mapping[str, TaskTrials]
    """key of metrics.json -> its sums; a task that scored no neuron is absent"""


def write_trials(path: Path, sessions: Mapping[str, TrialScores]) -> None:
    """Write trials.h5.

    Args:
        path: the file.
        sessions: eid -> its trials.
    """
    with whole_file(path) as temporary, new_hdf5(temporary) as file:
        file.attrs.update(format=FORMAT, format_version=1)
        for number, (eid, session) in enumerate(sessions.items()):
            group = file.create_group(f"sessions/{number}")  # an eid may hold a slash
            group.attrs.update(eid=eid, subject=session.subject)
            group["trial"] = np.asarray(session.trial, np.int64)
            group.create_dataset("uuid", data=list(session.uuid), dtype=h5py.string_dtype())
            for key, task in session.tasks.items():
                own = group.create_group(key)
                own.attrs["n_bins"] = task.n_bins
                own["scored"] = task.scored
                packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True, "fletcher32": True}
                most = 0 if task.spikes.size == 0 else task.spikes.max()
                kind = np.uint16 if most < 2**16 else np.uint32
                for name, values in (("model_nll", task.model_nll.astype(np.float32)), ("spikes", task.spikes)):
                    values = values.astype(kind) if name == "spikes" else values
                    own.create_dataset(name, data=values, **packed if values.size else {})


def read_trials_file(path: Path) -> dict[str, TrialScores]:
    """Read trials.h5.

    Returns:
        Eid -> its trials.

    Raises:
        UserError: if a test did not write it.
    """
    try:
        with h5py.File(require_regular(path), "r", locking=False) as file:
            if file.attrs.get("format") != FORMAT:
                raise KeyError("format")
            require_plain(file)
            groups = list(file["sessions"].values()) if "sessions" in file else []
            sessions = {_text(group, "eid"): _session(group) for group in groups}
            if len(sessions) < len(groups):
                raise ValueError("a session stands there twice")
            return sessions
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise UserError(f"{path}: not the trials of a test ({reason_of(error)}). Test the run again.") from error


def _session(group: h5py.Group) -> TrialScores:
    uuid, trial = group["uuid"].asstr()[()], group["trial"][()]
    if uuid.ndim != 1 or trial.ndim != 1 or trial.dtype.kind not in "iu" or len(set(uuid.tolist())) < len(uuid):
        raise ValueError("uuid or trial of a session are not one name or number each")
    if len(trial) and (trial[0] < 0 or not (trial[1:] > trial[:-1]).all()):
        raise ValueError("the trials of a session do not ascend")
    tasks = {key: _task(own, (len(trial), len(uuid))) for key, own in group.items() if isinstance(own, h5py.Group)}
    return TrialScores(_text(group, "subject"), tuple(uuid.tolist()), trial, tasks)


def _task(group: h5py.Group, shape: tuple[int, int]) -> TaskTrials:
    n_bins, nll, spikes, scored = (
        group.attrs["n_bins"],
        *(group[name][()] for name in ("model_nll", "spikes", "scored")),
    )
    if not isinstance(n_bins, np.integer) or n_bins < 1:
        raise ValueError("n_bins is no number of bins")
    if (nll.shape, spikes.shape, scored.shape) != (shape, shape, shape[1:]):
        raise ValueError("the sums of a task are not of the trials and neurons")
    if nll.dtype.kind != "f" or spikes.dtype.kind != "u" or scored.dtype != bool or not np.isfinite(nll).all():
        raise ValueError("the sums of a task are not finite costs, counts, and yes or no")
    return TaskTrials(int(n_bins), nll, spikes, scored)


def _text(group: h5py.Group, name: str) -> str:
    value = group.attrs[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def animals_of(eids: Sequence[str], trials: Mapping[str, TrialScores] | None) -> list[str] | None:
    """The animal of each session; None if one of them is unknown."""
    if trials is None or any(eid not in trials for eid in eids):
        return None
    return [trials[eid].subject for eid in eids]

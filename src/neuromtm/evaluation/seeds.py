"""Several trainings of one model, which differ in their seeds, as one entry of a comparison."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from neuromtm.errors import UserError
from neuromtm.evaluation.pairing import TestedRun
from neuromtm.evaluation.results import NeuronTable, with_means
from neuromtm.evaluation.trials import TaskTrials, TrialScores


class Spread(NamedTuple):
    """A metric of several seeds."""

    n: int
    """seeds that have the metric"""
    mean: float
    deviation: float
    """standard deviation of the seeds, of which there are two or more (n - 1 in the denominator)"""
    low: float
    """the lowest seed"""
    high: float


def average(name: str, runs: Sequence[TestedRun]) -> TestedRun:
    """The mean of several runs' scores: session by session, neuron by neuron and trial by trial.

    What not all runs have is left out: a metric, a neuron's metric, the tables of neurons and the trials.

    Args:
        name: of the entry, for messages.
        runs: one or more.

    Raises:
        UserError: if they were tested on different sessions, or trained on different numbers of training trials.
    """
    if len(runs) == 1:
        return runs[0]
    eids = [set(run.metrics["sessions"]) for run in runs]
    if any(own != eids[0] for own in eids):
        odd = ", ".join(sorted(set.union(*eids) - set.intersection(*eids)))
        raise UserError(
            f"{name}: its runs were tested on different sessions; not all have {odd}. The runs of one entry differ in "
            "their seeds only: test each on the same sessions, or name them apart."
        )
    amounts = list(dict.fromkeys(run.train_trials for run in runs if run.train_trials is not None))
    if len(amounts) > 1:
        raise UserError(
            f"{name}: its runs were trained on different numbers of training trials of each session "
            f"({', '.join(amounts)}; data.n_train_trials). The runs of one entry differ in their seeds only: name them "
            "apart."
        )
    sessions = {eid: _mean([run.metrics["sessions"][eid] for run in runs]) for eid in runs[0].metrics["sessions"]}
    neurons = [run.neurons for run in runs if run.neurons is not None]
    trials = [run.trials for run in runs if run.trials is not None]
    return TestedRun(
        with_means(sessions),
        _mean_neurons(neurons) if len(neurons) == len(runs) else None,
        _mean_trials(trials) if len(trials) == len(runs) else None,
        amounts[0] if amounts else None,
    )


def spread(runs: Sequence[TestedRun]) -> dict[str, Spread]:
    """Key of metrics.json -> the spread of the runs' means over sessions, for the keys that two runs or more have."""
    found = {}
    for key in dict.fromkeys(key for run in runs for key in run.metrics["mean"]):
        values = np.array([run.metrics["mean"][key] for run in runs if key in run.metrics["mean"]])
        if len(values) > 1:
            found[key] = Spread(
                len(values),
                float(values.mean()),
                float(values.std(ddof=1)),
                float(values.min()),
                float(values.max()),
            )
    return found


def _mean(blocks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    keys = [key for key in blocks[0] if all(key in block for block in blocks)]
    return {key: float(np.mean([block[key] for block in blocks])) for key in keys}


def _mean_neurons(tables: Sequence[NeuronTable]) -> NeuronTable:
    first, *others = tables
    return {
        eid: {
            uuid: _mean([metrics, *(table[eid][uuid] for table in others)])
            for uuid, metrics in neurons.items()
            if all(uuid in table.get(eid, {}) for table in others)
        }
        for eid, neurons in first.items()
    }


def _mean_trials(runs: Sequence[Mapping[str, TrialScores]]) -> dict[str, TrialScores] | None:
    """The costs are averaged over the runs, since bits per spike are linear in them; None if runs differ in trials."""
    means = {}
    for eid, first in runs[0].items():
        own = [run[eid] for run in runs if eid in run and _same_trials(run[eid], first)]
        if len(own) < len(runs):
            return None
        tasks = {}
        for key, task in first.tasks.items():
            of_task = [one.tasks[key] for one in own if key in one.tasks and _same_counts(one.tasks[key], task)]
            if len(of_task) < len(runs):
                return None
            nll = np.stack([one.model_nll for one in of_task]).mean(axis=0, dtype=np.float64)
            tasks[key] = TaskTrials(task.n_bins, nll, task.spikes, task.scored)
        means[eid] = TrialScores(first.subject, first.uuid, first.trial, tasks)
    return means


def _same_trials(one: TrialScores, other: TrialScores) -> bool:
    return one.uuid == other.uuid and np.array_equal(one.trial, other.trial)


def _same_counts(one: TaskTrials, other: TaskTrials) -> bool:
    return one.n_bins == other.n_bins and np.array_equal(one.spikes, other.spikes)

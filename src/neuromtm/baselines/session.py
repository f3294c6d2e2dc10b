"""Baselines of whole sessions. A model's test takes the same trials and neurons, and scores them in the same way."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from neuromtm.baselines.choice import fit_baseline
from neuromtm.baselines.kind import SessionCounts
from neuromtm.batch import SessionInfo
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import DataError
from neuromtm.evaluation.psth import Conditions, task_conditions
from neuromtm.evaluation.scores import (
    NeuronScores,
    SessionScores,
    first_heard_in_test,
    psth_scores,
    session_scores,
    trial_scores,
)
from neuromtm.evaluation.tasks import HeldOut, Task
from neuromtm.metrics.absent import Absent
from neuromtm.metrics.neurons import NUMBER_COLUMNS, neuron_metrics
from neuromtm.metrics.spikes import BitsPerSpike, ConditionAverages, scored_log_rates
from neuromtm.metrics.trials import TrialSums


class Predicts(Protocol):
    """What predicts a task of one session."""

    @property
    def setting(self) -> dict[str, float]:
        """What was chosen on validation trials, by its name."""
        ...

    def predict(self, counts: np.ndarray) -> Iterator[HeldOut]:
        """Predict what the task hides of (trial, bin, neuron) float32 counts."""
        ...


Fitted = Mapping[Task, Predicts | Absent]
"""what predicts each task of a session, or why nothing does"""


class BaselineScores(NamedTuple):
    """The scores of a baseline, or of an average of rates, in one session."""

    session: SessionScores
    neurons: NeuronScores
    chosen: dict[Task, dict[str, float]]
    """settings chosen on validation trials, by their names"""
    absent: dict[Task, str]
    """why a task has no metric"""
    first_heard: str | None
    """see `first_heard_in_test`"""


def score_baseline(data: SessionDataModule, kind: str) -> Iterator[BaselineScores]:
    """Fit a baseline to every session of the data and score it on the test trials.

    Args:
        data: says which sessions and neurons; it may be set up already or not.
        kind: which baseline, by its name in `KINDS`.

    Raises:
        DataError: if a session lacks trials of a split.
        UserError: if the data cannot be read.
    """
    return score_each(data, lambda session: fit_baseline(kind, session))


def score_each(data: SessionDataModule, fit: Callable[[SessionCounts], Fitted]) -> Iterator[BaselineScores]:
    """Score predictions of every session of the data on its test trials; arguments and errors as of `score_baseline`.

    Args:
        data: see there.
        fit: makes the predictions of a session.
    """
    data.setup()
    for eid, header in data.headers.items():  # all sessions are checked before the first is fitted
        missing = [name for name, trials in header.splits.items() if len(trials) == 0]
        if missing:
            raise DataError(
                f"{eid}: has no trials in the split {' and '.join(missing)}. A baseline is fitted to train trials, "
                "chosen by validation trials and scored on test trials: prepare it again with more trials, or leave "
                "it out."
            )
    for eid, header in data.headers.items():
        numbers = header.splits["test"]
        conditions = task_conditions(header.trials.choice, header.trials.contrast, numbers)
        info = data.sessions[eid]
        train, val, test = (data.counts(eid, split).astype(np.float32) for split in ("train", "val", "test"))
        with threadpool_limits(1):  # a cluster's node is shared; two kinds side by side use two cores better
            fitted = fit(SessionCounts(info, train, val, data.bin_size_s))
            neurons = score_tasks(
                fitted,
                test,
                info,
                conditions=conditions._replace(number=conditions.number[numbers]),
                bin_size_s=data.bin_size_s,
                trials=numbers,
                subject=header.subject,
            )
        yield BaselineScores(
            session_scores(neurons),
            neurons,
            {task: one.setting for task, one in fitted.items() if not isinstance(one, Absent)},
            {task: one.reason for task, one in fitted.items() if isinstance(one, Absent)},
            first_heard_in_test(neurons, train.max(axis=(0, 1)) == 0),
        )


def score_tasks(
    fitted: Fitted,
    counts: np.ndarray,
    info: SessionInfo,
    *,
    conditions: Conditions,
    bin_size_s: float,
    trials: np.ndarray,
    subject: str,
) -> NeuronScores:
    """Score the predictions of each task, as a test scores a model.

    Args:
        fitted: what predicts each task.
        counts: (trial, bin, neuron) float32 spikes per bin of test trials.
        info: the session.
        conditions: conditions of these trials.
        bin_size_s: width of a bin.
        trials: (trial,) numbers of these trials in the shard.
        subject: name of the animal.
    """
    sums = TrialSums(np.sort(trials), info.n_neurons)
    unknown = torch.full((info.n_neurons,), torch.nan, dtype=torch.float64)
    metrics = dict.fromkeys(NUMBER_COLUMNS, unknown)
    for task, predictor in fitted.items():
        if isinstance(predictor, Absent):
            continue
        bps = BitsPerSpike(info.n_neurons)
        shares = neuron_metrics(info.n_neurons)
        averages = ConditionAverages(len(conditions.names), counts.shape[1], info.n_neurons)
        for predicted in predictor.predict(counts):
            log_rates = scored_log_rates(predicted.log_rates, bin_size_s=bin_size_s)
            held_out = predicted._replace(log_rates=log_rates)
            bps.update(held_out.log_rates, held_out.counts, neurons=held_out.neurons)
            own = {"trials": torch.as_tensor(trials, dtype=torch.int64), "neurons": held_out.neurons}
            sums.update(held_out.log_rates, held_out.counts, key=f"{task}_bps", **own)
            if task == "co_smoothing":
                for metric in shares.values():
                    metric.update(held_out.log_rates, held_out.counts, neurons=held_out.neurons)
                number = torch.from_numpy(conditions.number)
                averages.update(held_out.log_rates, held_out.counts, condition=number, neurons=held_out.neurons)
        metrics[f"{task}_bps"] = bps.compute()
        if task == "co_smoothing":
            metrics |= {name: metric.compute() for name, metric in shares.items()}
            metrics |= psth_scores(averages.compute(), info.n_neurons, bin_size_s=bin_size_s)
    # known even if nothing is predicted
    metrics["firing_rate_hz"] = torch.from_numpy(counts.mean(axis=(0, 1), dtype=np.float64) / bin_size_s)
    return NeuronScores(
        eid=info.eid,
        uuid=info.neurons,
        region=info.regions,
        columns={name: values.reshape(-1) for name, values in metrics.items()},
        trials=trial_scores(sums, subject, info.neurons),
    )


def notes(scores: BaselineScores) -> list[str]:
    """Lines that say which settings were chosen, which task has no metric and why, and which neurons are unexpected."""
    eid = scores.session.eid
    lines = [
        f"{eid} {task}: {', '.join(f'{name} {value:g}' for name, value in setting.items())}"
        for task, setting in scores.chosen.items()
        if setting
    ]
    lines += [f"{eid} {task}: no metric, because {reason}." for task, reason in scores.absent.items()]
    return lines + ([] if scores.first_heard is None else [scores.first_heard])


def baseline_text(kind: str, data: SessionDataModule, scores: Sequence[BaselineScores]) -> str:
    """The text of baseline.json: what was scored in the tables beside it."""
    record = {
        "kind": kind,
        "data": str(data.root),
        "min_firing_rate_hz": data.min_firing_rate_hz,
        "regions": data.regions,
        "n_train_trials": data.n_train_trials,
        "chosen": {one.session.eid: one.chosen for one in scores},
        "absent": {one.session.eid: one.absent for one in scores},
    }
    return json.dumps(record, indent=1) + "\n"

"""Scores of a model in a task, for any trials. A test computes the same scores."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from neuromtm.batch import Scheme, SessionGroup, SessionInfo
from neuromtm.evaluation.tasks import Task, predict_task
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import BitsPerSpike, mean_over_neurons, pooled_bits_per_spike, scored_log_rates
from neuromtm.models.stitching import StitchedModel


@dataclass(frozen=True, kw_only=True)
class TaskScore:
    """Bits per spike of one session in one task: above 0, the model knows more than each neuron's mean rate."""

    eid: str
    task: Task
    bps: np.ndarray
    """(neuron,) float64 bits per spike; NaN where a neuron was silent or is not in the task"""
    mean: float
    """mean over the neurons that have a value, as in metrics.json; NaN if none has"""
    pooled: float
    """bits per spike over the spikes of all scored neurons together, as in the Neural Latents Benchmark and
    BrainWideBench; NaN if no scored neuron has a spike"""
    uuid: tuple[str, ...]
    """(neuron,)"""
    region: tuple[str, ...]
    """(neuron,)"""


def score_task(
    task: Task,
    model: StitchedModel,
    objective: Objective,
    session: SessionInfo,
    groups: Iterable[SessionGroup],
    *,
    bin_size_s: float,
    prompt: Scheme | None,
) -> TaskScore:
    """Score a task.

    Args:
        task: which one.
        model: in evaluation mode.
        objective: what it was trained with.
        session: session of the trials.
        groups: the trials, some at a time, on the model's device.
        bin_size_s: width of a bin.
        prompt: scheme whose prompt and attention are used instead of the task's own.
    """
    metric = BitsPerSpike(session.n_neurons)
    for group in groups:
        metric.to(group.counts.device)
        for held_out in predict_task(task, model, objective, group, prompt=prompt):
            log_rates = scored_log_rates(held_out.log_rates, bin_size_s=bin_size_s)
            metric.update(log_rates, held_out.counts, neurons=held_out.neurons)
    bps = metric.compute().cpu().reshape(-1)  # torchmetrics drops the axis if there is one neuron
    scored = metric.entries > 0
    pooled = pooled_bits_per_spike(metric.model_nll[scored], metric.spikes[scored], metric.entries[scored])
    mean = mean_over_neurons(bps)
    return TaskScore(
        eid=session.eid,
        task=task,
        bps=bps.numpy(),
        mean=math.nan if mean is None else mean,
        pooled=float(pooled),
        uuid=session.neurons,
        region=session.regions,
    )

"""The ceiling of simulated sessions: the scores of the true rates, taken in place of a model's rates.

A true rate is the best prediction of a Poisson count, so on enough trials no model scores higher. On few trials a model
can score higher by luck.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor

from neuromtm.batch import RegionIndex, SessionInfo
from neuromtm.data.manifest import ChosenRole, choose_sessions
from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import SPLITS, ShardHeader, open_shard, read_header
from neuromtm.decoding.linear import Splits
from neuromtm.decoding.selection import DEFAULT_TARGETS, Candidate, Decoded, behavior_metrics, decode, labels_of
from neuromtm.decoding.targets import read_target
from neuromtm.errors import DataError
from neuromtm.evaluation.psth import Conditions, task_conditions
from neuromtm.evaluation.scores import NeuronScores, SessionScores, psth_scores, session_scores, trial_scores
from neuromtm.evaluation.tasks import TASKS, Task, n_forward_bins
from neuromtm.masking.regions import regions_for
from neuromtm.metrics.neurons import neuron_metrics
from neuromtm.metrics.spikes import BitsPerSpike, ConditionAverages, scored_log_rates
from neuromtm.metrics.trials import TrialSums

SMALLEST_RATE = 2.0**-24
"""expected spikes per bin; shards hold true rates in half precision, and a rate that rounds to 0 is taken as this"""


class Ceiling(NamedTuple):
    """The scores of a session's true rates."""

    session: SessionScores
    neurons: NeuronScores
    behavior: list[Decoded]


def ceiling(root: Path, *, sessions: Sequence[str] | None = None, role: ChosenRole = "heldout") -> list[Ceiling]:
    """Score the true rates of simulated sessions on the entries and trials that a test of a model scores.

    All neurons count, as in a test without a filter of neurons.

    Args:
        root: folder of shards with their manifest.
        sessions: eids; by default every session of the role.
        role: role of the sessions, if `sessions` does not name them.

    Raises:
        DataError: if a session is not there, has no true rates or no test trials.
        ManifestError: if the folder is not a data folder.
        ShardError: if a shard cannot be read.
    """
    root = Path(root)
    return [_session(root / entry.file) for entry in choose_sessions(root, eids=sessions, role=role)]


def _session(path: Path) -> Ceiling:
    header = read_header(path)
    with open_shard(path) as file:
        if "truth/rates" not in file:
            raise DataError(
                f"{path}: holds no true rates, which only simulated sessions have. A ceiling needs the output of "
                "python -m data_prep simulate."
            )
        if len(header.splits["test"]) == 0:
            raise DataError(f"{path}: has no test trials. Prepare it again with more trials.")
        rates = _of_splits(file["truth/rates"], header)
        counts = read_trials(file["spikes/counts"], header.splits["test"])
        targets = [read_target(file, header, name) for name in DEFAULT_TARGETS]
    splits = [header.splits[name] for name in SPLITS]
    labels = [labels_of(target, splits) for target in targets if target is not None]
    behavior = decode(header.eid, labels, [Candidate("rates", rates, prompt="truth")])
    trials = header.splits["test"]
    conditions = task_conditions(header.trials.choice, header.trials.contrast, trials)
    neurons = activity_ceiling(
        rates.test,
        counts,
        header.info,
        conditions=conditions._replace(number=conditions.number[trials]),
        bin_size_s=header.bin_size_s,
        trials=trials,
        subject=header.subject,
    )
    return Ceiling(session_scores(neurons, behavior_metrics(behavior)), neurons, behavior)


def _of_splits(dataset: h5py.Dataset, header: ShardHeader) -> Splits:
    return Splits(*(read_trials(dataset, header.splits[name]).astype(np.float32) for name in SPLITS))


def activity_ceiling(
    rates: np.ndarray,
    counts: np.ndarray,
    info: SessionInfo,
    *,
    conditions: Conditions,
    bin_size_s: float,
    trials: np.ndarray,
    subject: str,
) -> NeuronScores:
    """Score true rates in the four activity tasks, as a test scores a model.

    Args:
        rates: (trial, bin, neuron) expected spikes per bin.
        counts: (trial, bin, neuron) spikes per bin.
        info: the session.
        conditions: conditions of these trials.
        bin_size_s: width of a bin.
        trials: (trial,) numbers of these trials in the shard.
        subject: name of the animal.
    """
    sums = TrialSums(np.sort(trials), info.n_neurons)
    log_rates, spikes = torch.from_numpy(rates).clamp(min=SMALLEST_RATE).log(), torch.from_numpy(counts)
    log_rates = scored_log_rates(log_rates, bin_size_s=bin_size_s)
    region, metrics = info.region_index(), {}
    for task in TASKS:
        first_bin = rates.shape[1] - n_forward_bins(rates.shape[1]) if task == "forward_prediction" else 0
        bps, scored = BitsPerSpike(info.n_neurons), _scored(task, region)
        bps.update(log_rates[:, first_bin:], spikes[:, first_bin:], scored=scored)
        sums.update(
            log_rates[:, first_bin:, scored],
            spikes[:, first_bin:, scored],
            key=f"{task}_bps",
            trials=torch.as_tensor(trials, dtype=torch.int64),
            neurons=torch.nonzero(scored)[:, 0],
        )
        metrics[f"{task}_bps"] = bps.compute()
    for name, metric in neuron_metrics(info.n_neurons).items():
        metric.update(log_rates, spikes)
        metrics[name] = metric.compute()
    averages = ConditionAverages(len(conditions.names), rates.shape[1], info.n_neurons)
    averages.update(log_rates, spikes, condition=torch.from_numpy(conditions.number))
    metrics |= psth_scores(averages.compute(), info.n_neurons, bin_size_s=bin_size_s)
    return NeuronScores(
        eid=info.eid,
        uuid=info.neurons,
        region=info.regions,
        columns={name: values.reshape(-1) for name, values in metrics.items()},
        trials=trial_scores(sums, subject, info.neurons),
    )


def _scored(task: Task, region: RegionIndex) -> Tensor:
    """(neuron,) bool, the neurons that the task leaves out and predicts."""
    if task in ("intra_region", "inter_region"):
        return torch.isin(region.number, torch.tensor(regions_for(task, region), dtype=torch.int64))
    return torch.ones_like(region.number, dtype=torch.bool)

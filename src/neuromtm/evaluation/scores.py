"""Results of a test for one session: the metrics of its neurons, and of the session as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from neuromtm.evaluation.trials import TaskTrials, TrialScores
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.spikes import Psth, mean_over_neurons, median_over_neurons
from neuromtm.metrics.trials import SumsByTrial, TrialSums

MOST_NAMED = 10
"""neurons that a line names"""


@dataclass(frozen=True, kw_only=True)
class NeuronScores:
    """The activity tasks' metrics of one session's neurons."""

    eid: str
    uuid: tuple[str, ...]
    region: tuple[str, ...]
    columns: Mapping[str, Tensor]
    """`NUMBER_COLUMNS` of neurons.csv -> (neuron,) its values, NaN where undefined"""
    trials: TrialScores | None = None
    """the sums of each trial, of which the bits per spike are made; None if they were not kept, as in a validation"""


@dataclass(frozen=True, kw_only=True)
class SessionScores:
    """One session's metrics, in the order of metrics.json; None where the data has no such label or task."""

    eid: str
    co_smoothing_bps: float | None = None
    forward_prediction_bps: float | None = None
    intra_region_bps: float | None = None
    inter_region_bps: float | None = None
    medians: Mapping[str, float] = field(default_factory=dict)
    """`MEDIAN_KEYS` -> the median over neurons, of the tasks that have one"""
    behavior: Mapping[str, float] = field(default_factory=dict)
    """metrics of behaviour by their keys, see `metrics.keys`; that of encoding is among them"""

    def metrics(self) -> dict[str, float]:
        """The metrics that are not None, by their keys in metrics.json."""
        tasks = {key: getattr(self, key) for key in BPS_KEYS}
        return {
            key: float(value) for key, value in {**tasks, **self.medians, **self.behavior}.items() if value is not None
        }


def activity_means(neurons: NeuronScores) -> dict[str, float | None]:
    """Each activity task's mean over the neurons that have a metric, by its key in metrics.json."""
    return {key: mean_over_neurons(neurons.columns[key]) for key in BPS_KEYS}


def session_scores(neurons: NeuronScores, behavior: Mapping[str, float] | None = None) -> SessionScores:
    """A session's metrics: means and medians over its neurons.

    Args:
        neurons: metrics of its neurons.
        behavior: metrics of behaviour by their keys.
    """
    found = {key: median_over_neurons(neurons.columns[key]) for key in BPS_KEYS}
    medians = {f"{key}_median": value for key, value in found.items() if value is not None}
    return SessionScores(eid=neurons.eid, medians=medians, behavior=behavior or {}, **activity_means(neurons))


def first_heard_in_test(neurons: NeuronScores, silent: np.ndarray) -> str | None:
    """A line that names the neurons which fire in the test and never did in training; None if there is none.

    Args:
        neurons: the session's scores.
        silent: (neuron,) bool, the neurons without a spike in the training trials.
    """
    rates_hz = neurons.columns["firing_rate_hz"].double().cpu().numpy()
    names = [neurons.uuid[place] for place in np.flatnonzero(silent & (rates_hz > 0))]
    if not names:
        return None
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return (
        f"{neurons.eid}: fires in the test but in no training trial: {', '.join(names[:MOST_NAMED])}{more}. Nothing "
        "could be learned of this rate, and it can pull the session's mean down far; look at the median too."
    )


def psth_scores(psth: Psth | None, n_neurons: int, *, bin_size_s: float) -> dict[str, Tensor]:
    """The columns of neurons.csv that need trial averages. Without averages, as in a validation, they are undefined.

    Args:
        psth: averages over the trials scored; None if there are none.
        n_neurons: number of neurons of the session.
        bin_size_s: width of a bin.
    """
    if psth is None:
        unknown = torch.full((n_neurons,), torch.nan, dtype=torch.float64)
        return {"psth_r2": unknown, "firing_rate_hz": unknown}
    spikes = torch.where(psth.trials > 0, psth.trials * psth.observed, 0).sum(dim=(0, 1))
    return {"psth_r2": psth.r2(), "firing_rate_hz": spikes / psth.trials.sum(dim=(0, 1)) / bin_size_s}


def trial_scores(sums: TrialSums, subject: str, uuid: Sequence[str]) -> TrialScores:
    """A session's trials as they are written. Trials that were not scored and tasks without a neuron are left out.

    Args:
        sums: of the session, over all ranks.
        subject: name of the animal.
        uuid: of each neuron.
    """
    found = SumsByTrial(*(part.cpu() for part in sums.compute()))
    seen = found.seen.numpy()
    tasks = {
        key: TaskTrials(
            int(found.n_bins[task]),
            found.model_nll[task].numpy()[seen],
            found.spikes[task].numpy()[seen].astype(np.int64),
            found.scored[task].numpy(),
        )
        for task, key in enumerate(BPS_KEYS)
        if found.scored[task].any()
    }
    return TrialScores(subject, tuple(uuid), sums.number.cpu().numpy()[seen], tasks)


def pooled(neurons: Sequence[NeuronScores], name: str) -> np.ndarray:
    """(neuron,) float64 values of one metric, for the neurons of all sessions one after the other.

    Args:
        neurons: one entry per session.
        name: name of the column.
    """
    return np.concatenate([table.columns[name].double().cpu().numpy() for table in neurons])

"""Results of a test for one session: the metrics of its neurons, and of the session as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.spikes import Psth, mean_over_neurons


@dataclass(frozen=True, kw_only=True)
class NeuronScores:
    """The activity tasks' metrics of one session's neurons. Each tensor is (neuron,), with NaN where undefined."""

    eid: str
    uuid: tuple[str, ...]
    region: tuple[str, ...]
    co_smoothing_bps: Tensor
    forward_prediction_bps: Tensor
    intra_region_bps: Tensor
    inter_region_bps: Tensor
    r2: Tensor
    """single-trial R2 of the co-smoothing rates"""
    deviance_explained: Tensor
    """share of the Poisson deviance that the co-smoothing rates explain"""
    psth_r2: Tensor
    """R2 of the co-smoothing rates' averages by task condition"""
    firing_rate_hz: Tensor
    """over the test trials"""


@dataclass(frozen=True, kw_only=True)
class SessionScores:
    """One session's metrics, in the order of metrics.json; None where the data has no such label or task."""

    eid: str
    co_smoothing_bps: float | None = None
    forward_prediction_bps: float | None = None
    intra_region_bps: float | None = None
    inter_region_bps: float | None = None
    behavior: Mapping[str, float] = field(default_factory=dict)
    """metrics of behaviour by their keys, see `metrics.keys`"""

    def metrics(self) -> dict[str, float]:
        """The metrics that are not None, by their keys in metrics.json."""
        tasks = {key: getattr(self, key) for key in BPS_KEYS}
        return {key: float(value) for key, value in {**tasks, **self.behavior}.items() if value is not None}


def activity_means(neurons: NeuronScores) -> dict[str, float | None]:
    """Each activity task's mean over the neurons that have a metric, by its key in metrics.json."""
    return {key: mean_over_neurons(getattr(neurons, key)) for key in BPS_KEYS}


def psth_scores(psth: Psth | None, n_neurons: int, *, bin_size_s: float) -> dict[str, Tensor]:
    """The metrics of `NeuronScores` that need trial averages. Without averages, as in a validation, they are undefined.

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


def pooled(neurons: Sequence[NeuronScores], name: str) -> np.ndarray:
    """(neuron,) float64 values of one metric, for the neurons of all sessions one after the other.

    Args:
        neurons: one entry per session.
        name: name of a tensor of `NeuronScores`.
    """
    return np.concatenate([getattr(table, name).double().cpu().numpy() for table in neurons])

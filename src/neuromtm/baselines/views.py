"""What a regression reads and what it predicts: the problems of each task, and their samples in time."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange

from neuromtm.baselines.psth import TrialAverage
from neuromtm.batch import SessionInfo
from neuromtm.evaluation.tasks import Task
from neuromtm.masking.regions import regions_for
from neuromtm.smoothing import gaussian_weights

CHUNK = 64
"""trials whose features are held in double precision at once"""


class Problem(NamedTuple):
    """Some neurons, to be predicted from others."""

    visible: np.ndarray
    """(visible,) places in the session"""
    hidden: np.ndarray
    """(hidden,) places in the session"""
    left_out: bool
    """whether the two are the same neurons, and each is predicted from all others"""


def problems_of(task: Task, info: SessionInfo) -> list[Problem]:
    """The problems that make up a task; none where the session has too few regions."""
    region, every = info.region_index(), np.arange(info.n_neurons)
    match task:
        case "co_smoothing":
            return [Problem(every, every, left_out=True)]
        case "forward_prediction":
            return [Problem(every, every, left_out=False)]  # the past of every neuron is visible
        case "intra_region" | "inter_region":
            members = [torch.nonzero(region.number == r)[:, 0].numpy() for r in regions_for(task, region)]
            if task == "intra_region":
                return [Problem(inside, inside, left_out=True) for inside in members]
            return [Problem(np.setdiff1d(every, inside), inside, left_out=False) for inside in members]


@dataclass(frozen=True)
class View:
    """The bins that are read, and those that are predicted, at each position in a trial."""

    read: np.ndarray
    """(position, bin) float32 weights of the bins read"""
    predicted: np.ndarray
    """(position, bin) float32, 1 for the bins whose sum is predicted, else 0"""
    future: bool
    """whether only the past is read; a test then asks for the end of the trial"""
    width_s: float
    """width of the Gaussian, or time constant of the forgetting"""

    @property
    def tested(self) -> slice:
        """The positions that a test asks for."""
        return slice(-1, None) if self.future else slice(None)

    @property
    def bins(self) -> slice:
        """The bins that are predicted at the positions tested."""
        found = np.flatnonzero(self.predicted[self.tested].any(axis=0))
        return slice(int(found[0]), int(found[-1]) + 1)

    @property
    def n_summed(self) -> int:
        """Bins whose sum is predicted."""
        return int(self.predicted[0].sum())


def beside(n_bins: int, *, width_s: float, bin_size_s: float) -> View:
    """Each bin is predicted from the visible neurons' counts around it, weighted by a Gaussian.

    Args:
        n_bins: bins a trial.
        width_s: standard deviation.
        bin_size_s: width of a bin.
    """
    read = gaussian_weights(n_bins, width_s=width_s, bin_size_s=bin_size_s).astype(np.float32)
    return View(read, np.eye(n_bins, dtype=np.float32), future=False, width_s=width_s)


def ahead(n_bins: int, *, n_hidden: int, width_s: float, bin_size_s: float) -> View:
    """The sum of the next bins is predicted from the past, which is forgotten exponentially.

    A regression is fitted at every bin of a trial that `n_hidden` bins or more follow. It is tested where the trial
    ends with them.

    Args:
        n_bins: bins a trial, more than `n_hidden`.
        n_hidden: bins predicted.
        width_s: time constant of the forgetting.
        bin_size_s: width of a bin.
    """
    age = np.arange(n_bins - n_hidden)[:, None] - np.arange(n_bins)[None, :]
    # time before the trial counts as average, so the weights of a short past add up to less than 1
    read = np.where(age >= 0, np.exp(-np.maximum(age, 0) * bin_size_s / width_s), 0)
    read *= -np.expm1(-bin_size_s / width_s)
    predicted = (age < 0) & (age >= -n_hidden)
    return View(read.astype(np.float32), predicted.astype(np.float32), future=True, width_s=width_s)


@dataclass(frozen=True)
class Reader:
    """Counts -> features: what is read, minus its train average, in standard deviations."""

    view: View
    center: np.ndarray
    """(position, neuron) float32 train average of what is read"""
    scale: np.ndarray
    """(neuron,) float32 that gives the features unit variance; 0 for a neuron that does not vary"""

    def tested(self, counts: np.ndarray, neurons: np.ndarray) -> np.ndarray:
        """(trial, position', neuron') float32 features at the positions that a test asks for.

        Args:
            counts: (trial, bin, neuron) float32 spikes per bin; only the bins that the view reads there have an effect.
            neurons: (neuron',) places in the session.
        """
        tested = self.view.tested
        read = np.matmul(self.view.read[tested], counts[..., neurons])
        return (read - self.center[tested][:, neurons]) * self.scale[neurons]


@dataclass(frozen=True)
class Design:
    """The train trials as samples of a regression, one sample per trial and position."""

    reader: Reader
    features: np.ndarray
    """(trial, position, neuron) float32, see `Reader`"""
    expected: np.ndarray
    """(position, neuron) float32 spikes in the predicted bins, as the trial average predicts them"""
    counts: np.ndarray
    """(trial, position, neuron) float32 spikes in the bins predicted"""
    models: dict[int, Any] = field(default_factory=dict)
    """number of factors -> the factor model of all features, fitted once for all tasks"""

    @property
    def n_samples(self) -> int:
        """Trials times positions."""
        return self.features.shape[0] * self.features.shape[1]

    @cached_property
    def mean(self) -> np.ndarray:
        """(neuron,) float64 mean over samples of the trial average's prediction."""
        return self.expected.mean(axis=0, dtype=np.float64)

    @cached_property
    def gram(self) -> np.ndarray:
        """(neuron, neuron) float64 sums over samples of products of features."""
        return self._products(lambda chosen: self.features[chosen])

    @cached_property
    def cross(self) -> np.ndarray:
        """(neuron, neuron) float64 sums over samples of features times (counts minus trial average)."""
        return self._products(lambda chosen: self.counts[chosen] - self.expected)

    def _products(self, right: Callable[[slice], np.ndarray]) -> np.ndarray:
        total = np.zeros((self.features.shape[2],) * 2)
        for start in range(0, len(self.features), CHUNK):
            chosen = slice(start, start + CHUNK)
            left, other = (
                rearrange(values, "trial position neuron -> (trial position) neuron").astype(np.float64)
                for values in (self.features[chosen], right(chosen))
            )
            total += left.T @ other
        return total


def design(view: View, train: np.ndarray, average: TrialAverage) -> Design:
    """Make a regression's samples of the train trials.

    Args:
        view: what is read and predicted.
        train: (trial, bin, neuron) float32 spikes per bin.
        average: trial average of these trials.
    """
    features = np.matmul(view.read, train)
    center = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    features -= center
    deviation = np.sqrt(np.mean([np.square(trial).mean(axis=0) for trial in features], axis=0))
    # a smaller deviation is the rounding of a constant in single precision
    varies = deviation > 1e-6 * np.maximum(np.abs(center).max(axis=0), average.mean)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=varies)
    features *= scale
    counts = np.matmul(view.predicted, train)
    return Design(Reader(view, center, scale), features, view.predicted @ average.rates, counts)

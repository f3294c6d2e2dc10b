"""Fitted baselines: they read what a task shows of some trials, and predict rates of what it hides."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from neuromtm.baselines.psth import TrialAverage
from neuromtm.baselines.regression import Weights
from neuromtm.baselines.views import Problem, Reader
from neuromtm.evaluation.tasks import HeldOut

LARGEST_LOG_GAIN = 20.0
"""log-gains above this are cut to it; rates are bounded far below"""


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A baseline that is fitted to a task: here the trial average alone.

    Attributes:
        problems: problems of the task.
        bins: the bins that it predicts.
        average: trial average of the session's train trials.
        floor: smallest rate, as a share of the neuron's mean.
        setting: what was chosen on validation trials, by its name.
    """

    problems: list[Problem]
    bins: slice
    average: TrialAverage
    floor: float
    setting: dict[str, float]

    def predict(self, counts: np.ndarray) -> Iterator[HeldOut]:
        """Predict what the task hides from what it shows, one problem at a time.

        Args:
            counts: (trial, bin, neuron) float32 spikes per bin.
        """
        for place, problem in enumerate(self.problems):
            rates = self.average.bounded(self.unbounded(place, counts), floor=self.floor, neurons=problem.hidden)
            hidden = counts[:, self.bins][..., problem.hidden]
            yield HeldOut(*map(torch.from_numpy, (np.log(rates), hidden, problem.hidden)))

    def unbounded(self, place: int, counts: np.ndarray) -> np.ndarray:
        """(trial, bin', hidden) predictions of a problem, before they are bounded to possible rates.

        Args:
            place: place of the problem in `problems`.
            counts: (trial, bin, neuron) float32 spikes per bin.
        """
        expected = self.expected(place)
        return np.broadcast_to(expected, (len(counts), *expected.shape))

    def expected(self, place: int) -> np.ndarray:
        """(bin', hidden) prediction of the trial average."""
        return self.average.rates[self.bins][:, self.problems[place].hidden]


@dataclass(frozen=True, kw_only=True)
class FromOthers(Predictor):
    """The trial average; regression on the visible neurons adds to it, or to its logarithm."""

    reader: Reader
    weights: list[Weights]
    """weights of each problem"""

    def unbounded(self, place: int, counts: np.ndarray) -> np.ndarray:
        slope, log_gain = self.weights[place]
        change = np.matmul(self.reader.tested(counts, self.problems[place].visible), slope)
        if log_gain is None:
            return self.expected(place) + change / self.reader.view.n_summed
        return self.expected(place) * np.exp(np.minimum(change + log_gain, LARGEST_LOG_GAIN))

"""The PSTH: each neuron's expected count in each bin, the same in every trial. Every other baseline starts from it."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from neuromtm.smoothing import smooth

AVERAGE_WIDTHS_S = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""standard deviations of the Gaussian that smooths the trial average"""
FLOORS = (0.001, 0.01, 0.03, 0.1, 0.2, 0.4)
"""smallest rates, as shares of the neuron's mean; without one, the cost of an unexpected spike has no bound"""


class TrialAverage(NamedTuple):
    """The activity of each neuron in an average trial."""

    rates: np.ndarray
    """(bin, neuron) float32 expected spikes per bin, above 0: the PSTH"""
    mean: np.ndarray
    """(neuron,) float32 mean spikes per bin; half a spike is added, so that none is 0"""
    largest: np.ndarray
    """(neuron,) float32 the largest count in a bin, at least 1: no rate is above it"""
    setting: dict[str, float]
    """what was chosen on validation trials"""

    def bounded(self, rates: np.ndarray, *, floor: float, neurons: np.ndarray) -> np.ndarray:
        """Bound predictions to possible rates.

        Args:
            rates: (trial, bin, neuron') expected spikes per bin, perhaps negative.
            floor: smallest rate, as a share of the mean.
            neurons: (neuron',) places in the session.
        """
        return np.clip(rates, floor * self.mean[neurons], self.largest[neurons])

    def cost(self, rates: np.ndarray, counts: np.ndarray, *, neurons: np.ndarray) -> np.ndarray:
        """(neuron',) cost by which settings are chosen: nats per spike, on entries that were not fitted.

        The divisor is the number of spikes expected from the mean, plus one. Validation has few trials: a neuron that
        hardly fires must not decide, and neither must the chance that it fires there.

        Args:
            rates: (trial, bin, neuron') expected spikes per bin, above 0; one trial stands for all.
            counts: (trial, bin, neuron') spikes per bin.
            neurons: (neuron',) places in the session.
        """
        nll = (rates - counts * np.log(rates)).sum(axis=(0, 1), dtype=np.float64)
        return nll / (1 + self.mean[neurons] * counts.shape[0] * counts.shape[1])


def smoothed_averages(train: np.ndarray, *, bin_size_s: float) -> Iterable[TrialAverage]:
    """The trial average under every setting.

    Args:
        train: (trial, bin, neuron) spikes per bin.
        bin_size_s: width of a bin.
    """
    average = train.mean(axis=0, dtype=np.float64)
    n_entries = train.shape[0] * train.shape[1]
    mean = (train.sum(axis=(0, 1), dtype=np.float64) + 0.5) / n_entries
    largest = np.maximum(train.max(axis=(0, 1)), 1).astype(np.float32)
    for width_s in AVERAGE_WIDTHS_S:
        course = smooth(average, width_s=width_s, bin_size_s=bin_size_s)
        for floor in FLOORS:
            rates = np.maximum(course, floor * mean).astype(np.float32)
            setting = {"average_width_s": width_s, "average_floor": floor}
            yield TrialAverage(rates, mean.astype(np.float32), largest, setting)


def fit_average(train: np.ndarray, val: np.ndarray, *, bin_size_s: float) -> TrialAverage:
    """The trial average with the smoothing and floor of least cost on validation trials.

    Args:
        train: (trial, bin, neuron) spikes per bin.
        val: (trial, bin, neuron) spikes per bin.
        bin_size_s: width of a bin.
    """
    every = np.arange(train.shape[2])

    def cost(average: TrialAverage) -> float:
        return float(average.cost(average.rates[None], val, neurons=every).mean())

    return min(smoothed_averages(train, bin_size_s=bin_size_s), key=cost)

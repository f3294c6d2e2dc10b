"""The metrics of the co-smoothing rates that each neuron has a column for in neurons.csv, beside its bits per spike."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

from neuromtm.metrics.keys import BPS_KEYS

if TYPE_CHECKING:  # torch is not needed to read results
    from neuromtm.metrics.spikes import NeuronSums


class NeuronMetric(NamedTuple):
    """A metric of each neuron."""

    module: str
    """imported when the metric is made"""
    name: str
    """its class there, a `NeuronSums`"""
    meaning: str
    """what it means, in a sentence or two"""


NEURON_METRICS = {
    "r2": NeuronMetric(
        "neuromtm.metrics.spikes",
        "RateR2",
        "Single-trial R2 of the co-smoothing rates: share of the variance of the counts, bin by bin. It is small "
        "even for the true rates, because most of the variance of single bins is chance.",
    ),
    "deviance_explained": NeuronMetric(
        "neuromtm.metrics.spikes",
        "DevianceExplained",
        "Share of the Poisson deviance that the co-smoothing rates explain: 0 for the mean rate, 1 for "
        "the counts themselves. Like R2 it stays far below 1 even for the true rates.",
    ),
}
"""by their columns"""
_FIRST = ("eid", "uuid", "region", *BPS_KEYS, "r2", "deviance_explained", "psth_r2", "firing_rate_hz")
NEURON_COLUMNS = tuple(dict.fromkeys((*_FIRST, *NEURON_METRICS)))
"""of neurons.csv; new ones come at the end"""
NUMBER_COLUMNS = NEURON_COLUMNS[3:]
"""those that hold numbers"""


def neuron_metrics(n_neurons: int) -> dict[str, NeuronSums]:
    """Make every metric, with sums of 0.

    Args:
        n_neurons: number of neurons of all sessions together.
    """
    return {
        column: getattr(import_module(metric.module), metric.name)(n_neurons)
        for column, metric in NEURON_METRICS.items()
    }

"""What bits per spike are made of, kept apart by trial: from it the score of any choice of trials can be computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.metrics.sums import Sums


class SumsByTrial(NamedTuple):
    """What `TrialSums` holds."""

    model_nll: Tensor
    """(task, trial, neuron) sum of `poisson_nll` over a trial's scored bins, in the order of `BPS_KEYS`"""
    spikes: Tensor
    """(task, trial, neuron) spikes in these bins"""
    n_bins: Tensor
    """(task,) scored bins of a trial"""
    scored: Tensor
    """(task, neuron) bool, the neurons that each task scored"""
    seen: Tensor
    """(trial,) bool, the trials that were scored"""


class TrialSums(Sums):
    """Sums over the scored bins of each trial of one session, for each activity task and neuron.

    The states are there from the start and are brought together over ranks, of which each has other trials. They are
    held in single precision: a place is written once, not added to.
    """

    model_nll: Tensor
    spikes: Tensor
    n_bins: Tensor
    scored: Tensor
    seen: Tensor
    number: Tensor

    def __init__(self, trials: Sequence[int] | np.ndarray, n_neurons: int):
        """Start with sums of 0.

        Args:
            trials: (trial,) numbers of the trials that may be scored, ascending.
            n_neurons: number of neurons.
        """
        super().__init__()
        number = torch.as_tensor(np.asarray(trials, np.int64))
        self.register_buffer("number", number, persistent=False)
        n_tasks, n_trials = len(BPS_KEYS), len(number)
        for name, shape, over_ranks in (
            ("model_nll", (n_tasks, n_trials, n_neurons), "sum"),
            ("spikes", (n_tasks, n_trials, n_neurons), "sum"),
            ("n_bins", (n_tasks,), "max"),
            ("scored", (n_tasks, n_neurons), "max"),
            ("seen", (n_trials,), "max"),
        ):
            self.add_state(name, torch.zeros(shape), dist_reduce_fx=over_ranks)

    def update(self, log_rates: Tensor, counts: Tensor, *, key: str, trials: Tensor, neurons: Tensor) -> None:
        """Note a batch's trials.

        Args:
            log_rates: (trial, bin, neuron) log of the expected spikes per bin.
            counts: (trial, bin, neuron) spikes per bin.
            key: key of the task in metrics.json.
            trials: (trial,) int64 number of each trial.
            neurons: (neuron,) int64 place of each neuron.
        """
        task, places = BPS_KEYS.index(key), torch.searchsorted(self.number, trials)
        nll = poisson_nll(log_rates.detach(), counts).sum(dim=1, dtype=torch.float64)
        self.model_nll[task, places[:, None], neurons] = nll.float()
        self.spikes[task, places[:, None], neurons] = counts.sum(dim=1, dtype=torch.float64).float()
        self.n_bins[task] = log_rates.shape[1]
        self.scored[task, neurons] = 1
        self.seen[places] = 1

    def compute(self) -> SumsByTrial:
        """The sums of all ranks."""
        return SumsByTrial(self.model_nll, self.spikes, self.n_bins, self.scored > 0, self.seen > 0)

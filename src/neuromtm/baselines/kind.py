"""What a kind of baseline is, and the trials on which it is fitted and its settings are chosen."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from neuromtm.baselines.prediction import Predictor
from neuromtm.baselines.views import Problem, View, ahead, beside
from neuromtm.batch import SessionInfo
from neuromtm.evaluation.tasks import Task, n_forward_bins

BESIDE_WIDTHS_S = (0.02, 0.05, 0.1, 0.2, 0.4)
"""standard deviations of the Gaussian that smooths visible neurons"""
AHEAD_WIDTHS_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""time constants with which the past is forgotten exponentially"""


class SessionCounts(NamedTuple):
    """The trials on which a session's baselines are fitted and their settings are chosen."""

    info: SessionInfo
    train: np.ndarray
    """(trial, bin, neuron) float32 spikes per bin"""
    val: np.ndarray
    """(trial, bin, neuron) float32 spikes per bin"""
    bin_size_s: float

    @property
    def n_bins(self) -> int:
        return self.train.shape[1]

    @property
    def n_hidden(self) -> int:
        """Bins that forward prediction hides."""
        return n_forward_bins(self.n_bins)

    def view(self, task: Task, width_s: float) -> View:
        """What a baseline may read in a task and what it must predict, at one width of smoothing."""
        if task != "forward_prediction":
            return beside(self.n_bins, width_s=width_s, bin_size_s=self.bin_size_s)
        return ahead(self.n_bins, n_hidden=self.n_hidden, width_s=width_s, bin_size_s=self.bin_size_s)


class Baseline(NamedTuple):
    """A kind of baseline."""

    reads: Literal["nothing", "own past", "other neurons"]
    """what it predicts from, besides the trial average"""
    fit: Callable[[Mapping[Task, Predictor], SessionCounts], dict[Task, Predictor]]
    """the trial averages of the tasks that it can predict, and the session -> the predictors of these tasks"""

    def why_absent(self, task: Task, session: SessionCounts, problems: Sequence[Problem]) -> str | None:
        """Why it cannot predict what a task hides; None if it can.

        Args:
            task: which one.
            session: the session, with every neuron and bin that a test scores.
            problems: problems of the task.
        """
        if task == "forward_prediction":
            if session.n_hidden == session.n_bins and self.reads != "nothing":
                return "a trial of one bin has no past"
        elif self.reads == "own past":
            return "a neuron's own past is hidden with it"
        elif task == "co_smoothing" and session.info.n_neurons == 1 and self.reads != "nothing":
            return "the session has no other neuron"
        if not problems:
            needs = {
                "intra_region": "no known region has two neurons",
                "inter_region": "no neuron lies outside a region",
            }
            return needs[task]
        return None

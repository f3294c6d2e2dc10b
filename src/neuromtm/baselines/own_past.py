"""`smoothed`: each neuron's trial average times a gain, which its own past gives."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from neuromtm.baselines.kind import AHEAD_WIDTHS_S, Baseline, SessionCounts
from neuromtm.baselines.prediction import Predictor
from neuromtm.baselines.search import fields_of, least_cost
from neuromtm.baselines.views import View
from neuromtm.evaluation.tasks import Task

PRIOR_SPIKES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""weight of the trial average against a neuron's own past, in expected spikes"""


@dataclass(frozen=True, kw_only=True)
class FromOwnPast(Predictor):
    """The trial average times a gain, which the neuron's own past gives.

    The gain has a Gamma prior of mean 1, which weighs as much as `prior_spikes` expected spikes. The data are Poisson
    counts that are forgotten exponentially. The posterior mean is (prior + counts) / (prior + expected counts).
    """

    view: View
    prior_spikes: float

    def unbounded(self, place: int, counts: np.ndarray) -> np.ndarray:
        neurons = self.problems[place].hidden
        weights = self.view.read[self.view.tested]
        weights = weights / weights.max()  # the last bin seen counts in full
        seen = np.matmul(weights, counts[..., neurons])
        gain = (self.prior_spikes + seen) / (self.prior_spikes + weights @ self.average.rates[:, neurons])
        return self.expected(place) * gain


def own_past(plain: Mapping[Task, Predictor], session: SessionCounts) -> dict[Task, Predictor]:
    """Choose the forgetting and the prior of least cost on validation trials, for each task."""

    def tried(task: Task) -> Iterator[Predictor]:
        for width_s in AHEAD_WIDTHS_S:
            view = session.view(task, width_s)
            for prior_spikes in PRIOR_SPIKES:
                setting = plain[task].setting | {"width_s": width_s, "prior_spikes": prior_spikes}
                yield FromOwnPast(**fields_of(plain[task], setting), view=view, prior_spikes=prior_spikes)

    fitted: dict[Task, Predictor] = {}
    for task in plain:
        chosen = least_cost(tried(task), session.val)
        assert chosen is not None  # some setting is always tried
        fitted[task] = chosen.predictor
    return fitted


SMOOTHED = Baseline("own past", own_past)

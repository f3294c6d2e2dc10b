"""The average of the rates of several trained models, and of a baseline of one session beside them.

Models that differ by their seed alone differ in what they got wrong, so the mean of their rates is nearer to the true
ones than those of a single model (Dietterich 2000, "Ensemble methods in machine learning").
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from neuromtm.baselines.choice import fit_baseline
from neuromtm.baselines.kind import SessionCounts
from neuromtm.baselines.session import BaselineScores, Fitted, Predicts, score_each
from neuromtm.batch import SessionInfo, groups_of_counts
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.evaluation.tasks import TASKS, HeldOut, Task, hidden_rates, n_forward_bins
from neuromtm.metrics.absent import Absent
from neuromtm.training.trained import Trained, require_known_sessions

TRIALS_AT_ONCE = 64


class AverageOfRates:
    """The mean of what several models expect in a task, and half of it from a baseline if there is one.

    Args:
        task: which one.
        info: the session.
        models: they know the session.
        baseline: fitted to the task; None for the models alone.
    """

    def __init__(self, task: Task, info: SessionInfo, models: Sequence[Trained], baseline: Predicts | None):
        self.task, self.info, self.models, self.baseline = task, info, models, baseline
        self.setting: dict[str, float] = {} if baseline is None else baseline.setting

    def predict(self, counts: np.ndarray) -> Iterator[HeldOut]:
        """Predict what the task hides.

        Args:
            counts: (trial, bin, neuron) float32 spikes per bin.

        Yields:
            One prediction, of the neurons that all of them predict.
        """
        n_bins = counts.shape[1]
        bins = slice(n_bins - n_forward_bins(n_bins) if self.task == "forward_prediction" else 0, None)
        hidden = torch.from_numpy(counts)[:, bins]
        rates = torch.stack([self._of_model(model, counts)[:, bins].double() for model in self.models]).mean(dim=0)
        if self.baseline is not None:
            other = torch.full_like(rates, torch.nan)
            for held_out in self.baseline.predict(counts):
                other[..., held_out.neurons] = held_out.log_rates.double().exp()
            rates = (rates + other) / 2
        neurons = (~rates.isnan()).all(dim=1).all(dim=0).nonzero()[:, 0]
        if len(neurons):
            yield HeldOut(rates[..., neurons].log(), hidden[..., neurons], neurons)

    @torch.no_grad()
    def _of_model(self, trained: Trained, counts: np.ndarray) -> Tensor:
        """(trial, bin, neuron) float32 expected spikes, NaN where the task predicts nothing."""
        groups = groups_of_counts(
            self.info,
            torch.from_numpy(counts).int(),
            size=TRIALS_AT_ONCE,
            device=next(trained.model.parameters()).device,
        )
        objective = trained.record.objective
        return torch.cat([hidden_rates(self.task, trained.model, objective, group).cpu() for group in groups])


def score_average(
    models: Sequence[Trained], data: SessionDataModule, *, baseline: str | None = None
) -> Iterator[BaselineScores]:
    """Score the average of rates on the test trials of every session.

    The rates of the models are averaged, with the same weight. With a baseline, this average and the baseline's rates
    are averaged once more. Nothing is fitted to test trials.

    Args:
        models: they know the sessions.
        data: the sessions.
        baseline: name of a kind of baseline, which is fitted to each session.

    Raises:
        CheckpointError: if a model does not know a session, or learned from other trials of it.
        DataError: if a session lacks trials of a split.
    """
    data.setup()
    for trained in models:
        trained.record.require_bin_size(data.bin_size_s, name=trained.name)
        require_known_sessions(trained.model.sessions, trained.record.trials, data, name=trained.name)

    def fit(session: SessionCounts) -> Fitted:
        others: Fitted = {} if baseline is None else fit_baseline(baseline, session)
        return {task: _average(task, session.info, models, others.get(task)) for task in TASKS}

    yield from score_each(data, fit)


def _average(
    task: Task, info: SessionInfo, models: Sequence[Trained], baseline: Predicts | Absent | None
) -> Predicts | Absent:
    return baseline if isinstance(baseline, Absent) else AverageOfRates(task, info, models, baseline)

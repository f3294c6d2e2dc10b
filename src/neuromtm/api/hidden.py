"""Predictions of what a model does not see: the hidden part of a task, and one region from another."""

import numpy as np
import torch
from einops import rearrange

from neuromtm.api.counts import require_past
from neuromtm.api.model import Model
from neuromtm.api.sessions import Session
from neuromtm.errors import ConfigError, DataError
from neuromtm.evaluation.connectivity import Matrices, matrices_of, pairs_of, predict_from_each
from neuromtm.evaluation.tasks import TASKS, Task, hidden_rates
from neuromtm.metrics.spikes import BitsPerSpike, scored_log_rates


def predict_hidden(model: Model, session: Session, *, task: Task, batch_size: int = 64) -> np.ndarray:
    """Expected spikes of what a task hides: the predictions that `Model.score` scores.

    Args:
        model: knows the session.
        session: its trials, such as `session.select(split="test")`.
        task: one of the four, see `Model.score`.
        batch_size: trials that are computed at once.

    Returns:
        (trial, bin, neuron) float32 expected spikes per bin; NaN where the task predicts nothing.

    Raises:
        UserError: as in `Model.score`.
    """
    if task not in TASKS:
        raise ConfigError(f"task {task!r}: no such task. There are: {', '.join(TASKS)}.")
    given = model._check(session, eid=None, uuid=None, bin_size_s=None)
    require_past(task, given.counts, what=session.eid)
    with torch.no_grad():
        parts = [
            hidden_rates(task, model.stitched, model.record.objective, group).cpu()
            for group in model._groups(given, batch_size)
        ]
    return torch.cat(parts).numpy()


def connectivity(model: Model, session: Session, *, batch_size: int = 64) -> Matrices:
    """How well each region alone predicts every other one: what a test writes to connectivity.csv, as matrices.

    Args:
        model: adapted to the session with region drop-out, `model.adapt(sessions, overlays=["connectivity.yaml"])`.
        session: its trials, such as `session.select(split="test")`.
        batch_size: trials that are computed at once.

    Returns:
        Bits per spike, by names of the regions. `neuromtm.plots.connectivity.connectivity_plot` draws them.

    Raises:
        ConfigError: if the model was not trained with region drop-out.
        DataError: if there are no two known regions with spikes; and as in `Model.score`.
    """
    objective = model.record.objective
    if objective.region_dropout == 0:
        raise ConfigError(
            f"{model.name}: was trained without region drop-out, so it has not learned to see one region alone. "
            'Adapt it by model.adapt(sessions, overlays=["connectivity.yaml"]).'
        )
    given = model._check(session, eid=None, uuid=None, bin_size_s=None)
    n_rows, n_neurons = len(given.session.region_names) + 2, given.session.n_neurons
    metric = BitsPerSpike(n_rows * n_neurons).to(model.device)
    if n_rows > 3:
        with torch.no_grad():
            for group in model._groups(given, batch_size):
                for source, held_out in predict_from_each(model.stitched, objective, group):
                    places = source % n_rows * n_neurons + held_out.neurons
                    log_rates = scored_log_rates(held_out.log_rates, bin_size_s=model.bin_size_s)
                    metric.update(log_rates, held_out.counts, neurons=places)
    bps = rearrange(metric.compute().cpu().numpy(), "(source neuron) -> source neuron", source=n_rows)
    if not (pairs := pairs_of(given.session, bps)):
        raise DataError(f"{session.eid}: no connectivity, as there are no two known regions with spikes.")
    return matrices_of(pairs)

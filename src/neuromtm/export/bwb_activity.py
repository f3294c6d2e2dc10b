"""Predicted activity for BrainWideBench: the units held out from all others, and the last bins from those before."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from neuromtm.batch import SessionGroup
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.shards import ShardHeader
from neuromtm.data.windows import dense_starts
from neuromtm.errors import DataError
from neuromtm.evaluation.tasks import n_forward_bins, predict_task
from neuromtm.export.bwb_files import (
    Expected,
    PredictedActivity,
    Submission,
    entity_ids,
    require_activity,
    write_predictions,
)
from neuromtm.masking.heldout import hide_heldout
from neuromtm.models.stitching import VisibleGroup
from neuromtm.training.trained import Trained

ActivityTask = Literal["co_smoothing", "forecasting"]


def export_activity(
    trained: Trained, data: SessionDataModule, task: ActivityTask, submission: Submission
) -> list[Path]:
    """Predict the test windows of every session, and write them.

    Args:
        trained: a masked model of these sessions.
        data: set up, prepared for a task of activity.
        task: which one.
        submission: where to.

    Raises:
        DataError: if predictions are not what the benchmark scores; nothing is written of that session.
    """
    written = []
    for eid, header in data.headers.items():
        name = f"{eid}, {task}"
        expected, units = what_is_scored(header, task)
        found = _predictions(trained, data, eid, task, units)
        require_activity(found, expected, name=name)
        written.append(
            write_predictions(
                submission,
                f"ts2-{task}",
                {
                    "predictions": found.log_rates,
                    "window_timestamps": found.window_timestamps,
                    "unit_ids": entity_ids([f"{eid}/{unit}" for unit in found.unit_ids]),
                },
                further={"context_window": header.window_s[1] - header.window_s[0], "bin_size": header.bin_size_s},
                header=header,
            )
        )
    return written


def what_is_scored(header: ShardHeader, task: ActivityTask) -> tuple[Expected, np.ndarray]:
    """What a session's predictions must be of, by what its shard says of the benchmark's file.

    Args:
        header: of the shard.
        task: which one.

    Returns:
        What is scored; (unit,) places of the scored units in the shard.

    Raises:
        DataError: if the shard was not prepared for a task of activity, is of a session without a test, or lacks units.
    """
    if header.attributes.get("suite") != "ts2":
        raise DataError(
            f"{header.eid}: was not prepared for {task}. Prepare it: python -m data_prep bwb FILE --task {task} "
            "--out DIR"
        )
    if "test_intervals_s" not in header.attributes:
        raise DataError(
            f"{header.eid}: a session for pretraining, of which the benchmark scores nothing. Choose those with the "
            "role heldout."
        )
    require_all_units(header)
    window_s, bin_size_s = header.window_s[1] - header.window_s[0], header.bin_size_s
    intervals_s = json.loads(header.attributes["test_intervals_s"])
    starts = [dense_starts(start, end, length_s=window_s, step_s=bin_size_s) for start, end in intervals_s]
    units, mean = np.arange(header.n_neurons), header.neurons.mean_count
    assert mean is not None, "a shard of this source is of format 2"
    n_bins = n_forward_bins(header.n_bins)
    if task == "co_smoothing":
        assert header.neurons.heldout is not None, "the source refuses such a file"
        units, n_bins = np.flatnonzero(header.neurons.heldout), header.n_bins
    expected = Expected(np.unique(np.concatenate(starts)), header.neurons.uuid[units].tolist(), mean[units], n_bins)
    return expected, units


def require_all_units(header: ShardHeader) -> None:
    """Refuse a shard whose units are not those of the benchmark's file in their order.

    Raises:
        DataError: if they are not.
    """
    import hashlib

    if hashlib.sha256("\n".join(header.neurons.uuid.tolist()).encode()).hexdigest() != header.attributes.get(
        "units_sha256"
    ):
        raise DataError(
            f"{header.eid}: its units, or their order, are not those of the benchmark's file. Prepare it again."
        )


def _predictions(
    trained: Trained, data: SessionDataModule, eid: str, task: ActivityTask, units: np.ndarray
) -> PredictedActivity:
    known, there = trained.model.sessions[eid].neurons, data.headers[eid].neurons.uuid
    if set(known) != set(there.tolist()):
        raise DataError(f"{trained.name}: knows {len(known)} units of {eid}, but its file has {len(there)}.")
    device = next(trained.model.parameters()).device
    chosen, predicted = torch.from_numpy(units).to(device), []
    with torch.inference_mode():
        for group in data.groups(eid, "test"):
            log_rates = _log_rates(trained, group.to(device), task, chosen)
            predicted.append(log_rates.float().cpu())
    starts_s = data.headers[eid].trials.start_s
    assert starts_s is not None
    starts_s = starts_s[data.headers[eid].splits["test"]]
    return PredictedActivity(torch.cat(predicted), torch.from_numpy(starts_s), [known[unit] for unit in units])


def _log_rates(trained: Trained, group: SessionGroup, task: ActivityTask, units: Tensor) -> Tensor:
    """(window, scored bin, scored unit) log of the expected spikes per bin."""
    objective = trained.record.objective
    if task == "forecasting":
        (forward,) = predict_task("forward_prediction", trained.model, objective, group)
        return forward.log_rates
    heldout = torch.zeros(group.counts.shape[2], dtype=torch.bool, device=units.device)
    heldout[units] = True
    masked = hide_heldout(group.counts, heldout)
    scheme = "heldout" if "heldout" in objective.schemes else objective.stand_in("neuron")
    return trained.model([VisibleGroup(group.eid, masked.visible, masked.hidden)], scheme).log_rates[0][..., units]

"""The files of BrainWideBench: one safetensors file a prediction, and what its scorer does not notice.

Source: the package `ibl_bwb_eval` 0.1.0, which scores them. It aligns windows by their starts and units by their order
alone, so that what is wrong with either only shows as another score, or as the score of a part of the windows.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuromtm.data.shards import ShardHeader
from neuromtm.errors import DataError
from neuromtm.files import keep_previous, whole_file

EVAL_VERSION = "0.1.0"
"""version of `ibl_bwb_eval` whose format this is"""
MOST_TIMES = 10.0
"""expected spikes this many times more or fewer than in training are no log of spikes per bin"""


class Submission(NamedTuple):
    """What all files of one submission share."""

    out: Path
    label: str
    """name of the submission"""
    seed: int
    """of the training"""


class PredictedActivity(NamedTuple):
    """Predicted activity of one session."""

    log_rates: Tensor
    """(window, bin, unit) log of the expected spikes per bin"""
    window_timestamps: Tensor
    """(window,) start of each window in seconds, which the scorer compares to the last bit"""
    unit_ids: Sequence[str]
    """(unit,) the units, in the order of the last axis"""


class Expected(NamedTuple):
    """What the scorer holds the predictions against."""

    starts_s: np.ndarray
    """(window,) starts of all test windows"""
    unit_ids: Sequence[str]
    """(unit,) the scored units in the order of the session's file"""
    mean_counts: np.ndarray
    """(unit,) spikes per bin in training"""
    n_bins: int
    """scored bins of a window"""


def entity_ids(ids: Sequence[str]) -> Tensor:
    """(id, byte) uint8: texts as the format has them, padded with zeros."""
    return torch.from_numpy(np.array([name.encode("ascii") for name in ids])[:, None].view(np.uint8))


def require_activity(found: PredictedActivity, expected: Expected, *, name: str) -> None:
    """Refuse predictions of activity that the scorer would take and score as something else.

    Args:
        found: the predictions.
        expected: what they must be of.
        name: of the session and task, for the message.

    Raises:
        DataError: if units are in another order, windows are missing, values are not the finite logs of spikes per
            bin, or times are not the exact ones.
    """
    if list(found.unit_ids) != list(expected.unit_ids):
        same = sorted(found.unit_ids) == sorted(expected.unit_ids)
        raise DataError(
            f"{name}: the units are {'in another order than' if same else 'not those'} in the session's file, and the "
            "scorer goes by their order alone. Prepare the session anew and train on it."
        )
    starts_s = found.window_timestamps
    if starts_s.dtype != torch.float64:
        raise DataError(
            f"{name}: the starts of the windows are {starts_s.dtype}, which rounds them, so that the scorer matches "
            "few windows or none. Give float64."
        )
    if missing := np.setdiff1d(expected.starts_s, starts_s.numpy()).size:
        raise DataError(
            f"{name}: {missing} of the {len(expected.starts_s)} test windows are missing, and the scorer would score "
            "the others alone. Prepare the session anew; all test windows of the benchmark are then in its shard."
        )
    if extra := np.setdiff1d(starts_s.numpy(), expected.starts_s).size or len(starts_s) - len(expected.starts_s):
        raise DataError(f"{name}: {extra} windows are none of the benchmark's, or are there twice.")
    shape = len(expected.starts_s), expected.n_bins, len(expected.unit_ids)
    if tuple(found.log_rates.shape) != shape:
        raise DataError(f"{name}: predictions of the shape {tuple(found.log_rates.shape)}, not {shape}.")
    require_log_rates(found.log_rates, expected.mean_counts, name=name)


def require_log_rates(log_rates: Tensor, mean_counts: np.ndarray, *, name: str) -> None:
    """Refuse values that are not the finite logs of expected events per bin.

    Rates are never below 0. Logs of rates nearly always are: 0 is one event in every bin.

    Args:
        log_rates: (window, bin, unit) of the test windows.
        mean_counts: (unit,) events per bin in training.
        name: of the session and task, for the message.

    Raises:
        DataError: if they are not finite, or cannot be logs.
    """
    if not torch.isfinite(log_rates).all():
        raise DataError(
            f"{name}: {int((~torch.isfinite(log_rates)).sum())} predictions are not finite, and the scorer does not "
            "look. The training diverged, or a rate of 0 was given, whose log is infinite."
        )
    expected, usual = float(log_rates.double().exp().mean()), float(np.mean(mean_counts))
    if float(log_rates.min()) >= 0 and usual < 1:
        raise DataError(
            f"{name}: no prediction is below 0, as if they were rates; the scorer takes the log of the expected number "
            "per bin and would not notice."
        )
    if usual > 0 and not usual / MOST_TIMES <= expected <= usual * MOST_TIMES:
        raise DataError(
            f"{name}: {expected:.3g} are expected per bin, but {usual:.3g} were seen in training: the predictions are "
            "not the log of the expected number per bin."
        )


def write_predictions(
    submission: Submission,
    task: str,
    tensors: Mapping[str, Tensor],
    *,
    further: Mapping[str, object],
    header: ShardHeader | None = None,
) -> Path:
    """Write one file of a submission. One that is the same already is left alone.

    An earlier, other one is kept beside the submission's folder: in it, the scorer and the server would read it too.

    Args:
        submission: where to.
        task: with its suite, e.g. `ts2-co_smoothing`.
        tensors: name -> values.
        further: further metadata.
        header: of the session's shard; None for a file of all sessions.

    Returns:
        The file.
    """
    from safetensors.torch import save

    folder = submission.out / submission.label / task
    metadata = {
        "label": submission.label,
        "task": task,
        "seed": submission.seed,
        "ibl_bwb_eval_version": EVAL_VERSION,
        **further,
    }
    if header is not None:
        folder = folder / header.eid
        metadata |= {"recording_id": header.eid} | {
            name: header.attributes[name] for name in ("unit_filtering", "dataset_version")
        }
    path = folder / f"seed_{submission.seed}.safetensors"
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    told = {name: str(value) for name, value in metadata.items()}
    if holds(path, plain, told):
        return path
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        place = submission.out / f"{submission.label}-earlier" / folder.relative_to(submission.out / submission.label)
        place.mkdir(parents=True, exist_ok=True)
        earlier = place / f"earlier_{path.name}"
        keep_previous(earlier)
        path.rename(earlier)
    with whole_file(path) as temporary:
        temporary.write_bytes(save(plain, metadata=told))  # a full disk is then an error of the system
    return path


def holds(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> bool:
    """Whether a file is there and holds exactly these tensors and metadata."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return False
    try:
        with safe_open(str(path), framework="pt") as file:
            if (file.metadata() or {}) != metadata or {*file.keys()} != {*tensors}:
                return False
            return all(torch.equal(file.get_tensor(name), tensor) for name, tensor in tensors.items())
    except (SafetensorError, OSError):
        return False

"""Counts from the user. They are checked once, where they enter."""

import numpy as np
import torch
from torch import Tensor

from neuromtm.errors import DataError
from neuromtm.evaluation.tasks import Task, n_forward_bins

LARGEST_COUNT = 2**16 - 1
"""the largest count that a shard can hold"""


def checked_counts(counts: object, *, what: str) -> Tensor:
    """Take spike counts from the user.

    Args:
        counts: (trial, bin, neuron) spikes per bin, an array or a tensor of whole numbers of any numeric type.
        what: name of the counts, for messages.

    Returns:
        (trial, bin, neuron) uint8, or int32 if a count needs it, as in batches from shards.

    Raises:
        DataError: if they are not counts, or are empty.
    """
    given = _numbers(counts, what=what)
    if given.ndim != 3:
        raise DataError(
            f"{what}: has {given.ndim} axes, {tuple(given.shape)}, not the three of (trial, bin, neuron). A single "
            "trial is counts[None]."
        )
    if 0 in given.shape:
        n_trials, n_bins, n_neurons = given.shape
        raise DataError(f"{what}: is empty: {n_trials} trials of {n_bins} bins and {n_neurons} neurons.")
    _require_counts(given, what=what)
    return given.to(torch.uint8 if given.max() < 2**8 else torch.int32)


def require_past(task: Task, counts: Tensor, *, what: str) -> None:
    """Refuse to predict the last bins of trials where there are none before.

    Args:
        task: the last bins are predicted in `forward_prediction` only.
        counts: (trial, bin, neuron).
        what: name of the counts, for messages.

    Raises:
        DataError: if forward prediction would hide all bins.
    """
    if task == "forward_prediction" and counts.shape[1] == n_forward_bins(counts.shape[1]):
        raise DataError(f"{what}: a trial of one bin has no past to predict it from. Give trials of more bins.")


def _numbers(counts: object, *, what: str) -> Tensor:
    if isinstance(counts, Tensor):
        if counts.layout != torch.strided or counts.is_meta or counts.is_nested or counts.is_quantized:
            kind = "without values (meta)" if counts.is_meta else "sparse, nested or quantized"
            raise DataError(f"{what}: a tensor that is {kind}. Give a plain one, such as counts.to_dense().")
        if counts.dtype == torch.bool or counts.is_complex():
            raise DataError(_not_counts(what, counts.dtype))
        given = counts.detach()
        return given if given.is_floating_point() or given.dtype == torch.uint8 else given.to(torch.int64)
    if not isinstance(counts, np.ndarray):
        raise DataError(f"{what}: a {type(counts).__name__}, not a NumPy array or a tensor (trial, bin, neuron).")
    if counts.dtype.kind not in "uif":
        raise DataError(_not_counts(what, counts.dtype))
    if np.ma.is_masked(counts):
        raise DataError(f"{what}: has masked entries. Every entry must be a count; leave out trials without one.")
    if counts.dtype != np.uint8:
        counts = counts.astype(np.float64 if counts.dtype.kind == "f" else np.int64)
    return torch.from_numpy(np.require(counts, requirements=["C", "W"]))


def _not_counts(what: str, dtype: object) -> str:
    return f"{what}: has entries of the type {dtype}, not numbers of spikes. Give whole numbers, such as uint8."


def _require_counts(given: Tensor, *, what: str) -> None:
    if given.dtype == torch.uint8:  # uint8 holds whole numbers from 0 only
        return
    problems = {}
    if given.is_floating_point():
        problems["NaN or infinite"] = ~given.isfinite()
        problems["not whole numbers"] = given.isfinite() & (given != given.floor())
    problems["negative"] = given < 0
    problems[f"above {LARGEST_COUNT}"] = given > LARGEST_COUNT
    for words, bad in problems.items():
        if bad.any():
            first = tuple(bad.nonzero()[0].tolist())
            raise DataError(
                f"{what}: {int(bad.sum())} of {given.numel()} entries are {words}, the first at (trial, bin, neuron) "
                f"{first}: {given[first].item():g}. Give spike counts as they were recorded, not rates or smoothed "
                "or standardised counts."
            )

"""A shard from a user's own arrays."""

import reprlib
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from neuromtm import __version__
from neuromtm.api.counts import checked_counts
from neuromtm.api.given import checked_names, is_number, is_text, is_whole
from neuromtm.data.shard_layout import behavior_name_problem
from neuromtm.data.shards import SPLITS, TRIAL_NUMBERS, Neurons, Shard, ShardHeader, Trials
from neuromtm.data.shards import n_bins as number_of_bins
from neuromtm.data.splits import split_trials
from neuromtm.errors import DataError


def recording_shard(
    *,
    eid: str,
    counts: np.ndarray,
    bin_size_s: float,
    window_start_s: float,
    subject: str,
    lab: str,
    region: Sequence[str] | None,
    uuid: Sequence[str] | None,
    choice: Sequence[float] | None,
    behavior: Mapping[str, np.ndarray],
    splits: Mapping[str, Sequence[int]] | None,
    fractions: tuple[float, float, float],
    seed: int,
) -> Shard:
    """Make a shard; the arguments are those of `Sessions.write`.

    Raises:
        DataError: if something does not fit; the message names it.
    """
    for name, text in (("subject", subject), ("lab", lab)):
        if not is_text(text):
            raise DataError(f"{eid}: {name} is {reprlib.repr(text)}, not a text. If it is not known, give 'unknown'.")
    spikes = checked_counts(counts, what=f"{eid}: counts").cpu().numpy()
    n_trials, n_bins, n_neurons = spikes.shape
    window_s = _window(eid, n_bins, bin_size_s=bin_size_s, start_s=window_start_s)
    if not spikes.any():
        raise DataError(f"{eid}: counts has no spike in {n_trials} trials of {n_neurons} neurons.")
    named = [f"{eid}-{n:04d}" for n in range(n_neurons)] if uuid is None else checked_names(uuid, what=f"{eid}: uuid")
    regions = ["root"] * n_neurons if region is None else checked_names(region, what=f"{eid}: region")
    choices = np.zeros(n_trials) if choice is None else np.nan_to_num(_numbers(eid, "choice", choice))
    _require_length(eid, "uuid", named, n_neurons, "neurons")
    _require_length(eid, "region", regions, n_neurons, "neurons")
    _require_length(eid, "choice", choices, n_trials, "trials")
    if len(set(named)) != n_neurons:
        raise DataError(f"{eid}: uuid names a neuron twice: {len(set(named))} names for {n_neurons} neurons.")
    if not np.isin(choices, (-1, 0, 1)).all():
        raise DataError(f"{eid}: choice has the values {np.unique(choices).tolist()}; give -1, +1, and 0 if unknown.")
    traces = _traces(eid, behavior, (n_trials, n_bins))
    nothing = np.full(n_neurons, np.nan)
    own_splits = _splits(eid, n_trials, splits=splits, fractions=fractions, seed=seed)
    unknown: dict[str, Any] = {name: np.full(n_trials, np.nan) for name in TRIAL_NUMBERS}
    header = ShardHeader(
        eid=eid,
        subject=subject,
        lab=lab,
        source="arrays",
        bin_size_s=float(bin_size_s),
        window_s=window_s,
        align_event="trial",
        created_by=f"neuromtm {__version__}",
        neurons=Neurons(
            uuid=np.array(named),
            region=np.array(regions),
            probe=np.full(n_neurons, ""),
            firing_rate_hz=spikes[own_splits["train"]].mean((0, 1)) / bin_size_s,
            label=nothing,
            depth_um=nothing,
        ),
        trials=Trials(choice=choices.astype(np.int8), index=np.arange(n_trials), **unknown),
        splits=own_splits,
        behaviors=tuple(sorted(traces)),
    )
    return Shard(header, counts=spikes.astype(np.uint8 if spikes.max() < 2**8 else np.uint16), behavior=traces)


def _require_length(eid: str, name: str, values: Sequence | np.ndarray, n: int, of: str) -> None:
    if np.shape(values) != (n,):
        raise DataError(f"{eid}: {name} has the shape {np.shape(values)}, but counts has {n} {of}.")


def _window(eid: str, n_bins: int, *, bin_size_s: float, start_s: float) -> tuple[float, float]:
    """Start and end of a trial."""
    if not (is_number(bin_size_s) and bin_size_s > 0 and is_number(start_s)):
        raise DataError(
            f"{eid}: bin_size_s is {bin_size_s!r} and window_start_s {start_s!r}; give seconds, the bin's above 0."
        )
    window_s = float(start_s), float(start_s) + n_bins * float(bin_size_s)
    if not isfinite(window_s[1]) or number_of_bins(window_s, float(bin_size_s)) != n_bins:
        raise DataError(f"{eid}: {n_bins} bins of {bin_size_s} s from {start_s} s are beyond the precision of numbers.")
    return window_s


def _numbers(eid: str, name: str, values: object) -> np.ndarray:
    """Numbers as float64; None becomes NaN. Text is refused, even if it looks like numbers."""
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O" and all(v is None or isinstance(v, int | float | np.number) for v in array.flat):
            array = array.astype(np.float64)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{eid}: {name} is no array of numbers ({error}).") from error
    if array.dtype.kind not in "iuf":
        raise DataError(f"{eid}: {name} has entries of the type {array.dtype}, not numbers.")
    return array.astype(np.float64)


def _traces(eid: str, behavior: Mapping[str, np.ndarray], shape: tuple[int, int]) -> dict[str, np.ndarray]:
    if not isinstance(behavior, Mapping):
        raise DataError(
            f"{eid}: behavior is a {type(behavior).__name__}, not a mapping of names to arrays (trial, bin)."
        )
    for name in behavior:
        if not is_text(name) or "/" in name or name in (".", ".."):
            raise DataError(f"{eid}: behavior {name!r}: not a name. Give a text without a slash.")
        if problem := behavior_name_problem(name):
            raise DataError(f"{eid}: behavior {name!r}: {problem}")
    return {name: _trace(eid, name, values, shape) for name, values in behavior.items()}


def _trace(eid: str, name: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    trace = _numbers(eid, f"behavior {name!r}", values)
    if trace.shape != shape:
        raise DataError(
            f"{eid}: behavior {name!r} has the shape {trace.shape}, but counts has {shape[0]} trials of {shape[1]} "
            "bins."
        )
    with np.errstate(over="ignore"):
        single = trace.astype(np.float32)
    if np.isinf(single).any():
        raise DataError(
            f"{eid}: behavior {name!r} has {int(np.isinf(single).sum())} values that are infinite, or too large for "
            "float32. Give NaN where it is missing."
        )
    return single


def _splits(
    eid: str,
    n_trials: int,
    *,
    splits: Mapping[str, Sequence[int]] | None,
    fractions: tuple[float, float, float],
    seed: int,
) -> dict[str, np.ndarray]:
    if splits is None:
        if n_trials < len(SPLITS):
            raise DataError(f"{eid}: {n_trials} trials cannot be divided into train, val and test; 3 is the least.")
        train, val, test = _fractions(eid, fractions)
        if not is_whole(seed) or seed < 0:
            raise DataError(f"{eid}: seed is {seed!r}, not a whole number from 0.")
        return split_trials(n_trials, fractions=(train, val, test), seed=int(seed), eid=eid)
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        named = ", ".join(map(repr, splits)) if isinstance(splits, Mapping) else reprlib.repr(splits)
        raise DataError(f"{eid}: splits names {named}; give 'train', 'val' and 'test'.")
    numbers = {name: _trial_numbers(eid, name, splits[name]) for name in SPLITS}
    if not len(numbers["train"]):
        raise DataError(f"{eid}: splits has no train trial. Give at least one.")
    every = np.concatenate(list(numbers.values()))
    if len(np.unique(every)) != len(every) or not 0 <= every.min() <= every.max() < n_trials:
        raise DataError(
            f"{eid}: splits names a trial twice, or one outside 0 to {n_trials - 1}. A trial is in one split at most."
        )
    return {name: np.sort(trials).astype(np.int32) for name, trials in numbers.items()}


def _fractions(eid: str, fractions: object) -> list[float]:
    parts = list(fractions) if isinstance(fractions, Sequence | np.ndarray) else []
    if len(parts) != 3 or not all(is_number(part) and part > 0 for part in parts) or abs(sum(parts) - 1) > 1e-6:
        raise DataError(f"{eid}: fractions is {reprlib.repr(fractions)}; give three numbers above 0 that sum to 1.")
    return [float(part) for part in parts]


def _trial_numbers(eid: str, split: str, numbers: object) -> np.ndarray:
    try:
        array = np.asarray(numbers)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(f"{eid}: splits[{split!r}] is no list of trial numbers ({error}).") from error
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise DataError(
            f"{eid}: splits[{split!r}] has the shape {array.shape} and the type {array.dtype}; give a list of trial "
            "numbers, which are whole. Those of a mask are np.flatnonzero(mask)."
        )
    return array.astype(np.int64)

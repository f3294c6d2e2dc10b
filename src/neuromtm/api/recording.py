"""A shard from a user's own arrays."""

from collections.abc import Mapping, Sequence
from math import isfinite

import numpy as np

from neuromtm import __version__
from neuromtm.api.counts import checked_counts
from neuromtm.data.shards import SPLITS, TRIAL_NUMBERS, Neurons, Shard, ShardHeader, Trials
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
    spikes = checked_counts(counts, what=f"{eid}: counts").cpu().numpy()
    n_trials, n_bins, n_neurons = spikes.shape
    if not (isfinite(bin_size_s) and bin_size_s > 0 and isfinite(window_start_s)):
        raise DataError(
            f"{eid}: bin_size_s is {bin_size_s} and window_start_s {window_start_s}; give seconds, the bin's above 0."
        )
    if not spikes.any():
        raise DataError(f"{eid}: counts has no spike in {n_trials} trials of {n_neurons} neurons.")
    named = [f"{eid}-{number:04d}" for number in range(n_neurons)] if uuid is None else list(uuid)
    regions = ["root"] * n_neurons if region is None else list(region)
    choices = np.zeros(n_trials) if choice is None else np.nan_to_num(np.asarray(choice, np.float64))
    _require_length(eid, "uuid", named, n_neurons, "neurons")
    _require_length(eid, "region", regions, n_neurons, "neurons")
    _require_length(eid, "choice", choices, n_trials, "trials")
    if len(set(named)) != n_neurons:
        raise DataError(f"{eid}: uuid names a neuron twice: {len(set(named))} names for {n_neurons} neurons.")
    if not all(isinstance(name, str) and name for name in (*regions, *named)):
        raise DataError(f"{eid}: region or uuid has an entry that is no text. Where a region is unknown, give 'root'.")
    if not np.isin(choices, (-1, 0, 1)).all():
        raise DataError(f"{eid}: choice has the values {np.unique(choices).tolist()}; give -1, +1, and 0 if unknown.")
    nothing = np.full(n_neurons, np.nan)
    header = ShardHeader(
        eid=eid,
        subject=subject,
        lab=lab,
        source="arrays",
        bin_size_s=float(bin_size_s),
        window_s=(float(window_start_s), float(window_start_s + n_bins * bin_size_s)),
        align_event="trial",
        created_by=f"neuromtm {__version__}",
        neurons=Neurons(
            uuid=np.array(named),
            region=np.array(regions),
            probe=np.full(n_neurons, ""),
            firing_rate_hz=spikes.mean((0, 1)) / bin_size_s,
            label=nothing,
            depth_um=nothing,
        ),
        trials=Trials(
            choice=choices.astype(np.int8),
            index=np.arange(n_trials),
            **{name: np.full(n_trials, np.nan) for name in TRIAL_NUMBERS},
        ),
        splits=_splits(eid, n_trials, splits=splits, fractions=fractions, seed=seed),
        behaviors=tuple(sorted(behavior)),
    )
    traces = {name: _trace(eid, name, values, (n_trials, n_bins)) for name, values in behavior.items()}
    return Shard(header, counts=spikes.astype(np.uint8 if spikes.max() < 2**8 else np.uint16), behavior=traces)


def _require_length(eid: str, name: str, values: Sequence | np.ndarray, n: int, of: str) -> None:
    if np.shape(values) != (n,):
        raise DataError(f"{eid}: {name} has the shape {np.shape(values)}, but counts has {n} {of}.")


def _trace(eid: str, name: str, values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    if np.shape(values) != shape:
        raise DataError(
            f"{eid}: behavior {name!r} has the shape {np.shape(values)}, but counts has {shape[0]} trials of "
            f"{shape[1]} bins."
        )
    return np.asarray(values, np.float32)


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
        if len(fractions) != 3 or not all(part > 0 for part in fractions) or abs(sum(fractions) - 1) > 1e-6:
            raise DataError(f"{eid}: fractions is {fractions}; give three numbers above 0 that sum to 1.")
        return split_trials(n_trials, fractions=fractions, seed=seed, eid=eid)
    if set(splits) != set(SPLITS):
        raise DataError(f"{eid}: splits names {', '.join(map(repr, splits))}; give 'train', 'val' and 'test'.")
    numbers = {name: np.asarray(splits[name], np.int64).reshape(-1) for name in SPLITS}
    every = np.concatenate(list(numbers.values()))
    if len(np.unique(every)) != len(every) or (len(every) and not 0 <= every.min() <= every.max() < n_trials):
        raise DataError(
            f"{eid}: splits names a trial twice, or one outside 0 to {n_trials - 1}. A trial is in one split at most."
        )
    return {name: np.sort(trials).astype(np.int32) for name, trials in numbers.items()}

"""Write the data sets of a shard, and read those of the trials."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from neuromtm.data.seal import trial_sums
from neuromtm.data.shard_layout import OWN_TRIAL_COLUMNS
from neuromtm.errors import ShardError


def write_text(file: h5py.File, path: str, values: Sequence[str] | np.ndarray) -> None:
    """Write texts, all of one length, which reads many times faster than texts of any length."""
    encoded = np.char.encode(np.array([str(value) for value in values], dtype=str), "utf-8")
    file.create_dataset(path, data=encoded.astype(h5py.string_dtype("utf-8", encoded.dtype.itemsize)))


def write_column(file: h5py.File, name: str, values: np.ndarray) -> None:
    """Write a further column of the trial table: text, or float64.

    Raises:
        ShardError: if every shard has a column of this name.
    """
    if name in OWN_TRIAL_COLUMNS:
        raise ShardError(f"a further column of the trials is named {name}, as one of every shard. Rename it.")
    if values.dtype.kind in "USO":
        write_text(file, f"trials/{name}", values)
    else:
        file.create_dataset(f"trials/{name}", data=values.astype(np.float64))


def write_per_trial(file: h5py.File, name: str, values: np.ndarray) -> None:
    """Write one trial a chunk: to read random trials, nothing else has to be read."""
    chunks = (1, *values.shape[1:]) if values.size else None
    file.create_dataset(name, data=values, chunks=chunks, fletcher32=bool(values.size))


def read_trials(dataset: h5py.Dataset, trials: Sequence[int] | np.ndarray) -> np.ndarray:
    """Read some trials of a dataset whose first axis is trials, one by one.

    A list of trials as HDF5 index is several times slower than single reads of a chunk (benchmarks/reading.py).

    Raises:
        ShardError: naming the trial whose bytes do not fit their checksum.
    """
    values = np.empty((len(trials), *dataset.shape[1:]), dataset.dtype)
    for row, trial in enumerate(trials):
        try:
            dataset.read_direct(values, np.s_[int(trial)], np.s_[row])
        except OSError as error:
            raise _damaged(dataset, int(trial), str(error)) from error
    _require_true_zeros(dataset, trials, values)
    return values


def read_whole(dataset: h5py.Dataset) -> np.ndarray:
    """Read all trials of a dataset whose first axis is trials.

    Raises:
        ShardError: as `read_trials` does.
    """
    trials = np.arange(len(dataset))
    try:
        values = dataset[()]
    except OSError:
        return read_trials(dataset, trials)  # which finds the damaged trial
    _require_true_zeros(dataset, trials, values)
    return values


def _require_true_zeros(dataset: h5py.Dataset, trials: Sequence[int] | np.ndarray, values: np.ndarray) -> None:
    """Refuse zeros in the place of a trial and of its checksum: HDF5's checksum of zeros is zero."""
    if not values.size:
        return
    # as bytes: -0.0 is not zeros
    empty = np.asarray(trials)[~values.reshape(len(values), -1).view(np.uint8).any(axis=1)]
    if not len(empty):
        return
    sums = trial_sums(Path(dataset.file.filename)).get(dataset.name.lstrip("/"))
    if sums is not None and len(overwritten := empty[sums[empty] != 0]):
        raise _damaged(dataset, int(overwritten[0]), "zeros in its place")


def _damaged(dataset: h5py.Dataset, trial: int, why: str) -> ShardError:
    name = dataset.name.lstrip("/")
    return ShardError(
        f"{dataset.file.filename}: {name} is damaged at trial {trial} ({why}). Delete it and prepare it again."
    )

"""Behaviour as something to decode: any variable of a session's shard, by name."""

from dataclasses import dataclass

import h5py
import numpy as np

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.shard_datasets import read_whole
from neuromtm.data.shards import ShardHeader
from neuromtm.errors import DataError

CLASSES_OF_A_TRIAL = ("choice", "reward", "block", "contrast")
"""variables of a trial with a few values each"""
NUMBERS_OF_A_TRIAL = ("reaction_time_s",)


@dataclass(frozen=True)
class Target:
    """A behaviour of all trials of one session."""

    name: str
    values: np.ndarray
    """(trial,) float32 classes, or (trial, bin) float32 trace; NaN where unknown. A number of a trial is a trace of
    one bin."""

    @property
    def is_trace(self) -> bool:
        """Whether it is a trace, which is regressed, not classified."""
        return self.values.ndim == 2

    def classes(self, trials: np.ndarray) -> np.ndarray:
        """(class,) sorted values that are known among these trials."""
        values = self.values[trials]
        return np.unique(values[~np.isnan(values)])


def read_target(file: h5py.File, header: ShardHeader, name: str) -> Target | None:
    """Read a behaviour from an open shard.

    Args:
        file: the shard.
        header: its header.
        name: a trace under `behavior/`, a variable of the trials (`choice`, `reward`, `block`, `contrast`,
            `reaction_time_s`), or a further column of the trials that holds numbers: classes if all of them are whole,
            else a number of each trial.

    Returns:
        The behaviour; None if the session has none of that name, or no known value of it.
    """
    if name in header.behaviors:
        values = read_whole(file[f"behavior/{name}"])
    elif name == "choice":
        values = np.where(header.trials.choice == 0, np.nan, header.trials.choice).astype(np.float32)
    elif name in CLASSES_OF_A_TRIAL:
        values = getattr(header.trials, name).astype(np.float32)
    elif name in NUMBERS_OF_A_TRIAL:
        values = getattr(header.trials, name).astype(np.float32)[:, None]
    elif name in _number_columns(header):
        values = header.trials.columns[name].astype(np.float32)
        if not np.all(values[~np.isnan(values)] % 1 == 0):
            values = values[:, None]
    else:
        return None
    return None if np.isnan(values).all() else Target(name, values)


def target_names(header: ShardHeader) -> tuple[str, ...]:
    """Names of the behaviours of a session, whether or not a value is known."""
    return (*CLASSES_OF_A_TRIAL, *NUMBERS_OF_A_TRIAL, *_number_columns(header), *header.behaviors)


def _number_columns(header: ShardHeader) -> tuple[str, ...]:
    """The further columns of the trials that hold numbers."""
    return tuple(name for name, values in header.trials.columns.items() if values.dtype.kind == "f")


def target_of(data: SessionDataModule, eid: str, name: str) -> Target | None:
    """A behaviour of all trials of a session, by its name; None if the session has no known value of it.

    Args:
        data: set up.
        eid: the session.
        name: see `read_target`.

    Raises:
        DataError: if none of the chosen sessions has a behaviour of that name.
    """
    if not any(name in target_names(header) for header in data.headers.values()):
        names = sorted({known for header in data.headers.values() for known in target_names(header)})
        raise DataError(f"{data.root}: no behaviour {name!r} in the chosen sessions. There are: {', '.join(names)}.")
    with data.opened(eid) as file:
        return read_target(file, data.headers[eid], name)

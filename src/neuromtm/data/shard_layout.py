"""What lies where in a shard, and everything in it but the large arrays, read in one pass."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from neuromtm.hdf5_files import require_no_link, require_own_values

FORMAT = "neuromtm-session"
FORMAT_VERSION = 2
"""what is written"""
READ_VERSIONS = (1, 2)
SPLITS = ("train", "val", "test")
NEURON_TEXT = ("uuid", "region", "probe")
NEURON_NUMBERS = ("firing_rate_hz", "label", "depth_um")
NEURON_STATISTICS = ("mean_count", "count_variance")
"""not in format 1"""
HELDOUT, PRINCIPAL_AXES = "neurons/heldout", "neurons/principal_axes"
TRIAL_TIMES = ("start_s", "event_s")
"""not in format 1"""
TRIAL_NUMBERS = ("stimulus_onset_s", "contrast", "block", "reward", "reaction_time_s", *TRIAL_TIMES)
ATTRIBUTES = ("eid", "subject", "lab", "source", "bin_size_s", "window_s", "align_event", "created_by")
OWN_TRIAL_COLUMNS = ("choice", "index", *TRIAL_NUMBERS)
"""any other data set of the group is a further column of the source"""
RECORDING = "recording"
"""attribute: where the recording comes from, as JSON; not in every shard"""
COUNTS, TRUE_RATES = "spikes/counts", "truth/rates"
GROUPS = ("neurons", "trials", "splits", "spikes", "behavior", "truth")


@dataclass(frozen=True)
class Contents:
    """Everything in a shard except the large arrays, as it lies in the file; nothing is checked yet."""

    version: int
    attributes: Mapping[str, Any]
    values: Mapping[str, np.ndarray]
    """path -> values of a small dataset; texts are bytes"""
    shapes: Mapping[str, tuple[int, ...]]
    """path -> shape of every dataset"""
    types: Mapping[str, np.dtype]
    """path -> type of every dataset"""

    @property
    def counts_type(self) -> np.dtype | None:
        """None if there are no counts."""
        return self.types.get(COUNTS)

    def names(self, group: str) -> list[str]:
        """The datasets of a group, sorted."""
        return sorted(path.partition("/")[2] for path in self.shapes if path.startswith(f"{group}/"))

    def further_columns(self) -> list[str]:
        """The columns of the trials that only this source has, sorted."""
        return [name for name in self.names("trials") if name not in OWN_TRIAL_COLUMNS]

    def text(self, path: str) -> np.ndarray:
        """Values that are text, as str."""
        values = self.values[path]
        if values.dtype == object:  # format 1: texts of any length
            return np.array([value.decode() for value in values], dtype=str)
        try:
            return values.astype(str)  # many times faster, but for ASCII only
        except UnicodeDecodeError:
            return np.char.decode(values, "utf-8")


MOST_EID_CHARACTERS = 200
"""A file system takes 255 bytes, and the names of results and of temporary files add to the eid."""
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(10))}
"""names of devices on Windows, with any ending"""
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""characters that no name of a session, a neuron or a region holds, and that a terminal would obey"""


def eid_problem(eid: object) -> str | None:
    """What is wrong with an eid, which names files: they must not leave their folder. None if it is good.

    Args:
        eid: from a user or a file.
    """
    if not isinstance(eid, str):
        return f"eid is {eid!r}, not a text. Name the session by letters, digits and ._-."
    if len(eid) > MOST_EID_CHARACTERS:
        return (
            f"eid {eid[:20]!r}...: has {len(eid)} characters; {MOST_EID_CHARACTERS} is the most, as it names files. "
            "Rename the session."
        )
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", eid):
        return f"eid {eid!r}: only letters, digits and ._- are allowed, no dot first. Rename the session."
    if eid.partition(".")[0].lower() in RESERVED:
        return f"eid {eid!r}: names a device on Windows, and no file can have this name there. Rename the session."
    return None


def behavior_name_problem(name: str, columns: Collection[str] = ()) -> str | None:
    """What is wrong with the name of a behavior. None if it is good.

    Args:
        name: of the behavior.
        columns: further columns of the trials. What is read of a trial is named in the same place.
    """
    if name in OWN_TRIAL_COLUMNS or name in columns:
        return "the name of a column of the trials. Give another one."
    return None


def n_bins(window_s: Sequence[float], bin_size_s: float) -> int:
    """Number of bins in the window."""
    return round((window_s[1] - window_s[0]) / bin_size_s)


def required(version: int) -> list[str]:
    """The paths that a shard of this version must have."""
    paths = [COUNTS, "trials/choice", "trials/index", *(f"neurons/{n}" for n in NEURON_TEXT + NEURON_NUMBERS)]
    paths += [f"trials/{n}" for n in TRIAL_NUMBERS if version > 1 or n not in TRIAL_TIMES]
    if version > 1:
        paths += [*(f"neurons/{n}" for n in NEURON_STATISTICS), PRINCIPAL_AXES]
    return paths + [f"splits/{n}" for n in SPLITS]


def read_contents(file: h5py.File) -> Contents:
    """Read everything but the large arrays.

    Each dataset is opened once, by h5py's low-level interface: starting with hundreds of sessions waits for this.

    Raises:
        ValueError: if a part lies in another file, or says that it is far larger than what is there.
    """
    attributes = dict(file.attrs)
    values: dict[str, np.ndarray] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    types: dict[str, np.dtype] = {}
    for group in GROUPS:
        if group.encode() not in file.id:
            continue
        require_no_link(file.id, group.encode(), group)
        of_group = h5py.h5g.open(file.id, group.encode())
        for name in of_group:
            path = f"{group}/{name.decode()}"
            require_no_link(of_group, name, path)
            dataset = h5py.h5d.open(of_group, name)
            require_own_values(dataset, path)
            shapes[path], types[path] = dataset.shape, dataset.dtype
            if group in ("neurons", "trials", "splits") and path != PRINCIPAL_AXES:
                values[path] = read_dataset(dataset)
    return Contents(int(attributes.get("format_version", 0)), attributes, values, shapes, types)


def read_dataset(dataset: h5py.h5d.DatasetID) -> np.ndarray:
    """All values of a dataset that h5py's low-level interface has opened."""
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    return values

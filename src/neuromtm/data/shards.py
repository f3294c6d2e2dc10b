"""The shard, format 2: one HDF5 file per session. This table is what is written and what is checked.

| path | dtype, shape |
| --- | --- |
| `spikes/counts` | uint8 or uint16 (trial, bin, neuron), one trial a chunk, fletcher32 |
| `neurons/uuid`, `region`, `probe` | str (neuron) |
| `neurons/firing_rate_hz`, `label`, `depth_um` | float64 (neuron), NaN where unknown |
| `neurons/mean_count`, `count_variance` | float64 (neuron), over the bins of the training trials; not in format 1 |
| `neurons/principal_axes` | float32 (component, neuron), see `neuromtm.data.statistics`; not in format 1 |
| `neurons/heldout` | bool (neuron), held out by the source; only where the source says so |
| `trials/choice` | int8 (trial): -1, +1; 0 unknown |
| `trials/start_s`, `event_s` | float64 (trial), NaN where unknown; not in format 1 |
| `trials/stimulus_onset_s`, `contrast`, `block`, `reward`, `reaction_time_s` | float64 (trial), NaN where unknown |
| `trials/index` | int64 (trial), row in the source's trial table |
| `trials/<name>` | float64 or str (trial), a further column of the source's trial table |
| `behavior/<name>` | float32 (trial, bin), NaN where missing |
| `splits/train`, `val`, `test` | int32, disjoint trial numbers |
| `truth/rates` | float16 (trial, bin, neuron) expected spikes per bin, simulated sessions only |

Behind the HDF5 file stands a seal, see `neuromtm.data.seal`: every byte is found out if it changes.
Format 1 is read, too. `python -m data_prep upgrade` rewrites its shards.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from neuromtm.batch import SessionInfo
from neuromtm.data.seal import LATER, add_seal, require_seal
from neuromtm.data.shard_access import damage_named, machine_problem, place_problem
from neuromtm.data.shard_checks import content_problems, structure_problems
from neuromtm.data.shard_datasets import read_whole, write_column, write_per_trial, write_text
from neuromtm.data.shard_layout import (
    ATTRIBUTES,
    COUNTS,
    FORMAT,
    FORMAT_VERSION,
    HELDOUT,
    NEURON_NUMBERS,
    NEURON_STATISTICS,
    NEURON_TEXT,
    PRINCIPAL_AXES,
    READ_VERSIONS,
    RECORDING,
    SPLITS,
    TRIAL_NUMBERS,
    TRIAL_TIMES,
    TRUE_RATES,
    Contents,
    eid_problem,
    n_bins,
    read_contents,
)
from neuromtm.data.statistics import Statistics, training_statistics
from neuromtm.errors import ConfigError, ShardError
from neuromtm.files import whole_file
from neuromtm.hdf5_files import new_hdf5

STIMULUS_ONSET = "stimOn_times"
"""the `align_event` whose times are `trials/stimulus_onset_s`"""


@dataclass(frozen=True)
class Neurons:
    """A session's neurons, each field (neuron,)."""

    uuid: np.ndarray
    region: np.ndarray
    """Beryl acronym, `root` or `void` where unknown"""
    probe: np.ndarray
    firing_rate_hz: np.ndarray
    """over the training trials; over all trials in shards of format 1, also after their upgrade"""
    label: np.ndarray
    """fraction of the quality criteria that the sorted unit passes, 0 to 1"""
    depth_um: np.ndarray
    mean_count: np.ndarray | None = None
    """mean spikes per bin over the training trials; `write_shard` computes it; None in format 1"""
    count_variance: np.ndarray | None = None
    """variance of the spikes per bin, likewise"""
    heldout: np.ndarray | None = None
    """bool, held out by the source; None where the source holds out no neurons"""


@dataclass(frozen=True)
class Trials:
    """A session's trials, each field (trial,)."""

    choice: np.ndarray
    stimulus_onset_s: np.ndarray
    """in session time"""
    contrast: np.ndarray
    """right minus left, -1 to 1"""
    block: np.ndarray
    """probability of a stimulus on the left"""
    reward: np.ndarray
    """+1 rewarded, -1 not"""
    reaction_time_s: np.ndarray
    """from stimulus onset to the first movement"""
    index: np.ndarray
    """row in the source's trial table"""
    start_s: np.ndarray | None = None
    """start of the window in session time, NaN where unknown; None only in a header that was not read"""
    event_s: np.ndarray | None = None
    """time of the event in session time, likewise"""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """further columns of the source's trial table: float64, or text"""


@dataclass(frozen=True)
class ShardHeader:
    """Everything in a shard except the large arrays. A data module needs it before the first batch."""

    eid: str
    subject: str
    lab: str
    source: str
    bin_size_s: float
    window_s: tuple[float, float]
    """start and end, relative to the event"""
    align_event: str
    created_by: str
    neurons: Neurons
    trials: Trials
    splits: Mapping[str, np.ndarray]
    behaviors: tuple[str, ...]
    """names of the traces under `behavior/`"""
    preparation: Mapping[str, object] = field(default_factory=dict)
    """the options that the shard was prepared with; they tell it from a shard of another preparation"""
    format_version: int = FORMAT_VERSION
    """of the file that it was read from"""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """where the recording comes from, as its source says"""

    @property
    def n_trials(self) -> int:
        return len(self.trials.choice)

    @property
    def n_neurons(self) -> int:
        return len(self.neurons.uuid)

    @property
    def n_bins(self) -> int:
        return n_bins(self.window_s, self.bin_size_s)

    @property
    def info(self) -> SessionInfo:
        return self.info_of(np.arange(self.n_neurons))

    def info_of(self, neurons: np.ndarray) -> SessionInfo:
        """Some of the neurons, by their (neuron,) positions."""
        own = self.neurons
        heldout = () if own.heldout is None else tuple(own.heldout[neurons].tolist())
        return SessionInfo(self.eid, tuple(own.uuid[neurons].tolist()), tuple(own.region[neurons].tolist()), heldout)


@dataclass(frozen=True)
class Shard:
    """A whole session in memory."""

    header: ShardHeader
    counts: np.ndarray
    """(trial, bin, neuron) uint8, or uint16 where a count does not fit in uint8"""
    behavior: Mapping[str, np.ndarray] = field(default_factory=dict)
    """name -> (trial, bin) float32"""
    true_rates: np.ndarray | None = None
    """(trial, bin, neuron) expected spikes per bin; simulated sessions only"""


def shard_name(eid: str) -> str:
    """The file name of a session's shard.

    Raises:
        ConfigError: if the eid is no text, begins with a dot, is too long, holds other characters than letters, digits,
            dots, underscores and hyphens, or names a device on Windows.
    """
    problem = eid_problem(eid)
    if problem is not None:
        raise ConfigError(problem)
    return f"{eid}.h5"


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard under a temporary name, check it, and rename it. A shard that exists is therefore whole.

    The statistics of the training trials are computed from the counts, whatever the header says of them.

    Raises:
        ShardError: if the parts do not fit together; no file is left behind.
    """
    header = shard.header
    neurons, trials = header.neurons, header.trials
    with whole_file(path) as temporary:
        with new_hdf5(temporary) as file:
            file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
            for name in ATTRIBUTES:
                file.attrs[name] = getattr(header, name)
            file.attrs["preparation"] = json.dumps(header.preparation, sort_keys=True)
            if header.attributes:
                file.attrs[RECORDING] = json.dumps(dict(header.attributes), sort_keys=True)
            write_per_trial(file, COUNTS, shard.counts)
            for name in NEURON_TEXT:
                write_text(file, f"neurons/{name}", getattr(neurons, name))
            for name in NEURON_NUMBERS:
                file.create_dataset(f"neurons/{name}", data=np.asarray(getattr(neurons, name), np.float64))
            if neurons.heldout is not None:
                file.create_dataset(HELDOUT, data=np.asarray(neurons.heldout, bool))
            statistics = _statistics(shard)
            for name in NEURON_STATISTICS:
                file.create_dataset(f"neurons/{name}", data=getattr(statistics, name))
            file.create_dataset(PRINCIPAL_AXES, data=statistics.principal_axes)
            file.create_dataset("trials/choice", data=np.asarray(trials.choice, np.int8))
            file.create_dataset("trials/index", data=np.asarray(trials.index, np.int64))
            for name in TRIAL_NUMBERS:
                values = getattr(trials, name)
                values = np.full(header.n_trials, np.nan) if values is None else np.asarray(values, np.float64)
                file.create_dataset(f"trials/{name}", data=values)
            for name, values in trials.columns.items():
                write_column(file, name, np.asarray(values))
            for name, values in shard.behavior.items():
                write_per_trial(file, f"behavior/{name}", np.asarray(values, np.float32))
            for name in SPLITS:
                file.create_dataset(f"splits/{name}", data=np.asarray(header.splits[name], np.int32))
            if shard.true_rates is not None:
                write_per_trial(file, TRUE_RATES, np.asarray(shard.true_rates, np.float16))
        add_seal(temporary)
        problems = _problems(temporary, name=path, statistics=False)
        if problems:
            raise ShardError(" ".join(problems))


def _statistics(shard: Shard) -> Statistics:
    counts, train = shard.counts, np.asarray(shard.header.splits["train"], np.int64)
    are_counts = counts.ndim == 3 and counts.dtype in (np.uint8, np.uint16)
    if not are_counts or (len(train) and not 0 <= train.min() <= train.max() < len(counts)):
        # the check of the written file says in words what is wrong
        unknown = np.full(shard.header.n_neurons, np.nan)
        return Statistics(unknown, unknown, np.zeros((0, len(unknown)), np.float32))
    return training_statistics(counts, train)


@contextmanager
def open_shard(path: Path) -> Generator[h5py.File]:
    """Open a shard for reading; check its seal and its format. It takes no lock, for the sake of cluster file systems.

    Raises:
        ShardError: if the file is missing, damaged, not HDF5, or of another format or version.
    """
    file = open_shard_file(path)
    try:
        yield file
    finally:
        file.close()


def open_shard_file(path: Path) -> h5py.File:
    """Open a shard as `open_shard` does, for a caller that closes the file itself."""
    path = Path(path)
    if not path.exists():
        raise ShardError(f"{path}: no such shard. Prepare it again.")
    if (elsewhere := place_problem(path)) is not None:
        raise ShardError(f"{path}: {elsewhere}")
    try:
        require_seal(path)
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        if (hindrance := machine_problem(error)) is not None:
            raise ShardError(f"{path}: {hindrance}") from error
        raise ShardError(
            f"{path}: not a readable HDF5 file, perhaps cut short ({error}). Delete it and prepare it again."
        ) from error
    with damage_named(path):
        found = file.attrs.get("format"), file.attrs.get("format_version")
    if found[0] != FORMAT or found[1] not in READ_VERSIONS:
        file.close()
        raise ShardError(
            f"{path}: format {found[0]!r} version {found[1]}, but this program reads {FORMAT!r} version "
            f"{' and '.join(map(str, READ_VERSIONS))}. Prepare it again with this version."
        )
    return file


def read_header(path: Path) -> ShardHeader:
    """Read everything but the large arrays, and check that it fits together.

    Raises:
        ShardError: naming the file and every problem found.
    """
    with open_shard(path) as file, damage_named(path):
        return _header_of(file, path)


def _header_of(file: h5py.File, path: Path) -> ShardHeader:
    contents = read_contents(file)
    problems = structure_problems(contents, path)
    if problems:
        raise ShardError(" ".join(problems))
    return _header(contents)


def _header(contents: Contents) -> ShardHeader:
    attributes, values = contents.attributes, contents.values
    start_s, end_s = map(float, attributes["window_s"])
    names = ("choice", "index", *(n for n in TRIAL_NUMBERS if contents.version > 1 or n not in TRIAL_TIMES))
    columns = {name: values[f"trials/{name}"] for name in names}
    if contents.version == 1:
        # what can be known of the times; an event other than the stimulus onset is not in the file
        known = columns["stimulus_onset_s"] if attributes["align_event"] == STIMULUS_ONSET else np.nan
        event_s = np.broadcast_to(known, len(columns["choice"])).copy()
        columns |= dict(zip(TRIAL_TIMES, (event_s + start_s, event_s), strict=True))
    return ShardHeader(
        **{name: attributes[name] for name in ATTRIBUTES if name not in ("window_s", "bin_size_s")},
        bin_size_s=float(attributes["bin_size_s"]),
        window_s=(start_s, end_s),
        neurons=Neurons(
            **{name: contents.text(f"neurons/{name}") for name in NEURON_TEXT},
            **{name: values[f"neurons/{name}"] for name in NEURON_NUMBERS},
            **{name: values.get(f"neurons/{name}") for name in NEURON_STATISTICS},
            heldout=values.get(HELDOUT),
        ),
        trials=Trials(**columns, columns={name: _column(contents, name) for name in contents.further_columns()}),
        splits={name: values[f"splits/{name}"] for name in SPLITS},
        behaviors=tuple(contents.names("behavior")),
        preparation=json.loads(attributes.get("preparation", "{}")),
        format_version=contents.version,
        attributes=json.loads(attributes.get(RECORDING, "{}")),
    )


def _column(contents: Contents, name: str) -> np.ndarray:
    values = contents.values[f"trials/{name}"]
    return values if values.dtype.kind == "f" else contents.text(f"trials/{name}")


def read_principal_axes(path: Path) -> np.ndarray | None:
    """(component, neuron) float32 principal axes of a session, see `neuromtm.data.statistics.principal_axes`.

    Returns:
        The axes; None if the shard is of format 1, which has none.

    Raises:
        ShardError: if the shard is missing or damaged.
    """
    with open_shard(path) as file, damage_named(path):
        require_seal(path, parts=[PRINCIPAL_AXES])
        axes = file[PRINCIPAL_AXES][()] if PRINCIPAL_AXES in file else None
        if axes is not None and not np.isfinite(axes).all():
            raise ValueError(f"{PRINCIPAL_AXES} has values that are not finite")
        return axes


def read_shard(path: Path) -> Shard:
    """Read a whole session into memory.

    Raises:
        ShardError: naming what is damaged, and in which trial.
    """
    with open_shard(path) as file, damage_named(path):
        header = _header_of(file, path)
        return Shard(
            header,
            counts=read_whole(file[COUNTS]),
            behavior={name: read_whole(file[f"behavior/{name}"]) for name in header.behaviors},
            true_rates=read_whole(file[TRUE_RATES]) if TRUE_RATES in file else None,
        )


def shard_problems(path: Path) -> list[str]:
    """All problems of a shard, one sentence each.

    Every byte is read, so that checksums are verified, and the statistics of the training trials are computed anew.
    """
    return _problems(path, name=path, statistics=True)


def _problems(path: Path, name: Path, *, statistics: bool) -> list[str]:
    try:
        with open_shard(path) as file, damage_named(path):
            require_seal(path, parts=LATER)
            contents = read_contents(file)
            problems = structure_problems(contents, name)
            return problems or content_problems(file, contents, name, statistics=statistics)
    except ShardError as error:
        return [str(error).replace(str(path), str(name))]

"""The shard, format 1: one HDF5 file per session. This table is what is written and what is checked.

| path | dtype, shape |
| --- | --- |
| `spikes/counts` | uint8 or uint16 (trial, bin, neuron), one trial a chunk, fletcher32 |
| `neurons/uuid`, `region`, `probe` | str (neuron) |
| `neurons/firing_rate_hz`, `label`, `depth_um` | float64 (neuron), NaN where unknown |
| `trials/choice` | int8 (trial): -1, +1; 0 unknown |
| `trials/stimulus_onset_s`, `contrast`, `block`, `reward`, `reaction_time_s` | float64 (trial), NaN where unknown |
| `trials/index` | int64 (trial), row in the source's trial table |
| `behavior/<name>` | float32 (trial, bin), NaN where missing |
| `splits/train`, `val`, `test` | int32, disjoint trial numbers |
| `truth/rates` | float16 (trial, bin, neuron) expected spikes per bin, simulated sessions only |
"""

import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import numpy as np

from neuromtm.batch import SessionInfo
from neuromtm.errors import ConfigError, ShardError
from neuromtm.files import whole_file

FORMAT = "neuromtm-session"
FORMAT_VERSION = 1
SPLITS = ("train", "val", "test")
NEURON_TEXT = ("uuid", "region", "probe")
NEURON_NUMBERS = ("firing_rate_hz", "label", "depth_um")
TRIAL_NUMBERS = ("stimulus_onset_s", "contrast", "block", "reward", "reaction_time_s")
MOST_EID_CHARACTERS = 200
"""A file system takes 255 bytes, and the names of results and of temporary files add to the eid."""
ATTRIBUTES = ("eid", "subject", "lab", "source", "bin_size_s", "window_s", "align_event", "created_by")


@dataclass(frozen=True)
class Neurons:
    """A session's neurons, each field (neuron,)."""

    uuid: np.ndarray
    region: np.ndarray
    """Beryl acronym, `root` or `void` where unknown"""
    probe: np.ndarray
    firing_rate_hz: np.ndarray
    label: np.ndarray
    """fraction of the quality criteria that the sorted unit passes, 0 to 1"""
    depth_um: np.ndarray


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
        return SessionInfo(self.eid, tuple(self.neurons.uuid.tolist()), tuple(self.neurons.region.tolist()))


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


def n_bins(window_s: Sequence[float], bin_size_s: float) -> int:
    """Number of bins in the window."""
    return round((window_s[1] - window_s[0]) / bin_size_s)


def shard_name(eid: str) -> str:
    """The file name of a session's shard.

    Raises:
        ConfigError: if the eid is no text, begins with a dot, is too long, or holds other characters than letters,
            digits, dots, underscores and hyphens.
    """
    if not isinstance(eid, str):
        raise ConfigError(f"eid is {eid!r}, not a text. Name the session by letters, digits and ._-.")
    if len(eid) > MOST_EID_CHARACTERS:
        raise ConfigError(
            f"eid {eid[:20]!r}...: has {len(eid)} characters; {MOST_EID_CHARACTERS} is the most, as it names files. "
            "Rename the session."
        )
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", eid):
        raise ConfigError(f"eid {eid!r}: only letters, digits and ._- are allowed, no dot first. Rename the session.")
    return f"{eid}.h5"


def write_shard(path: Path, shard: Shard) -> None:
    """Write a shard under a temporary name, check it, and rename it. A shard that exists is therefore whole.

    Raises:
        ShardError: if the parts do not fit together; no file is left behind.
    """
    header, text = shard.header, h5py.string_dtype()
    with whole_file(path) as temporary:
        with h5py.File(temporary, "w") as file:
            file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
            for name in ATTRIBUTES:
                file.attrs[name] = getattr(header, name)
            file.attrs["preparation"] = json.dumps(header.preparation, sort_keys=True)
            _write_per_trial(file, "spikes/counts", shard.counts)
            for name in NEURON_TEXT:
                file.create_dataset(f"neurons/{name}", data=[str(v) for v in getattr(header.neurons, name)], dtype=text)
            for name in NEURON_NUMBERS:
                file.create_dataset(f"neurons/{name}", data=np.asarray(getattr(header.neurons, name), np.float64))
            file.create_dataset("trials/choice", data=np.asarray(header.trials.choice, np.int8))
            file.create_dataset("trials/index", data=np.asarray(header.trials.index, np.int64))
            for name in TRIAL_NUMBERS:
                file.create_dataset(f"trials/{name}", data=np.asarray(getattr(header.trials, name), np.float64))
            for name, values in shard.behavior.items():
                _write_per_trial(file, f"behavior/{name}", np.asarray(values, np.float32))
            for name in SPLITS:
                file.create_dataset(f"splits/{name}", data=np.asarray(header.splits[name], np.int32))
            if shard.true_rates is not None:
                _write_per_trial(file, "truth/rates", np.asarray(shard.true_rates, np.float16))
        problems = _problems(temporary, name=path)
        if problems:
            raise ShardError(" ".join(problems))


def _write_per_trial(file: h5py.File, name: str, values: np.ndarray) -> None:
    # one trial per chunk: to read random trials, nothing else has to be read
    chunks = (1, *values.shape[1:]) if values.size else None
    file.create_dataset(name, data=values, chunks=chunks, fletcher32=bool(values.size))


@contextmanager
def open_shard(path: Path) -> Generator[h5py.File]:
    """Open a shard for reading and check its format. It takes no file lock, for the sake of cluster file systems.

    Raises:
        ShardError: if the file is missing, truncated, not HDF5, or of another format or version.
    """
    file = open_shard_file(path)
    try:
        yield file
    finally:
        file.close()


@contextmanager
def _damage_named(path: Path) -> Generator[None]:
    """Turn any error of HDF5 about damaged content into one that names the file."""
    try:
        yield
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, MemoryError) as error:
        raise ShardError(f"{path}: its content is damaged ({error}). Delete it and prepare it again.") from error


def open_shard_file(path: Path) -> h5py.File:
    """Open a shard as `open_shard` does, for a caller that closes the file itself."""
    path = Path(path)
    if not path.exists():
        raise ShardError(f"{path}: no such shard. Prepare it again.")
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        raise ShardError(
            f"{path}: not a readable HDF5 file, perhaps cut short ({error}). Delete it and prepare it again."
        ) from error
    with _damage_named(path):
        found = file.attrs.get("format"), file.attrs.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        file.close()
        raise ShardError(
            f"{path}: format {found[0]!r} version {found[1]}, but this program reads {FORMAT!r} version "
            f"{FORMAT_VERSION}. Prepare it again with this version."
        )
    return file


def read_header(path: Path) -> ShardHeader:
    """Read everything but the large arrays, and check that it fits together.

    Raises:
        ShardError: naming the file and every problem found.
    """
    with open_shard(path) as file, _damage_named(path):
        problems = _structure_problems(file, path)
        if problems:
            raise ShardError(" ".join(problems))
        return _header(file)


def _header(file: h5py.File) -> ShardHeader:
    neurons = Neurons(
        **{name: file[f"neurons/{name}"].asstr()[()].astype(str) for name in NEURON_TEXT},
        **{name: file[f"neurons/{name}"][()] for name in NEURON_NUMBERS},
    )
    start_s, end_s = file.attrs["window_s"]
    trials = Trials(**{name: file[f"trials/{name}"][()] for name in ("choice", "index", *TRIAL_NUMBERS)})
    return ShardHeader(
        **{name: file.attrs[name] for name in ATTRIBUTES if name not in ("window_s", "bin_size_s")},
        bin_size_s=float(file.attrs["bin_size_s"]),
        window_s=(float(start_s), float(end_s)),
        neurons=neurons,
        trials=trials,
        splits={name: file[f"splits/{name}"][()] for name in SPLITS},
        behaviors=tuple(sorted(file["behavior"])) if "behavior" in file else (),
        preparation=json.loads(file.attrs.get("preparation", "{}")),
    )


def read_shard(path: Path) -> Shard:
    """Read a whole session into memory."""
    header = read_header(path)
    with open_shard(path) as file, _damage_named(path):
        return Shard(
            header,
            counts=file["spikes/counts"][()],
            behavior={name: file[f"behavior/{name}"][()] for name in header.behaviors},
            true_rates=file["truth/rates"][()] if "truth/rates" in file else None,
        )


def read_trials(dataset: h5py.Dataset, trials: Sequence[int] | np.ndarray) -> np.ndarray:
    """Read some trials of a dataset whose first axis is trials, one by one.

    A list of trials as HDF5 index is several times slower than single reads of a chunk (benchmarks/reading.py).
    """
    values = np.empty((len(trials), *dataset.shape[1:]), dataset.dtype)
    for row, trial in enumerate(trials):
        dataset.read_direct(values, np.s_[int(trial)], np.s_[row])
    return values


def shard_problems(path: Path) -> list[str]:
    """All problems of a shard, one sentence each. Every byte is read, so that checksums are verified."""
    return _problems(path, name=path)


def _problems(path: Path, name: Path) -> list[str]:
    try:
        with open_shard(path) as file, _damage_named(path):
            problems = _structure_problems(file, name)
            return problems or _content_problems(file, name)
    except ShardError as error:
        return [str(error).replace(str(path), str(name))]


def _structure_problems(file: h5py.File, name: Path) -> list[str]:
    missing = [a for a in ATTRIBUTES if a not in file.attrs]
    datasets = ["spikes/counts", "trials/choice", "trials/index"]
    datasets += [f"neurons/{n}" for n in NEURON_TEXT + NEURON_NUMBERS] + [f"trials/{n}" for n in TRIAL_NUMBERS]
    datasets += [f"splits/{n}" for n in SPLITS]
    missing += [d for d in datasets if d not in file]
    if missing:
        return [f"{name}: {', '.join(missing)} missing. Prepare it again."]
    counts, problems = file["spikes/counts"], []
    if counts.ndim != 3 or counts.dtype not in (np.uint8, np.uint16):
        return [
            f"{name}: spikes/counts is {counts.dtype} {counts.shape}, not uint8 or uint16 (trial, bin, neuron). "
            "Prepare it again."
        ]
    n_trials, found, n_neurons = counts.shape
    expected = n_bins(file.attrs["window_s"], file.attrs["bin_size_s"])
    if found != expected:
        problems.append(
            f"{name}: spikes/counts has {found} bins, but window_s and bin_size_s give {expected}. Prepare it again."
        )
    sizes: dict[str, tuple[int, ...]] = {f"neurons/{n}": (n_neurons,) for n in NEURON_TEXT + NEURON_NUMBERS}
    sizes |= {f"trials/{n}": (n_trials,) for n in ("choice", "index", *TRIAL_NUMBERS)}
    sizes |= {f"behavior/{n}": (n_trials, found) for n in file.get("behavior", ())}
    if "truth/rates" in file:
        sizes["truth/rates"] = counts.shape
    problems += [
        f"{name}: {d} has shape {file[d].shape}, but spikes/counts needs {shape}. Prepare it again."
        for d, shape in sizes.items()
        if file[d].shape != shape
    ]
    split = np.concatenate([file[f"splits/{n}"][()] for n in SPLITS])
    if len(np.unique(split)) != len(split):
        problems.append(f"{name}: a trial is in two splits. Prepare it again.")
    if len(split) and not 0 <= split.min() <= split.max() < n_trials:
        problems.append(f"{name}: splits name trials outside 0 to {n_trials - 1}. Prepare it again.")
    return problems


def _content_problems(file: h5py.File, name: Path) -> list[str]:
    problems = []
    for dataset in ("spikes/counts", *(f"behavior/{n}" for n in file.get("behavior", ())), "truth/rates"):
        if dataset in file:
            try:
                for trial in range(file[dataset].shape[0]):
                    file[dataset][trial]
            except OSError as error:
                problems.append(f"{name}: {dataset} is damaged at trial {trial} ({error}). Prepare it again.")
    uuids = file["neurons/uuid"].asstr()[()]
    if len(set(uuids)) != len(uuids):
        problems.append(f"{name}: neurons/uuid names a neuron twice. Prepare it again.")
    if not set(np.unique(file["trials/choice"][()])) <= {-1, 0, 1}:
        problems.append(f"{name}: trials/choice has values other than -1, 0, +1. Prepare it again.")
    if any(not region for region in file["neurons/region"].asstr()[()]):
        problems.append(f"{name}: neurons/region is empty for some neurons; unknown is 'root'. Prepare it again.")
    return problems

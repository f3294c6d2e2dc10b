"""The files that a user puts beside the spikes of a session, the same for all sources that are folders.

| file | holds |
| --- | --- |
| `session.json` | `subject`, `lab`, `session` |
| `trials.csv` | a row a trial, times in seconds; `split` if there are splits |
| `observed.csv` | `start_s`, `end_s` of the times at which the neurons were recorded |
| `traces/NAME.npz` | `times_s` (sample,), `values` (sample,) or (sample, variable) |

All may be missing.
"""

import json
import zipfile
from pathlib import Path

import numpy as np

from data_prep.heldout import eid_from
from data_prep.recording import Trace, TrialTable
from data_prep.tables import as_numbers, as_values, read_text_table
from data_prep.texts import near_name, text_fault
from data_prep.trial_columns import SPECIAL, trial_table
from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.errors import ConfigError, SourceError
from neuromtm.regular_files import regular_text, require_regular

TRIALS, TRACES, OBSERVED, SESSION = "trials.csv", "traces", "observed.csv", "session.json"
LARGEST_ROUNDING_S = 0.002
"""of times: a type that rounds by more would move spikes to other bins"""
NAMES = ("subject", "lab", "session")
"""of `session.json`"""
UNKNOWN = "unknown"
"""the animal of a session that names none"""


def session_names(folder: Path) -> tuple[str, str, str]:
    """Animal, lab and session, by `session.json` and the name of the folder.

    Raises:
        ConfigError: if `session.json` is no such file, or a name in it is one that a shard cannot hold.
    """
    path, found = folder / SESSION, {}
    if path.exists():
        try:
            found = json.loads(regular_text(path, encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: is not readable JSON ({error}).") from error
    if isinstance(found, dict) and (near := near_name(found, NAMES)):
        raise ConfigError(f"{path}: has {near[0]!r}; did you mean {near[1]!r}?")
    known = {name: found.get(name, "") for name in NAMES} if isinstance(found, dict) else {}
    if not known or not all(isinstance(v, str | int) and not isinstance(v, bool) for v in known.values()):
        raise ConfigError(f'{path}: must be an object of texts, e.g. {{"subject": "mouse1", "lab": "mylab"}}.')
    for name, value in known.items():
        if fault := text_fault(str(value)):
            raise ConfigError(f"{path}: its {name} {fault}. Write it without.")
    subject, lab, session = (str(value).strip() for value in known.values())
    return subject or UNKNOWN, lab, session or folder.resolve().name


def session_eid(subject: str, lab: str, name: str) -> str:
    """The eid of a session, from what `session_names` gives."""
    return eid_from(lab, subject if subject != UNKNOWN else "", name)


def read_trial_table(folder: Path, path: Path | None = None) -> TrialTable | None:
    """The trials of a session; None if there is no such file.

    Args:
        folder: of the session; its `trials.csv` is read.
        path: another file to read instead, which must be there.

    Raises:
        SourceError: if the file is no table of trials.
    """
    if path is None and not (folder / TRIALS).exists():
        return None
    path = path or folder / TRIALS
    columns = {
        name: np.array(cells, dtype=str) if name == "split" else as_values(path.name, name, cells)
        for name, cells in read_text_table(path, known=SPECIAL).items()
    }
    return trial_table(columns, table=path.name)


def event_columns(folder: Path) -> tuple[str, ...]:
    """The columns that can be the event, for a message; none if the file cannot be read."""
    try:
        table = read_trial_table(folder)
    except SourceError:
        return ()
    return () if table is None else table.event_names


def read_observed(folder: Path) -> np.ndarray | None:
    """(interval, 2) when the neurons were recorded; None if there is no `observed.csv`.

    Raises:
        SourceError: if the file is no such table.
    """
    if not (folder / OBSERVED).exists():
        return None
    table = read_text_table(folder / OBSERVED, needs=("start_s", "end_s"))
    return np.stack([as_numbers(OBSERVED, table, name) for name in ("start_s", "end_s")], axis=1)


def read_traces(folder: Path) -> dict[str, Trace]:
    """Name -> trace of every file in `traces/`; each variable of a file is a trace.

    Raises:
        SourceError: if a file is no such file. Hidden ones, which begin with a dot, are passed over.
    """
    for path in sorted((folder / TRACES).glob("*")):
        if path.suffix != ".npz" and not path.name.startswith("."):
            raise SourceError(
                f"{TRACES}/{path.name}: is not read. A trace is a file NAME.npz with times_s and values; move anything "
                "else out of the folder."
            )
    traces = {}
    for path in sorted((folder / TRACES).glob("*.npz")):
        label = f"{TRACES}/{path.name}"
        times_s, values = load_npz(path, ("times_s", "values"))
        times_s = finite_times(label, times_s)
        if values.dtype.kind not in "fiub" or values.ndim not in (1, 2) or len(values) != len(times_s):
            raise SourceError(f"{label}: {len(times_s)} times_s, but values is {values.dtype} {values.shape}.")
        if not values.size:
            raise SourceError(f"{label}: has no samples.")
        if not (np.diff(times_s) > 0).all():
            raise SourceError(f"{label}: its times_s do not increase at every sample.")
        if values.ndim == 1:
            traces[path.stem] = Trace(times_s=times_s, values=values.astype(np.float64))
        else:
            for n, of_one in enumerate(values.T.astype(np.float64)):
                traces[f"{path.stem}_{n}"] = Trace(times_s=times_s, values=of_one)
    return traces


def load_npz(path: Path, names: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Arrays of an npz file. Pickled objects, which could run code, are not read.

    Raises:
        SourceError: if the file or an array is missing, or it is no such file.
    """
    label = f"{path.parent.name}/{path.name}" if path.parent.name == TRACES else path.name
    if not path.exists():
        raise SourceError(f"no {label}.")
    try:
        _require_room(require_regular(path), label)
        with np.load(path, allow_pickle=False) as file:
            if missing := [name for name in names if name not in file]:
                raise SourceError(f"{label}: has no {', '.join(missing)}. It has: {', '.join(file)}.")
            found = tuple(file[name] for name in names)
            if odd := [name for name, values in zip(names, found, strict=True) if not isinstance(values, np.ndarray)]:
                raise ValueError(f"{odd[0]} is no array")
            return found
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError, MemoryError) as error:
        raise SourceError(f"{label}: is not a readable npz file of plain arrays ({error}).") from error


def _require_room(path: Path, label: str) -> None:
    """Refuse a file that unpacks to more than fits into memory, before any of it is unpacked."""
    with zipfile.ZipFile(path) as file:
        needed = sum(part.file_size for part in file.infolist())
    if needed > (free := free_host_memory()):
        raise SourceError(f"{label}: unpacks to {size_text(needed)}, but {size_text(free)} of memory are free.")


def finite_times(label: str, times_s: np.ndarray) -> np.ndarray:
    """(sample,) float64 times.

    Raises:
        SourceError: if they are not finite numbers in one dimension.
    """
    if times_s.ndim != 1 or times_s.dtype.kind not in "fiu":
        raise SourceError(f"{label}: times_s is {times_s.dtype} {times_s.shape}, not numbers in one dimension.")
    if bad := int((~np.isfinite(times_s)).sum()):
        raise SourceError(f"{label}: {bad} of {len(times_s)} times_s are not finite numbers.")
    if times_s.dtype.kind == "f" and len(times_s):
        latest = np.abs(times_s).max()
        if np.spacing(latest) > LARGEST_ROUNDING_S and times_s.dtype != np.float64:
            raise SourceError(
                f"{label}: times_s are {times_s.dtype}, which rounds {latest:g} s by up to {np.spacing(latest):g} s. "
                "Save them as float64."
            )
    return times_s.astype(np.float64)

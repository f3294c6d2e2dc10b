"""The files beside the spikes of a session that its user writes: who it is, its trials, traces and observed times.

| file | holds |
| --- | --- |
| `session.json` | `session`, `subject`, `lab`: text |
| `trials.csv` | one row a trial, times in seconds, see `data_prep.tables.trial_table` |
| `observed.csv` | `start_s`, `end_s`: when the neurons were recorded |
| `traces/NAME.npz` | `times_s`, `values`: a behaviour |

All may be missing.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from data_prep.recording import Trace, TrialTable
from data_prep.tables import read_columns, trial_table
from neuromtm.errors import SourceError
from neuromtm.files import reason_of

SESSION, TRIALS, OBSERVED, TRACES = "session.json", "trials.csv", "observed.csv", "traces"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a session is."""

    session: str
    subject: str = "unknown"
    lab: str = "unknown"


def read_identity(folder: Path) -> Identity:
    """The names in `session.json`; the session is named after its folder where the file does not name it.

    Raises:
        SourceError: if the file is no JSON object, or a name is not text.
    """
    path, found = folder / SESSION, {}
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            raise SourceError(f"{path}: no JSON file ({reason_of(error)}).") from error
        if not isinstance(found, dict):
            raise SourceError(f'{path}: must be an object, e.g. {{"subject": "mouse-1", "lab": "mine"}}.')
    names = {name: found[name] for name in ("session", "subject", "lab") if name in found}
    if wrong := [name for name, value in names.items() if not isinstance(value, str) or not value]:
        raise SourceError(f"{path}: {', '.join(wrong)} must be text.")
    return Identity(**({"session": folder.resolve().name} | names))


def read_trials(path: Path) -> TrialTable:
    """The trials of a CSV file.

    Raises:
        SourceError: if it cannot be read or a column is wrong.
    """
    return trial_table(read_columns(path), name=path)


def read_observed(folder: Path) -> np.ndarray | None:
    """(interval, 2) start and end of the observed times; None if the folder has no `observed.csv`.

    Raises:
        SourceError: if the file cannot be read, or a time is no number.
    """
    path = folder / OBSERVED
    if not path.exists():
        return None
    columns = read_columns(path, needs=("start_s", "end_s"))
    both = [columns["start_s"], columns["end_s"]]
    if not all(values.dtype.kind == "f" and np.isfinite(values).all() for values in both):
        raise SourceError(f"{path}: start_s and end_s must be numbers in every row.")
    return np.stack(both, axis=1)


def read_traces(folder: Path) -> dict[str, Trace]:
    """Name -> trace of every file in `traces/`.

    Raises:
        SourceError: if a file cannot be read, its times are not increasing, or times and values differ in length.
    """
    return {path.stem: _trace(path) for path in sorted((folder / TRACES).glob("*.npz"))}


def _trace(path: Path) -> Trace:
    try:
        with np.load(path, allow_pickle=False) as file:
            times_s, values = (np.asarray(file[name], np.float64).ravel() for name in ("times_s", "values"))
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise SourceError(f"{path}: not an npz file of times_s and values, as numbers ({error}).") from error
    if len(times_s) != len(values):
        raise SourceError(f"{path}: {len(times_s)} times_s, but {len(values)} values.")
    if not (np.isfinite(times_s).all() and (np.diff(times_s) > 0).all()):
        raise SourceError(f"{path}: times_s must be numbers that increase.")
    return Trace(times_s=times_s, values=values)

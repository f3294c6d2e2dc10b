"""Sessions as plain arrays and tables, a folder each: for recordings of everybody.

| file of a session's folder | holds |
| --- | --- |
| `spikes.npz` | `times_s` (spike,) in seconds, `unit` (spike,) numbers or texts |
| `units.csv` | `unit`; `region`, `uuid`, `probe`, `label`, `depth_um`, `heldout` as far as they are known |
| `trials.csv` | a row a trial, times in seconds; `split` if there are splits |
| `traces/NAME.npz` | `times_s` (sample,), `values` (sample,) or (sample, variable) |
| `observed.csv` | `start_s`, `end_s` of the times at which the neurons were recorded |
| `session.json` | `subject`, `lab`, `session` |

Only `spikes.npz` must be there.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np

from data_prep.folder import Job, Plan
from data_prep.heldout import heldout_options, note_unmatched, require_unique, role_of
from data_prep.inspection import inspect_folders
from data_prep.options import chosen_options, recording_options
from data_prep.recording import Recording, SortedNeurons
from data_prep.session_files import (
    SESSION,
    TRIALS,
    event_columns,
    finite_times,
    load_npz,
    read_observed,
    read_traces,
    read_trial_table,
    session_eid,
    session_names,
)
from data_prep.tables import as_booleans, as_numbers, read_text_table
from neuromtm.errors import ConfigError, SourceError

DESCRIPTION = (
    "Prepare sessions that are plain arrays and tables: a folder a session with spikes.npz (times_s in seconds, unit), "
    "and, as far as they are there, units.csv (unit, region, ...), trials.csv (a row a trial), traces/NAME.npz "
    "(times_s, values), observed.csv (start_s, end_s) and session.json (subject, lab, session)."
)
SPIKES, UNITS = "spikes.npz", "units.csv"
OF_UNITS = ("region", "uuid", "probe", "label", "depth_um", "heldout")
"""columns of units.csv beside the unit"""
LARGEST_UNIT = 2**53
"""larger numbers are not kept by tables and floating-point numbers"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    parser.add_argument(
        "--folder", type=Path, required=True, metavar="DIR", help="folder of a session, or folder of such folders"
    )
    heldout_options(parser)
    recording_options(parser)


def plan(args: argparse.Namespace) -> Plan:
    """List the sessions to prepare."""
    folders = session_folders(args.folder)
    options = chosen_options(args, events=event_columns(folders[0]))
    jobs, subjects = [], {}
    for folder in folders:
        subject, lab, name = session_names(folder)
        eid = session_eid(subject, lab, name)
        subjects[eid] = subject
        spikes = folder / SPIKES
        spike_bytes = spikes.stat().st_size if spikes.exists() else None
        jobs.append(Job(eid, role_of(eid, subject, args), partial(read_folder, folder), spike_bytes))
    require_unique((job.eid, folder) for job, folder in zip(jobs, folders, strict=True))
    note_unmatched(subjects, args)
    return Plan(jobs, options)


def inspect(args: argparse.Namespace) -> str:
    """Say what is in each session, and the command that would prepare them all."""
    sessions = ((folder, partial(read_folder, folder)) for folder in session_folders(args.folder))
    return inspect_folders("arrays", ["--folder", args.folder], sessions)


def session_folders(folder: Path) -> list[Path]:
    """The folders of the sessions, sorted by name: the folder itself, or those in it.

    Raises:
        ConfigError: if there is none.
    """
    if not folder.is_dir():
        raise ConfigError(f"--folder {folder}: no such folder.")
    if _is_session(folder):
        return [folder]
    found = sorted(path for path in folder.iterdir() if path.is_dir() and _is_session(path))
    if not found:
        raise ConfigError(f"--folder {folder}: neither it nor a folder in it has a {SPIKES}.")
    return found


def _is_session(folder: Path) -> bool:
    # also without spikes: such a session is skipped by name, not overlooked
    return any((folder / name).exists() for name in (SPIKES, UNITS, TRIALS, SESSION))


def read_folder(folder: Path) -> Recording:
    """Read a session.

    Args:
        folder: of the session.

    Raises:
        SourceError: if the spikes are missing, or a file is not as it should be; one sentence.
    """
    subject, lab, name = session_names(folder)
    eid = session_eid(subject, lab, name)
    times_s, unit, notes = _spikes(folder)
    units, neurons = _units(folder, unit, eid)
    return Recording(
        eid=eid,
        subject=subject,
        lab=lab,
        source="arrays",
        spike_times_s=times_s,
        spike_neuron=np.searchsorted(units, unit),
        neurons=neurons,
        trials=read_trial_table(folder),
        traces=read_traces(folder),
        notes=notes,
        observed_s=read_observed(folder),
        attributes={"folder": folder.resolve().name},
    )


def _spikes(folder: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Sorted times, the unit of each spike, and notes."""
    times_s, unit = load_npz(folder / SPIKES, ("times_s", "unit"))
    times_s = finite_times(SPIKES, times_s)
    if unit.shape != times_s.shape:
        raise SourceError(f"{SPIKES}: {len(times_s)} times_s, but unit has the shape {unit.shape}.")
    if not len(times_s):
        raise SourceError(f"{SPIKES}: no spikes.")
    if unit.dtype.kind == "f" and np.array_equal(unit, np.round(unit)) and (np.abs(unit) <= LARGEST_UNIT).all():
        unit = unit.astype(np.int64)
    if unit.dtype.kind not in "iuU":
        raise SourceError(f"{SPIKES}: unit is of the type {unit.dtype}, neither whole numbers nor texts.")
    if unit.dtype.kind == "u" and unit.max() > LARGEST_UNIT:
        raise SourceError(f"{SPIKES}: unit goes to {unit.max()}. Number the units up to {LARGEST_UNIT} at most.")
    unit = unit if unit.dtype.kind == "U" else unit.astype(np.int64)
    if (np.diff(times_s) >= 0).all():
        return times_s, unit, ()
    order = np.argsort(times_s, kind="stable")
    return times_s[order], unit[order], ("the spike times were not sorted, and are now",)


def _units(folder: Path, of_spikes: np.ndarray, eid: str) -> tuple[np.ndarray, SortedNeurons]:
    """The units in sorted order, and their properties."""
    spiking = np.unique(of_spikes)
    columns = read_text_table(folder / UNITS, needs=("unit",), known=OF_UNITS) if (folder / UNITS).exists() else {}
    unit = _unit_ids(columns["unit"], spiking) if columns else spiking
    units, order = np.unique(unit, return_index=True)
    if len(units) < len(unit):
        twice = next(u for n, u in enumerate(unit.tolist()) if u in unit[:n].tolist())
        raise SourceError(f"{UNITS}: the unit {twice} has two rows. Give every unit one.")
    if len(unknown := np.setdiff1d(spiking, units)):
        n_spikes = int(np.isin(of_spikes, unknown).sum())
        raise SourceError(
            f"{SPIKES}: {n_spikes} spikes are of units that {UNITS} does not list, e.g. {unknown[0]}. List them, or "
            "leave their spikes out."
        )

    def text(name: str, default: list[str]) -> np.ndarray:
        values = np.array(columns.get(name, default), dtype=str)[order]
        return np.where(values == "", np.array(default, dtype=str)[order], values)

    def number(name: str) -> np.ndarray:
        return as_numbers(UNITS, columns, name)[order] if name in columns else np.full(len(units), np.nan)

    heldout = as_booleans(UNITS, columns, "heldout")[order] if "heldout" in columns else None
    n = len(units)
    return units, SortedNeurons(
        uuid=text("uuid", [f"{eid}-{u}" for u in unit.tolist()]),
        region=text("region", ["void"] * n),
        probe=text("probe", ["probe00"] * n),
        label=number("label"),
        depth_um=number("depth_um"),
        heldout=heldout,
    )


def _unit_ids(cells: list[str], spiking: np.ndarray) -> np.ndarray:
    if spiking.dtype.kind == "U":
        return np.array(cells, dtype=str)
    numbers = as_numbers(UNITS, {"unit": cells}, "unit")
    if not ((np.abs(numbers) <= LARGEST_UNIT) & (numbers == np.round(numbers))).all():
        raise SourceError(f"{UNITS}: unit must be a whole number in every row, as in {SPIKES}.")
    return numbers.astype(np.int64)

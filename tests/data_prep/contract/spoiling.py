"""Change what the files of a source hold: the same fault in the format of each source."""

import csv
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from benchmark_writers import BENCHMARKS
from brain import make_brain
from writers import WRITERS, write_csv

Change = Callable[[np.ndarray], np.ndarray]
WINDOW = ("--window-s", "-0.25", "0.75", "--bin-size-s", "0.05", "--align-event")
EVENT = {"ibl": "stimOn_times"}
"""the event at time 0, where it is not `tone_time`"""
SOURCES = (*WRITERS, "nlb", "bwb")
NANOSECONDS = 1e9
"""samples a second of the sortings that are written"""


def write_good(source: str, folder: Path) -> list[str]:
    """Write a good session; the command that prepares it, all but `--out`."""
    if source in WRITERS:
        argv = WRITERS[source](folder, make_brain(with_splits=source == "nwb")).argv
        return [*argv, *WINDOW, EVENT.get(source, "tone_time")]
    return BENCHMARKS[source](folder, make_brain(with_splits=True)).argv


class Files:
    """The files of one session, to be spoilt.

    Args:
        source: name of the command.
        folder: that was written by `write_good`.
    """

    def __init__(self, source: str, folder: Path):
        self.source, self.folder = source, folder

    def one(self, pattern: str) -> Path:
        """The first of the files whose path ends so."""
        return sorted(self.folder.rglob(pattern))[0]

    @property
    def hdf5(self) -> Path:
        """The file of a source that has one file a session."""
        return self.one({"nwb": "*.nwb", "nlb": "*train.nwb", "bwb": "*.h5"}[self.source])

    def spike_times(self, change: Change) -> None:
        """Change the times of the spikes, in seconds: all of them, or those of one probe."""
        match self.source:
            case "arrays":
                self.npz(self.one("spikes.npz"), "times_s", change)
            case "phy":
                self._npy(self.one("spike_times.npy"), lambda samples: _samples(change(samples.ravel() / NANOSECONDS)))
            case "ibl":
                self._npy(self.one("spikes.times.npy"), change)
            case "bwb":
                self._dataset("spikes/timestamps", change)
            case _:
                self._dataset("units/spike_times", change)

    def units_of_spikes(self, change: Change) -> None:
        """Change which unit each spike is of."""
        match self.source:
            case "arrays":
                self.npz(self.one("spikes.npz"), "unit", change)
            case "phy":
                self._npy(self.one("spike_clusters.npy"), change)
            case "ibl":
                self._npy(self.one("spikes.clusters.npy"), change)
            case _:
                self._dataset("spikes/unit_index", change)

    def event_times(self, change: Change) -> None:
        """Change the times of the event."""
        match self.source:
            case "arrays" | "phy":
                cells = self._cells("trials.csv")
                cells["tone_time"] = [*map(repr, change(np.array(cells["tone_time"], float)).tolist())]
                write_csv(self.one("trials.csv"), cells)
            case "ibl":
                import pandas as pd

                path = self.one("_ibl_trials.table.pqt")
                table = pd.read_parquet(path)
                table["stimOn_times"] = change(table["stimOn_times"].to_numpy().copy())
                table.to_parquet(path)
            case "bwb":
                for end in ("start", "end"):
                    self._dataset(f"task_aligned_intervals/choice/{end}", change)
            case _:
                self._dataset(f"intervals/trials/{'tone_time' if self.source == 'nwb' else 'move_onset_time'}", change)

    def observed(self, change: Change) -> None:
        """Change the (interval, 2) times at which the neurons were recorded."""
        match self.source:
            case "arrays" | "phy":
                cells = self._cells("observed.csv")
                changed = change(np.array([*cells.values()], float).T).T
                write_csv(self.one("observed.csv"), dict(zip(cells, changed.tolist(), strict=True)))
            case "bwb":
                with h5py.File(self.hdf5, "r+") as file:
                    domain = file["spikes/domain"]
                    domain["start"][...], domain["end"][...] = change(np.stack([domain["start"], domain["end"]], 1)).T
            case _:
                self._dataset("units/obs_intervals", change)

    def names_of_units(self, change: Change) -> None:
        """Change the names of the units."""
        match self.source:
            case "arrays":
                cells = self._cells("units.csv")
                cells["uuid"] = change(np.array(cells["uuid"])).tolist()
                write_csv(self.one("units.csv"), cells)
            case "ibl":
                cells = self._cells("clusters.uuids.csv")
                cells["uuids"] = change(np.array(cells["uuids"])).tolist()
                write_csv(self.one("clusters.uuids.csv"), cells)
            case "nwb":
                self._dataset("units/uuid", change)
            case _:
                self._dataset("units/id", change)

    def trace_times(self, change: Change) -> None:
        """Change the times of the samples of a trace."""
        match self.source:
            case "arrays" | "phy":
                self.npz(self.one("wheel_speed.npz"), "times_s", change)
            case "ibl":
                self._npy(self.one("_ibl_leftCamera.times.npy"), change)
            case "bwb":
                self._dataset("wheel/timestamps", change)
            case _:
                self._dataset("processing/behavior/wheel_speed/timestamps", change)

    def trace_values(self, name: str, change: Change) -> None:
        """Change the values of a trace."""
        match self.source:
            case "arrays" | "phy":
                self.npz(self.one(f"{name}.npz"), "values", change)
            case "ibl":
                self._npy(self.one("leftCamera.ROIMotionEnergy.npy"), change)
            case _:
                self._dataset(f"processing/behavior/{name}/data", change)

    def table(self, name: str, change: Callable[[str], str], encoding: str = "utf-8") -> None:
        """Change the text of a table."""
        path = self.one(name)
        path.write_text(change(path.read_text(encoding="utf-8")), encoding=encoding)

    def change_hdf5(self, change: Callable[[h5py.File], object]) -> None:
        """Change an HDF5 file."""
        with h5py.File(self.hdf5, "r+") as file:
            change(file)

    def _cells(self, name: str) -> dict[str, list[str]]:
        with self.one(name).open(encoding="utf-8", newline="") as file:
            names, *rows = csv.reader(file)
        return {column: [row[n] for row in rows] for n, column in enumerate(names)}

    def _npy(self, path: Path, change: Change) -> None:
        np.save(path, change(np.load(path)))

    def npz(self, path: Path, name: str, change: Change) -> None:
        """Change one of the arrays of a file."""
        arrays = dict(np.load(path))
        np.savez(path, **arrays | {name: change(arrays[name])})

    def _dataset(self, name: str, change: Change) -> None:
        with h5py.File(self.hdf5, "r+") as file:
            old = file[name]
            values, about = old[()], dict(old.attrs)
            changed = change(values.astype(str) if values.dtype.kind in "SO" else values)
            del file[name]
            file[name] = changed.astype("S") if changed.dtype.kind == "U" else changed
            file[name].attrs.update(about)


def _samples(times_s: np.ndarray) -> np.ndarray:
    samples = np.round(times_s * NANOSECONDS)
    whole = np.isfinite(samples).all() and (np.abs(samples) < 2**62).all()
    return samples.astype(np.int64) if whole else samples

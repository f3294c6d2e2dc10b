"""Lay a recording out in the format of each source. A source enters the contract by a writer here."""

import csv
import json
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.recording import WHISKER, Recording


class Written(NamedTuple):
    """What a writer did."""

    argv: list[str]
    """command and options that name the files; the test adds those of all sources"""
    held: Recording
    """the recording as far as the format can hold it; what the source must give back"""


def write_csv(path: Path, columns: dict[str, list], *, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def write_arrays(folder: Path, recording: Recording) -> Written:
    """A folder with a folder of the session; the units' numbers have gaps."""
    session = folder / "Sitzung äöü 1"
    (session / "traces").mkdir(parents=True)
    unit = 3 * np.arange(recording.n_neurons) + 7
    np.savez(session / "spikes.npz", times_s=recording.spike_times_s, unit=unit[recording.spike_neuron])
    neurons = recording.neurons
    properties = {f.name: getattr(neurons, f.name) for f in fields(neurons)}
    known = {name: values.tolist() for name, values in properties.items() if values is not None}
    write_csv(session / "units.csv", {"unit": unit.tolist(), **known})
    if recording.trials is not None:
        own = {f.name: getattr(recording.trials, f.name) for f in fields(recording.trials)}
        columns = own | dict(own.pop("columns"))
        write_csv(session / "trials.csv", {name: v.tolist() for name, v in columns.items() if v is not None})
    for name, trace in recording.traces.items():
        np.savez(session / "traces" / f"{name}.npz", times_s=trace.times_s, values=trace.values)
    if recording.observed_s is not None:
        start_s, end_s = recording.observed_s.T.tolist()
        write_csv(session / "observed.csv", {"start_s": start_s, "end_s": end_s})
    lab, subject, name = recording.eid.split("_", 2)
    (session / "session.json").write_text(json.dumps({"lab": lab, "subject": subject, "session": name}))
    return Written(["arrays", "--folder", str(folder)], recording)


def write_ibl(folder: Path, recording: Recording) -> Written:
    """The files of the International Brain Laboratory: they hold one camera, and neither splits nor observed times."""
    from data_prep.folder import Job
    from data_prep.sources.ibl.alf_tree import write_tree

    list(write_tree([Job(recording.eid, "pretrain", lambda: recording)], out=folder, options={}))
    held = replace(
        recording,
        neurons=replace(recording.neurons, heldout=None),
        trials=replace(recording.trials, columns={}, split=None),
        traces={WHISKER: recording.traces[WHISKER]},
        observed_s=None,
    )
    return Written(["ibl", "--mode", "local", "--cache-dir", str(folder)], held)


WRITERS: dict[str, Callable[[Path, Recording], Written]] = {"arrays": write_arrays, "ibl": write_ibl}
"""name of the command -> the writer of its format"""

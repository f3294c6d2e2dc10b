"""Lay a recording out in the format of each source. A source enters the contract by a writer here."""

import csv
import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
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


def write_beside(session: Path, recording: Recording) -> None:
    """The files that the sources of folders share: trials, traces, recorded times and names."""
    if recording.trials is not None:
        own = {f.name: getattr(recording.trials, f.name) for f in fields(recording.trials)}
        columns = own | dict(own.pop("columns"))
        write_csv(session / "trials.csv", {name: v.tolist() for name, v in columns.items() if v is not None})
    (session / "traces").mkdir()
    for name, trace in recording.traces.items():
        np.savez(session / "traces" / f"{name}.npz", times_s=trace.times_s, values=trace.values)
    if recording.observed_s is not None:
        start_s, end_s = recording.observed_s.T.tolist()
        write_csv(session / "observed.csv", {"start_s": start_s, "end_s": end_s})
    lab, subject, name = recording.eid.split("_", 2)
    (session / "session.json").write_text(json.dumps({"lab": lab, "subject": subject, "session": name}))


def write_arrays(folder: Path, recording: Recording) -> Written:
    """A folder with a folder of the session; the units' numbers have gaps."""
    session = folder / "Sitzung äöü 1"
    session.mkdir(parents=True)
    unit = 3 * np.arange(recording.n_neurons) + 7
    np.savez(session / "spikes.npz", times_s=recording.spike_times_s, unit=unit[recording.spike_neuron])
    neurons = recording.neurons
    properties = {f.name: getattr(neurons, f.name) for f in fields(neurons)}
    known = {name: values.tolist() for name, values in properties.items() if values is not None}
    write_csv(session / "units.csv", {"unit": unit.tolist(), **known})
    write_beside(session, recording)
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


def write_phy(folder: Path, recording: Recording) -> Written:
    """A folder of the session with a sorting a probe: clusters have gaps, and a sample is a nanosecond."""
    session = folder / "Sitzung äöü 1"
    neurons, cluster = recording.neurons, 3 * np.arange(recording.n_neurons) + 7
    samples = np.round(recording.spike_times_s * 1e9).astype(np.int64)
    uuid, regions = neurons.uuid.astype(object), {"probe": [], "channel": [], "region": []}
    for probe in np.unique(neurons.probe).tolist():
        sorting, mine = session / probe, np.flatnonzero(neurons.probe == probe)
        sorting.mkdir(parents=True)
        of_mine = np.isin(recording.spike_neuron, mine)
        np.save(sorting / "spike_times.npy", samples[of_mine, None])
        np.save(sorting / "spike_clusters.npy", cluster[recording.spike_neuron[of_mine]].astype(np.int32))
        np.save(sorting / "spike_templates.npy", np.searchsorted(mine, recording.spike_neuron[of_mine]))
        np.save(sorting / "templates.npy", -np.eye(len(mine), dtype=np.float32)[:, None].repeat(3, 1) * [[0], [1], [0]])
        np.save(sorting / "channel_positions.npy", np.stack([0 * mine, neurons.depth_um[mine]], axis=1))
        (sorting / "params.py").write_text("dat_path = 'a b.bin'\nsample_rate = 1e9\n")
        groups = ["good" if label > 0.5 else "mua" for label in neurons.label[mine]]
        table = {"cluster_id": cluster[mine].tolist(), "group": groups}
        write_csv(sorting / "cluster_group.tsv", table, delimiter="\t")
        regions["probe"] += [probe] * len(mine)
        regions["channel"] += range(len(mine))
        regions["region"] += neurons.region[mine].tolist()
        uuid[mine] = [f"{recording.eid}-{probe}-{number}" for number in cluster[mine]]
    write_csv(session / "regions.csv", regions)
    write_beside(session, recording)
    label = np.where(neurons.label > 0.5, 1.0, 0.0)
    held = replace(recording, neurons=replace(neurons, uuid=uuid.astype(str), label=label, heldout=None))
    return Written(["phy", "--folder", str(folder), "--groups", "good", "mua"], held)


def write_nwb(folder: Path, recording: Recording) -> Written:
    """A file of Neurodata Without Borders; each column has a name of its own, and options say what it means."""
    from pynwb import NWBHDF5IO, NWBFile, TimeSeries
    from pynwb.file import Subject

    folder.mkdir(parents=True)
    lab, subject, session = recording.eid.split("_", 2)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    nwb = NWBFile(session_description="d", identifier="i", session_id=session, lab=lab, session_start_time=start)
    nwb.subject = Subject(subject_id=subject)
    neurons = recording.neurons
    properties = {f.name: getattr(neurons, f.name) for f in fields(neurons) if getattr(neurons, f.name) is not None}
    observed = {} if recording.observed_s is None else {"obs_intervals": recording.observed_s}
    for number in range(recording.n_neurons):
        nwb.add_unit(spike_times=recording.spike_times_s[recording.spike_neuron == number], **observed)
    for name, values in properties.items():
        nwb.add_unit_column(name, name, data=values.tolist())
    argv = ["nwb", "--path", str(folder)]
    if recording.trials is not None:
        own = {f.name: getattr(recording.trials, f.name) for f in fields(recording.trials)}
        further, split = dict(own.pop("columns")), own.pop("split")
        known = {name: values for name, values in own.items() if values is not None}
        for start_s in recording.trials.event(recording.trials.event_names[0]):
            nwb.add_trial(start_time=start_s, stop_time=start_s + 1)
        for name, values in known.items():
            nwb.add_trial_column(f"my_{name}", name, data=values)
            argv += ["--field", f"{name}=my_{name}"]
        for name, values in (further | ({} if split is None else {"split": split})).items():
            nwb.add_trial_column(name, name, data=values.tolist())
    if recording.traces:
        module = nwb.create_processing_module("behavior", "d")
        for name, trace in recording.traces.items():
            module.add(TimeSeries(name=name, data=trace.values, timestamps=trace.times_s, unit="u"))
            argv += ["--trace", f"{name}=processing/behavior/{name}"]
    with NWBHDF5IO(folder / "Sitzung äöü 1.nwb", "w") as io:
        io.write(nwb)
    return Written(argv, recording)


WRITERS: dict[str, Callable[[Path, Recording], Written]] = {
    "arrays": write_arrays,
    "ibl": write_ibl,
    "phy": write_phy,
    "nwb": write_nwb,
}
"""name of the command -> the writer of its format"""

"""Lay a recording out in the formats of the two public benchmarks.

They hold windows, splits and names of their own, so that they cannot carry all of a recording. What each writer leaves
out stands in its docstring. Everything else must come back.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.options import PrepareOptions
from data_prep.recording import EVENTS, Recording, Trace, TrialTable

NLB_WINDOW_S, NLB_BIN_S = (-0.25, 0.45), 0.02
NUMBERS = ("choice", "feedback_type", "contrast_left", "contrast_right", "block")
"""fields of the trials that are no times"""
BENCH_BIN_S = 0.02
SHARED = (3, 9)
"""rows of trials that share time with another one, which the windows of BrainWideBench never do"""


class WrittenBenchmark(NamedTuple):
    """What a writer did."""

    argv: list[str]
    """command and options; the windows are the benchmark's, so there are no others"""
    held: Recording
    """the recording as far as the format can hold it; what the source must give back"""
    options: PrepareOptions
    """windows and bins of the benchmark"""


def write_nlb(folder: Path, recording: Recording) -> WrittenBenchmark:
    """The train and the test file of MC_Maze. The event `move_onset_time` is the column `tone_time`.

    The format cannot carry: names, regions, probes, labels and depths of neurons (there are held-in and held-out ones);
    spikes of held-out neurons in test trials, and any spike between test trials; behaviour in test trials; meanings of
    columns; the eid. Traces are read under any name but the one that filters trials, so the whisker is left out.
    """
    folder.mkdir(parents=True)
    trials, neurons = recording.trials, recording.neurons
    assert trials is not None
    assert trials.split is not None
    assert neurons.heldout is not None
    observed_s = recording.observed_s
    if observed_s is None:
        observed_s = np.array([[0.0, recording.spike_times_s[-1]]])
    times = {name: trials.event(field) for name, field in zip(EVENTS, EVENTS.values(), strict=True)}
    columns = {f"{name.removesuffix('_times')}_time": values for name, values in times.items()}
    columns |= {"move_onset_time": trials.columns["tone_time"]} | {name: getattr(trials, name) for name in NUMBERS}
    columns |= {"start_time": trials.event("stimulus_onset_s"), "stop_time": trials.event("feedback_s")}
    is_test = trials.split == "test"
    given = np.where(is_test, "test", np.where(trials.split == "", "none", trials.split))
    windows_s = columns["move_onset_time"][is_test, None] + NLB_WINDOW_S
    known = ((windows_s[:, :1] >= observed_s[:, 0]) & (windows_s[:, 1:] <= observed_s[:, 1])).any(1)
    windows_s = windows_s[known]
    clock, neuron = recording.spike_times_s, recording.spike_neuron
    shown = ((clock[:, None] >= windows_s[:, 0]) & (clock[:, None] < windows_s[:, 1])).any(1) & ~neurons.heldout[neuron]
    traces = {name: trace for name, trace in recording.traces.items() if name != "whisker_motion_energy"}
    unit = 3 * np.arange(recording.n_neurons) + 7
    paths = {name: folder / f"Maus äöü desc-{name}.nwb" for name in ("train", "test")}
    for name, rows, spikes, seen_s, own_traces in (
        ("train", ~is_test, np.full(len(clock), True), observed_s, traces),
        ("test", is_test, shown, windows_s, {}),
    ):
        there = np.flatnonzero(~neurons.heldout if name == "test" else np.full(len(unit), True))
        nwb = _nwb_file(recording, {key: values[rows] for key, values in columns.items()}, given[rows], own_traces)
        nwb.add_unit_column("heldout", "heldout")
        for number in there:
            of_one = clock[spikes & (neuron == number)]
            heldout = bool(neurons.heldout[number])
            nwb.add_unit(id=int(unit[number]), spike_times=of_one, obs_intervals=seen_s, heldout=heldout)
        _write_nwb(nwb, paths[name])
    options = PrepareOptions(
        window_s=NLB_WINDOW_S, bin_size_s=NLB_BIN_S, align_event="window_event", keep_source_overlap=True
    )
    argv = ["nlb", "--dataset", "mc_maze", "--train", str(paths["train"]), "--test", str(paths["test"])]
    shift_s = np.ceil(10 * max(observed_s.max(), *(trace.times_s[-1] for trace in traces.values())) + 10) / 10
    held = _nlb_held(recording, columns, is_test, shown, shift_s, unit)
    starts_s = held.trials.columns["window_event"][~np.isin(held.trials.split, ("train", "val", ""))] + NLB_WINDOW_S[0]
    tests_s = np.stack([starts_s, starts_s + (NLB_WINDOW_S[1] - NLB_WINDOW_S[0])], axis=1)[known]
    # a bin counts as observed if its beginning is
    held = replace(held, traces=traces, observed_s=np.concatenate([observed_s + np.array([0, NLB_BIN_S]), tests_s]))
    return WrittenBenchmark([*argv, "--bin-size-ms", "20"], held, options)


def _nlb_held(
    recording: Recording,
    columns: dict[str, np.ndarray],
    is_test: np.ndarray,
    shown: np.ndarray,
    shift_s: float,
    unit: np.ndarray,
) -> Recording:
    """Held-in neurons first, test trials last and later: without traces and observed times."""
    neurons = recording.neurons
    order = np.argsort(neurons.heldout, kind="stable")
    place = np.argsort(order, kind="stable")
    rows = np.r_[np.flatnonzero(~is_test), np.flatnonzero(is_test)]
    later_s = np.where(is_test[rows], shift_s, 0.0)
    own = {name: values[rows] + later_s * name.endswith("_time") for name, values in columns.items()}
    starts_s = np.ceil(np.round((own["move_onset_time"] + NLB_WINDOW_S[0]) / NLB_BIN_S, 6)) * NLB_BIN_S
    own |= {"window_event": starts_s - NLB_WINDOW_S[0], "heldout_known": (~is_test[rows]).astype(float)}
    none = np.full(recording.n_neurons, np.nan)
    return replace(
        recording,
        eid="nlb-mc_maze",
        spike_times_s=np.r_[recording.spike_times_s, recording.spike_times_s[shown] + shift_s],
        spike_neuron=place[np.r_[recording.spike_neuron, recording.spike_neuron[shown]]],
        neurons=replace(
            neurons,
            uuid=np.array([f"mc_maze-{number}" for number in unit[order]]),
            region=np.where(neurons.heldout[order], "heldout", "heldin"),
            probe=np.full(len(order), "array"),
            label=none,
            depth_um=none,
            heldout=neurons.heldout[order],
        ),
        trials=TrialTable(columns=own, split=recording.trials.split[rows]),
    )


def _nwb_file(recording: Recording, columns: dict[str, np.ndarray], split: np.ndarray, traces: dict[str, Trace]):
    from pynwb import NWBFile, TimeSeries
    from pynwb.file import Subject

    nwb = NWBFile("small", "small", datetime(2020, 1, 1, tzinfo=UTC), lab=recording.lab)
    nwb.subject = Subject(subject_id=recording.subject)
    further = {name: values for name, values in columns.items() if name not in ("start_time", "stop_time")}
    for start_s, stop_s in zip(columns["start_time"], columns["stop_time"], strict=True):
        nwb.add_trial(start_time=start_s, stop_time=stop_s)
    for name, values in {**further, "split": split}.items():
        nwb.add_trial_column(name, name, data=values.tolist())
    if traces:
        module = nwb.create_processing_module("behavior", "behavior")
        for name, trace in traces.items():
            module.add(TimeSeries(name=name, data=trace.values, timestamps=trace.times_s, unit="u"))
    return nwb


def _write_nwb(nwb: object, path: Path) -> None:
    from pynwb import NWBHDF5IO

    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)


def write_bwb(folder: Path, recording: Recording, *, task: str = "choice") -> WrittenBenchmark:
    """A session of BrainWideBench, prepared for the choice or for the speed of the wheel.

    The format cannot carry: trials that share time; columns of the trials but what the task decodes; traces but that of
    the task, of which a window has its own samples and not what lies between them; another eid than the file's name.
    """
    import h5py

    folder.mkdir(parents=True)
    trials, neurons = recording.trials, recording.neurons
    assert trials is not None
    assert trials.split is not None
    rows = np.setdiff1d(np.arange(trials.n_trials), SHARED)
    moved_s, split = trials.event("first_movement_s")[rows], trials.split[rows]
    starts_s = moved_s - 1 if task == "choice" else moved_s
    path = folder / f"{recording.eid}.h5"
    with h5py.File(path, "w") as file:
        file.attrs["lab"] = recording.lab
        file.create_group("subject").attrs["id"] = recording.subject
        file.create_group("brainset").attrs.update(derived_version="0.1.0", unit_filtering="all_units")
        file["spikes/timestamps"], file["spikes/unit_index"] = recording.spike_times_s, recording.spike_neuron
        if recording.observed_s is not None:
            file["spikes/domain/start"], file["spikes/domain/end"] = recording.observed_s.T
        for name, values in (("id", neurons.uuid), ("region_cosmos", neurons.region), ("probe_id", neurons.probe)):
            file[f"units/{name}"] = values.astype("S")
        file["units/label"], file["units/depths"] = neurons.label, neurons.depth_um
        file["units/ts2_co_smoothing_is_held_out_test"] = neurons.heldout
        interval = file.create_group(f"task_aligned_intervals/{'choice' if task == 'choice' else 'movement_window'}")
        interval["start"], interval["end"], interval["trial_index"] = starts_s, starts_s + 1, rows
        if task == "choice":
            interval["choice"] = (trials.choice[rows] > 0).astype(np.int64)
        for name in ("train", "val", "test"):
            own_s = starts_s[split == name]
            file[f"ts1_{name}_domain/start"], file[f"ts1_{name}_domain/end"] = own_s - 0.01, own_s + 1.01
        trace = recording.traces["wheel_speed"]
        file["wheel/wheel_speed"], file["wheel/timestamps"] = trace.values, trace.times_s
    event = {"movement_onset": moved_s, "trial_id": rows.astype(np.float64)}
    held = replace(
        recording,
        trials=TrialTable(choice=trials.choice[rows] if task == "choice" else None, columns=event, split=split),
        traces={} if task == "choice" else {task: _own_samples(recording.traces[task], starts_s)},
    )
    window_s = (-1.0, 0.0) if task == "choice" else (0.0, 1.0)
    options = PrepareOptions(
        window_s=window_s, bin_size_s=BENCH_BIN_S, align_event="movement_onset", keep_unknown_choice=True
    )
    return WrittenBenchmark(["bwb", str(folder), "--task", task], held, options)


def _own_samples(trace: Trace, starts_s: np.ndarray) -> Trace:
    """The samples from the start of each window on, moved to the centres of its bins."""
    times_s, values = [], []
    for start_s in starts_s:
        first = np.flatnonzero(trace.times_s >= start_s - 1e-9)[0]
        values.append(trace.values[first : first + 50])
        times_s.append(start_s + BENCH_BIN_S * (np.arange(50) + 0.5))
    # before and after all windows too: the last centre may be rounded to after the last sample
    times, samples = np.concatenate(times_s), np.concatenate(values)
    return Trace(times_s=np.r_[times[0] - 1, times, times[-1] + 1], values=np.r_[samples[0], samples, samples[-1]])


BENCHMARKS: dict[str, Callable[[Path, Recording], WrittenBenchmark]] = {
    "nlb": write_nlb,
    "bwb": write_bwb,
    "bwb wheel": lambda folder, recording: write_bwb(folder, recording, task="wheel_speed"),
}
"""name of the command, and what is special -> the writer of its format"""

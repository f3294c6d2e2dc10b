"""A session of BrainWideBench as a recording: the windows of one task are its trials, with the benchmark's splits."""

import hashlib
import json
from pathlib import Path

import numpy as np

from data_prep.binning import bin_centres
from data_prep.recording import Recording, SortedNeurons, Trace, TrialTable
from data_prep.sources.bwb.layout import SessionFile, open_session
from data_prep.sources.bwb.tasks import (
    ACTIVITY,
    BIN_SIZE_S,
    CLASSES,
    DECODING,
    REGION,
    SAMPLING_RATE_HZ,
    WINDOW_S,
    Decoding,
    Task,
    suite_of,
)
from data_prep.sources.bwb.windows import every_window, intersection, rows_in, spaced_windows, two_halves
from neuromtm.data.shards import SPLITS
from neuromtm.errors import SourceError

N_BINS = round(WINDOW_S / BIN_SIZE_S)
TRIALS = "task_aligned_intervals"
PRETRAINING_NOTE = (
    "a session for pretraining has no test in the benchmark: the later half of its validation time is the test"
)
UNKNOWN_REGION = "void"


def read_benchmark_session(path: Path, task: Task) -> Recording:
    """Read the windows of one task.

    Args:
        path: a file of the benchmark; its name is the session's.
        task: one of the benchmark's.

    Raises:
        SourceError: if the file is damaged, or has not what the task needs.
    """
    with open_session(path) as file:
        kept, neurons = _neurons(file, task)
        times_s, neuron = _spikes(file, kept)
        observed_s = file.intervals("spikes/domain")
        trials, traces, notes, further = None, {}, (), {}
        if task in ACTIVITY:
            trials, notes, further = _activity_windows(file, task)
        elif task != REGION:
            trials, traces, notes, further = _decoding_windows(file, task, DECODING[task])
        return Recording(
            eid=path.stem,
            subject=file.text("subject/id") or "unknown",
            lab=file.text("lab") or "unknown",
            source="bwb",
            spike_times_s=times_s,
            spike_neuron=neuron,
            neurons=neurons,
            trials=trials,
            traces=traces,
            notes=notes,
            observed_s=observed_s if len(observed_s) else None,
            attributes={
                "task": task,
                "suite": suite_of(task),
                "unit_filtering": _required_text(file, "unit_filtering"),
                "dataset_version": _required_text(file, "derived_version"),
                "units_sha256": units_sha256(neurons.uuid),
                **further,
            },
        )


def is_for_evaluation(path: Path) -> bool:
    """Whether a file is of the benchmark's sessions for evaluation, whose animals no pretraining may see."""
    with open_session(path) as file:
        return "ts1_test_domain" in file


def units_sha256(uuid: np.ndarray) -> str:
    """A name for units in their order."""
    return hashlib.sha256("\n".join(uuid.tolist()).encode()).hexdigest()


def _required_text(file: SessionFile, name: str) -> str:
    if not (found := file.text(f"brainset/{name}")):
        raise SourceError(f"{file.path}: brainset says no {name}, which a submission must state. Fetch the file again.")
    return found


def _neurons(file: SessionFile, task: Task) -> tuple[np.ndarray, SortedNeurons]:
    """(unit,) bool, the units that are kept, and what is known of them."""
    uuid = file.texts("units/id")
    if not all(map(str.isascii, uuid.tolist())):
        raise SourceError(f"{file.path}: units/id has names that are not ASCII, as the benchmark's are.")

    def column(name: str, default: object) -> np.ndarray:
        if f"units/{name}" not in file:
            return np.full(len(uuid), default)
        read = file.numbers if isinstance(default, float) else file.texts
        return read(f"units/{name}", n=len(uuid))

    kept = np.full(len(uuid), True)
    region = column("region_cosmos", UNKNOWN_REGION)
    if task == REGION:
        # as the benchmark's own: units of a probe that failed are left out, and a label needs a sure alignment
        kept = column("qc_neural", "PASS") != "FAIL"
        region = np.where(column("qc_neural_alignment", "PASS") == "PASS", region, UNKNOWN_REGION)
    heldout = None
    if "units/ts2_co_smoothing_is_held_out_test" in file:
        flags = file.numbers("units/ts2_co_smoothing_is_held_out_test", n=len(uuid))
        if not np.isin(flags, (0, 1)).all():
            raise SourceError(f"{file.path}: units/ts2_co_smoothing_is_held_out_test must be true or false.")
        heldout = flags[kept] == 1
    return kept, SortedNeurons(
        uuid=uuid[kept],
        region=np.where(region == "", UNKNOWN_REGION, region)[kept],
        probe=column("probe_id", "probe")[kept],
        label=column("label", np.nan)[kept],
        depth_um=column("depths", np.nan)[kept],
        heldout=heldout,
    )


def _spikes(file: SessionFile, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(spike,) times, and (spike,) places of their units among those kept."""
    times_s, given = file.numbers("spikes/timestamps"), file.numbers("spikes/unit_index")
    if len(times_s) != len(given):
        raise SourceError(f"{file.path}: {len(times_s)} spikes/timestamps, but {len(given)} spikes/unit_index.")
    if len(wrong := given[~((given >= 0) & (given < len(kept)) & (given == np.round(given)))]):
        raise SourceError(f"{file.path}: spikes of unit {wrong[0]:g}, but the file has {len(kept)} units.")
    unit = given.astype(np.int64)
    if not kept.all():
        of_kept = kept[unit]
        times_s, unit = times_s[of_kept], (np.cumsum(kept) - 1)[unit[of_kept]]
    return times_s, unit


def _domains(file: SessionFile, suite: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Split -> (interval, 2) its times, and what to know of them."""
    if f"{suite}_test_domain" in file:
        return {name: file.intervals(f"{suite}_{name}_domain") for name in SPLITS}, ()
    if "pretrain_val_domain" in file:
        val, test = two_halves(file.intervals("pretrain_val_domain"))
        return {"train": file.intervals("pretrain_train_domain"), "val": val, "test": test}, (PRETRAINING_NOTE,)
    raise SourceError(f"{file.path}: has neither {suite}_test_domain nor pretrain_val_domain, so no splits.")


def _activity_windows(file: SessionFile, task: Task) -> tuple[TrialTable, tuple[str, ...], dict[str, str]]:
    """Windows of the suite of activity: in training and validation one after the other, in the test at every bin."""
    domains, notes = _domains(file, "ts2")
    for_evaluation = "ts2_test_domain" in file
    if for_evaluation and "units/ts2_co_smoothing_is_held_out_test" not in file:
        raise SourceError(
            f"{file.path}: marks no held-out units: {task} needs the build `selected_units` of the benchmark."
        )
    of_trials = file.intervals(f"{TRIALS}/domain")
    starts, split, notes = [], [], list(notes)
    further = {}
    for name, domain_s in domains.items():
        intervals_s = intersection(of_trials, domain_s)
        # an interval of exactly one window, but for the last bits of its ends, is long enough for the benchmark
        long_enough = intervals_s[:, 1] - intervals_s[:, 0] >= WINDOW_S
        if n_short := int((~long_enough).sum()):
            notes.append(f"{n_short} intervals of {name} are shorter than a window and left out")
        intervals_s = intervals_s[long_enough]
        dense = name == "test" and for_evaluation
        cut = every_window if dense else spaced_windows
        own = [cut(start, end) for start, end in intervals_s]
        starts += own
        split += [name] * sum(map(len, own))
        if dense:
            further["test_intervals_s"] = json.dumps(intervals_s.tolist())
    window_start = np.concatenate([*starts, np.empty(0)])
    if not len(window_start):
        raise SourceError(f"{file.path}: no interval of {TRIALS}/domain is long enough for a window.")
    order = np.argsort(window_start, kind="stable")
    table = TrialTable(columns={"window_start": window_start[order]}, split=np.array(split)[order])
    return table, tuple(notes), further


def _decoding_windows(
    file: SessionFile, task: Task, decoding: Decoding
) -> tuple[TrialTable, dict[str, Trace], tuple[str, ...], dict[str, str]]:
    """Windows of the suite of behaviour: one a trial."""
    place = f"{TRIALS}/{decoding.interval}"
    if place not in file:
        raise SourceError(f"{file.path}: has no {place}.")
    intervals_s = file.intervals(place)
    order = np.argsort(intervals_s[:, 0], kind="stable")
    starts_s = intervals_s[order, 0]
    domains, notes = _domains(file, "ts1")
    usable = np.full(len(starts_s), True)
    if decoding.n_known is not None and f"{place}/{decoding.n_known}" in file:
        usable &= file.numbers(f"{place}/{decoding.n_known}", n=len(order))[order] > 0
    fields, traces = {}, {}
    further = {"target": task}
    if decoding.trace is None:
        classes = CLASSES[task]
        further["classes"] = json.dumps(classes)
        values = _classes(file.numbers(f"{place}/{task}", n=len(order)), classes)[order]
        usable &= np.isfinite(values)
        fields = {"choice": {"choice": values}, "reward": {"feedback_type": values}}.get(task, {})
    else:
        trace = _samples(file, decoding, starts_s)
        usable &= ~np.isnan(trace).all(axis=1)
        traces = {task: _as_trace(trace, starts_s, decoding, file)}
    split = np.full(len(starts_s), "", "<U5")
    for name, domain_s in domains.items():
        split[rows_in(starts_s, starts_s + WINDOW_S, domain_s) & usable] = name
    table = TrialTable(
        **fields,
        columns={
            decoding.event: starts_s - decoding.window_s[0],
            "trial_id": file.numbers(f"{place}/trial_index", n=len(order))[order],
            **({task: values} if decoding.trace is None and not fields else {}),
        },
        split=split,
    )
    return table, traces, notes, further


def _classes(number: np.ndarray, classes: tuple[float, ...]) -> np.ndarray:
    """(trial,) the shard's value of each trial's class; NaN where it is none of the benchmark's."""
    known = np.isin(number, np.arange(len(classes)))
    return np.where(known, np.array(classes)[np.where(known, number, 0).astype(np.int64)], np.nan)


def _samples(file: SessionFile, decoding: Decoding, starts_s: np.ndarray) -> np.ndarray:
    """(trial, bin) float64 the samples of a trace that lie in each window, as the benchmark scores them.

    NaN in a window that is not wholly inside the trace, and where the sample is not known.
    """
    assert decoding.trace is not None
    if decoding.trace not in file:
        raise SourceError(f"{file.path}: has no {decoding.trace}: it was not recorded well enough in this session.")
    values, group = file.numbers(decoding.trace), decoding.trace.partition("/")[0]
    first_s, step_s = file.sample_times(group, len(values))
    if abs(step_s * SAMPLING_RATE_HZ - 1) > 1e-6:
        raise SourceError(f"{file.path}: {group} has samples every {step_s:g} s, not {SAMPLING_RATE_HZ:g} a second.")
    if decoding.standardised:
        mean, deviation = (_norm(file, decoding.trace, name) for name in ("mean", "std"))
        values = (values - mean) / deviation
    if decoding.per_bin:
        values = np.round(values / SAMPLING_RATE_HZ)
    if decoding.known is not None and decoding.known in file:
        values = np.where(file.numbers(decoding.known, n=len(values)) > 0, values, np.nan)
    # the first sample at or after the start; the tolerance is far below a sample, and above drift
    first = np.ceil((starts_s - first_s) / step_s - 1e-6).astype(np.int64)
    there = (first >= 0) & (first + N_BINS <= len(values))
    places = np.where(there, first, 0)[:, None] + np.arange(N_BINS)
    return np.where(there[:, None], values[np.minimum(places, len(values) - 1)], np.nan)


def _norm(file: SessionFile, trace: str, name: str) -> float:
    for scope in ("ts1_normalize", "pretrain_normalize"):
        place = f"{scope}/{trace}/{name}"
        if (value := file.number(place)) is not None:
            if not np.isfinite(value) or (name == "std" and value <= 0):
                raise SourceError(f"{file.path}: {place} is {value:g}, by which nothing can be standardised.")
            return value
    raise SourceError(f"{file.path}: has no {name} of {trace} among its ts1_normalize or pretrain_normalize.")


def _as_trace(samples: np.ndarray, starts_s: np.ndarray, decoding: Decoding, file: SessionFile) -> Trace:
    """A trace that has each window's samples exactly at the centres of its bins."""
    # computed as the windows of a shard are: the very same numbers come out
    event_s = starts_s - decoding.window_s[0]
    centres_s = bin_centres(event_s + decoding.window_s[0], n_bins=N_BINS, bin_size_s=BIN_SIZE_S)
    # the trace reaches over both ends of every window, as a filter of windows asks for
    times_s = np.r_[centres_s[0, 0] - WINDOW_S, centres_s.ravel(), centres_s[-1, -1] + WINDOW_S]
    if not (np.diff(times_s) > 0).all():
        raise SourceError(f"{file.path}: windows of {decoding.interval} share time.")
    return Trace(times_s=times_s, values=np.r_[samples[0, 0], samples.ravel(), samples[-1, -1]])

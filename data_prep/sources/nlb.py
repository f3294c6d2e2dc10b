"""The files of the Neural Latents Benchmark: the train and the test file of a data set as one session.

Source: Pei et al. 2021, Neural Latents Benchmark; windows and the rounding of their starts as in its `nlb_tools`.
"""

import argparse
import shlex
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.folder import Job, Plan
from data_prep.inspection import inspection_text
from data_prep.observed import inside, merged, observed_intervals
from data_prep.options import PrepareOptions
from data_prep.plausibility import warnings_of
from data_prep.recording import Recording, SortedNeurons, Trace, TrialTable
from data_prep.sources.nwb.hdf5 import NwbFile, open_nwb
from data_prep.sources.nwb.tables import NwbTable
from data_prep.sources.nwb.traces import TraceChoice, read_trace, series_paths
from data_prep.sources.nwb.units import UnitSpikes, heldout_units, observed_by_units, read_spikes, units_table
from data_prep.spikes import FARTHEST_S, NO_SECONDS
from neuromtm.data.shards import SPLITS
from neuromtm.errors import ConfigError, SourceError

DESCRIPTION = (
    "Prepare a data set of the Neural Latents Benchmark from its two NWB files. The splits of the files are kept: "
    "train and val, and the trials of the test file are test. Held-in and held-out neurons are two regions, heldin and "
    "heldout. The test file has no held-out neurons: their counts are written as 0, the trials are marked by "
    "trials/heldout_known 0, and nothing is ever scored on them."
)
FORWARD_S = 0.2
"""length of the time after a window whose spikes the benchmark asks for, too"""
ON_GRID = "window_event"
"""the column of the event, moved so that the window starts on the grid of bins"""
KNOWN = "heldout_known"
TRIALS, BEHAVIOR = "intervals/trials", "processing/behavior/"
AXES = ("x", "y", "z")
"""of the columns of a series"""


class Window(NamedTuple):
    """What the benchmark cuts out of a trial."""

    event: str
    """column of the trial table"""
    window_s: tuple[float, float]


MAZE = Window("move_onset_time", (-0.25, 0.45))
DATASETS = {
    "mc_maze": MAZE,
    "mc_maze_large": MAZE,
    "mc_maze_medium": MAZE,
    "mc_maze_small": MAZE,
    "mc_rtt": Window("start_time", (0.0, 0.6)),
    "area2_bump": Window("move_onset_time", (-0.1, 0.5)),
    "dmfc_rsg": Window("go_time", (-1.5, 0.0)),
}


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one of the two files holds."""

    unit: np.ndarray
    """(neuron,) number of each neuron in the file"""
    heldout: np.ndarray
    """(neuron,) bool"""
    spikes: UnitSpikes
    columns: dict[str, np.ndarray]
    """name -> (trial,) float64 or text"""
    split: np.ndarray | None
    """(trial,) text; None if the file says none"""
    observed_s: np.ndarray
    """(interval, 2)"""
    traces: dict[str, Trace]
    subject: str
    lab: str

    @property
    def n_trials(self) -> int:
        return len(next(iter(self.columns.values())))

    @property
    def end_s(self) -> float:
        """After everything in the file."""
        times = [v[np.isfinite(v)].max(initial=0.0) for name, v in self.columns.items() if is_time(name, v)]
        traces = [time_s for trace in self.traces.values() for time_s in trace.times_s[-1:]]
        return max([self.observed_s.max(), *self.spikes.times_s[-1:], *times, *traces])

    def later(self, shift_s: float) -> "Part":
        """The same on another clock."""
        return replace(
            self,
            spikes=self.spikes._replace(times_s=self.spikes.times_s + shift_s),
            columns={name: v + shift_s if is_time(name, v) else v for name, v in self.columns.items()},
            observed_s=self.observed_s + shift_s,
            traces={name: replace(trace, times_s=trace.times_s + shift_s) for name, trace in self.traces.items()},
        )


def is_time(column: str, values: np.ndarray) -> bool:
    """Whether a column of the trials holds times of the session."""
    return column.endswith("_time") and values.dtype.kind == "f"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    add = parser.add_argument
    add("--dataset", choices=tuple(DATASETS), required=True, help="which data set; it decides window and event")
    add("--train", type=Path, required=True, metavar="FILE", help="its train file, e.g. *_desc-train_*.nwb")
    add("--test", type=Path, required=True, metavar="FILE", help="its test file, e.g. *_desc-test_*.nwb")
    add("--bin-size-ms", type=int, choices=(5, 20), default=5, help="width of a bin in ms")
    add(
        "--forward",
        action="store_true",
        help=f"extend the window by the {1000 * FORWARD_S:g} ms of forward prediction; in test trials they are 0 and "
        "marked like the held-out neurons",
    )


def plan(args: argparse.Namespace) -> Plan:
    """The one session of a data set.

    Raises:
        ConfigError: if one of its files is not there.
    """
    require_files(args)
    start_s, end_s = DATASETS[args.dataset].window_s
    options = PrepareOptions(
        window_s=(start_s, end_s + FORWARD_S * args.forward),
        bin_size_s=args.bin_size_ms / 1000,
        align_event=ON_GRID,
        keep_source_overlap=True,
        seed=args.seed,
    )
    job = Job(f"nlb-{args.dataset}", "pretrain", partial(read_data_set, args))
    return Plan([job], options, {"dataset": args.dataset, "forward": args.forward})


def inspect(args: argparse.Namespace) -> str:
    """What the two files hold, and the command that prepares them."""
    require_files(args)
    command = ["python", "-m", "data_prep", "nlb", "--dataset", args.dataset, "--train", str(args.train)]
    command += ["--test", str(args.test), "--bin-size-ms", str(args.bin_size_ms), "--out", f"data/{args.dataset}"]
    return f"{inspection_text(read_data_set(args))}\n\nprepare it by\n  {shlex.join(command)}"


def require_files(args: argparse.Namespace) -> None:
    """Refuse a file that is not there, or the same one twice.

    Raises:
        ConfigError: naming it.
    """
    for option, path in (("--train", args.train), ("--test", args.test)):
        if not path.is_file():
            raise ConfigError(
                f"{option} {path}: no such file. Each data set of the benchmark has a train and a test file."
            )
    if args.train.samefile(args.test):
        raise ConfigError(f"--test {args.test}: is the train file. Name the file of the test trials.")


def read_data_set(args: argparse.Namespace) -> Recording:
    """Read the two files as one session. The times of the test file follow those of the train file.

    Raises:
        SourceError: if they are not the files of a data set of the benchmark.
    """
    window, bin_size_s = DATASETS[args.dataset], args.bin_size_ms / 1000
    train, test = read_part(args.train), read_part(args.test)
    _require_pair(args, train, test)
    # a whole number of bins of either width, so that both files keep their grids
    shift_s = np.ceil(10 * train.end_s + 10) / 10
    test = test.later(shift_s)
    order = np.argsort(train.heldout, kind="stable")
    columns = _joined(train, test)
    of_test = np.arange(train.n_trials + test.n_trials) >= train.n_trials
    starts_s = on_grid(columns[window.event] + window.window_s[0], bin_size_s)
    columns |= {ON_GRID: starts_s - window.window_s[0], KNOWN: (~of_test).astype(np.float64)}
    split = np.concatenate([_own_split(train.split), _test_split(test)])
    n_trials = {name: int((split[np.isfinite(starts_s)] == name).sum()) for name in SPLITS}
    times_s, neuron = _spikes(train, test, order)
    unknown = np.full(len(order), np.nan)
    both = Recording(
        eid=f"nlb-{args.dataset}",
        subject=train.subject or args.dataset,
        lab=train.lab,
        source="nlb",
        spike_times_s=times_s,
        spike_neuron=neuron,
        neurons=SortedNeurons(
            uuid=np.array([f"{args.dataset}-{unit}" for unit in train.unit[order]]),
            region=np.where(train.heldout[order], "heldout", "heldin"),
            probe=np.full(len(order), "array"),
            label=unknown,
            depth_um=unknown,
            heldout=train.heldout[order],
        ),
        trials=TrialTable(columns=columns, split=split),
        traces={name: _after(own, test.traces.get(name)) for name, own in train.traces.items()},
        observed_s=_observed(args, train, test, starts_s[of_test]),
        notes=(*train.spikes.notes, *test.spikes.notes, f"the test file begins at {shift_s:g} s of the session"),
        attributes={
            "benchmark": "nlb",
            "dataset": args.dataset,
            "forward_s": f"{FORWARD_S * args.forward:g}",
            "train_file": args.train.name,
            "test_file": args.test.name,
            **{f"n_{name}": str(n) for name, n in n_trials.items()},
        },
    )
    return replace(both, notes=(*both.notes, *_warnings_of_train(both, train)))


def _warnings_of_train(both: Recording, train: Part) -> list[str]:
    """What looks wrong in the train file alone: beside the later test file, times in another unit would not show."""
    n_spikes = len(train.spikes.times_s)
    alone = replace(
        both,
        spike_times_s=both.spike_times_s[:n_spikes],
        spike_neuron=both.spike_neuron[:n_spikes],
        trials=TrialTable(columns=train.columns),
        observed_s=train.observed_s,
    )
    shown = warnings_of(both, observed_intervals(both))
    own = warnings_of(alone, observed_intervals(alone))
    return [f"warning: in the train file {warning}" for warning in own if warning not in shown]


def read_part(path: Path) -> Part:
    """Read what is needed of one file.

    Raises:
        SourceError: if it is no NWB file, or has no units or trials as the benchmark's files have them.
    """
    with open_nwb(path) as nwb:
        units, trials = units_table(nwb), NwbTable(nwb, TRIALS)
        units.require("heldout")
        heldout = heldout_units(units)
        assert heldout is not None  # the column is there
        spikes = read_spikes(units)
        observed_s = observed_by_units(units, spikes).intervals_s
        if observed_s is None:
            raise SourceError("its units have no obs_intervals, which say when the neurons were recorded.")
        columns = {name: trials.values(name) for name in trials.names_of("numbers", "texts")}
        split = columns.pop("split", None)
        part = Part(
            unit=units.ids,
            heldout=heldout,
            spikes=spikes,
            split=None if split is None else split.astype(str),
            columns=columns,
            observed_s=observed_s,
            traces=_traces(nwb),
            subject=nwb.text("general/subject/subject_id"),
            lab=nwb.text("general/lab") or nwb.text("general/institution") or "unknown",
        )
        if part.end_s > FARTHEST_S:  # the test file comes after it
            raise SourceError(f"its times go to {part.end_s:g} s: {NO_SECONDS}")
        return part


def on_grid(times_s: np.ndarray, bin_size_s: float) -> np.ndarray:
    """Times, each moved to the next edge of a bin, where bins are counted from 0 s of the session."""
    return np.ceil(np.round(times_s / bin_size_s, 6)) * bin_size_s


def _traces(nwb: NwbFile) -> dict[str, Trace]:
    """The behaviours under processing/behavior, e.g. `hand_vel_x` and `hand_vel_y` of a series of two columns."""
    found = {}
    for path in series_paths(nwb):
        data = nwb.dataset(f"{path}/data")
        width = data.shape[1] if data is not None and len(data.shape) == 2 else 1
        if not path.startswith(BEHAVIOR) or width > len(AXES):
            continue
        for column in range(width):
            name = path.rpartition("/")[2] + (f"_{AXES[column]}" if width > 1 else "")
            found[name] = read_trace(nwb, TraceChoice(name=name, path=path, column=column if width > 1 else None))[0]
    return found


def _after(first: Trace, second: Trace | None) -> Trace:
    if second is None:
        return first
    times_s, values = ([getattr(part, name) for part in (first, second)] for name in ("times_s", "values"))
    return Trace(times_s=np.concatenate(times_s), values=np.concatenate(values))


def _spikes(train: Part, test: Part, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(spike,) sorted times of both files, and the place in the session of the neuron of each.

    Args:
        train: the train file.
        test: the test file, on the clock of the session.
        order: (neuron,) row of the train file of each neuron of the session.
    """
    place = {unit: number for number, unit in enumerate(train.unit[order].tolist())}
    parts = [np.array([place[unit] for unit in part.unit.tolist()])[part.spikes.neuron] for part in (train, test)]
    # the test file is later as a whole
    return np.concatenate([train.spikes.times_s, test.spikes.times_s]), np.concatenate(parts)


def _observed(args: argparse.Namespace, train: Part, test: Part, tests_s: np.ndarray) -> np.ndarray:
    """(interval, 2) when windows may be cut.

    As in nlb_tools, a bin counts as observed if its beginning is. The forward bins of a test trial whose window was
    observed count too: the trial is kept, and what the file does not give of it is 0.

    Args:
        args: the options.
        train: the train file.
        test: the test file, on the clock of the session.
        tests_s: (trial,) starts of the windows of the test file.
    """
    start_s, end_s = DATASETS[args.dataset].window_s
    observed_s = np.concatenate([train.observed_s, test.observed_s])
    observed_s = merged(np.stack([observed_s[:, 0], observed_s[:, 1] + args.bin_size_ms / 1000], axis=1))
    shown_s = tests_s[inside(tests_s, observed_s, duration_s=end_s - start_s)]
    length_s = end_s - start_s + FORWARD_S * args.forward
    return merged(np.concatenate([observed_s, np.stack([shown_s, shown_s + length_s], axis=1)]))


def _require_pair(args: argparse.Namespace, train: Part, test: Part) -> None:
    """Refuse files that are not the train and the test file of this data set.

    Raises:
        SourceError: naming the file.
    """
    event = DATASETS[args.dataset].event
    if train.split is None or not {"train", "val"} <= {*train.split.tolist()}:
        raise SourceError(f"{args.train}: its trials have no splits train and val, so it is no train file.")
    n_heldout, n_neurons = int(train.heldout.sum()), len(train.unit)
    if n_heldout in (0, n_neurons):
        raise SourceError(f"{args.train}: holds out {n_heldout} of {n_neurons} neurons, but some must be, and not all.")
    for path, part in ((args.train, train), (args.test, test)):
        if event not in part.columns or part.columns[event].dtype.kind != "f":
            raise SourceError(f"{path}: {TRIALS} has no times {event}, by which {args.dataset} is cut.")
    mine, theirs = train.unit.tolist(), test.unit.tolist()
    if unknown := sorted({*theirs} - {*mine}):
        raise SourceError(f"{args.test}: has the neuron {unknown[0]}, which {args.train} lacks: not of one data set.")
    if missing := sorted({*train.unit[~train.heldout].tolist()} - {*theirs}):
        raise SourceError(
            f"{args.test}: lacks {len(missing)} of the held-in neurons of {args.train}, e.g. {missing[0]}: not of one "
            "data set."
        )
    if np.isin(test.unit[np.unique(test.spikes.neuron)], train.unit[train.heldout]).any():
        raise SourceError(f"{args.test}: has spikes of held-out neurons, so it is no test file. Name that by --test.")


def _own_split(split: np.ndarray | None) -> np.ndarray:
    assert split is not None  # a train file without it was refused
    own = np.asarray(split, np.str_)
    return np.where(np.isin(own, ["train", "val"]), own, np.str_("")).astype("<U5")


def _test_split(test: Part) -> np.ndarray:
    """Trials of a test file are test; where it names some `test`, these alone."""
    named = test.split is not None and (test.split == "test").any()
    return np.where(test.split == "test", "test", "") if named else np.full(test.n_trials, "test")


def _joined(train: Part, test: Part) -> dict[str, np.ndarray]:
    """Name -> (trial,) values of both files; NaN or an empty text where one has no such column."""
    joined = {}
    for name in {**train.columns, **test.columns}:
        known = [part.columns[name] for part in (train, test) if name in part.columns]
        fill = np.nan if known[0].dtype.kind == "f" else ""
        values = [part.columns.get(name, np.full(part.n_trials, fill)) for part in (train, test)]
        # a column that is text in one file and a number in the other is text
        kinds = {one.dtype.kind for one in values}
        joined[name] = np.concatenate(values if len(kinds) == 1 else [one.astype(str) for one in values])
    return joined

"""The typed recording. Every source is read into this type, and every shard is made from it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property

import numpy as np

from data_prep.spikes import FARTHEST_S, NO_SECONDS, SpikePart, SpikeSummary, check_spikes, lean_type, summary_of
from data_prep.texts import text_fault, value_fault
from neuromtm.data.shard_layout import behavior_name_problem
from neuromtm.data.shards import SPLITS
from neuromtm.errors import SourceError

WHISKER = "whisker_motion_energy"
"""name of the trace that the paper decodes; it must cover the window of a trial"""

LARGEST_VALUE = 1e30
"""of a trace: shards hold float32"""

EVENTS = {
    "stimOn_times": "stimulus_onset_s",
    "goCue_times": "go_cue_s",
    "firstMovement_times": "first_movement_s",
    "feedback_times": "feedback_s",
}
"""name of an event in the trial tables of the International Brain Laboratory -> field of `TrialTable`"""


@dataclass(frozen=True, kw_only=True)
class TrialTable:
    """All trials of a session. Each field is (trial,) float64; times are in seconds of session time.

    A value is NaN if the trial has none. A field is None if the source has no such field.

    Raises:
        SourceError: if the columns differ in length, or there are none.
    """

    stimulus_onset_s: np.ndarray | None = None
    go_cue_s: np.ndarray | None = None
    first_movement_s: np.ndarray | None = None
    feedback_s: np.ndarray | None = None
    choice: np.ndarray | None = None
    """-1 or +1; 0 if the animal did not choose or its choice is unknown"""
    feedback_type: np.ndarray | None = None
    """+1 if the trial was rewarded, -1 if not"""
    contrast_left: np.ndarray | None = None
    """0 to 1; NaN if there was no stimulus on this side"""
    contrast_right: np.ndarray | None = None
    block: np.ndarray | None = None
    """probability of a stimulus on the left"""
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    """every further column of the source under its own name: (trial,) float64, or text; a shard keeps them all"""
    split: np.ndarray | None = None
    """(trial,) text, where the source gives splits: train, val or test; empty for a trial that is in none"""

    def __post_init__(self):
        sizes = {name: len(values) for name, values in self._all().items()}
        if len(set(sizes.values())) != 1:
            raise SourceError(f"the trial table is empty, or its columns differ in length ({sizes}).")
        if wrong := sorted(filter(_is_no_name, self.columns)):
            raise SourceError(f"the trial table has the columns {wrong}. Rename them: no dot first, and no slash.")
        if self.split is not None and (unknown := sorted({*map(str, np.unique(self.split))} - {*SPLITS, ""})):
            raise SourceError(f"the splits of the source are named {unknown}, not {', '.join(SPLITS)}.")

    def _all(self) -> dict[str, np.ndarray]:
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "columns"} | {**self.columns}
        return {name: values for name, values in found.items() if values is not None}

    @property
    def n_trials(self) -> int:
        return len(next(iter(self._all().values())))

    @cached_property
    def event_names(self) -> tuple[str, ...]:
        """The names that `event` knows: the fields that are times, and every further column that is a number."""
        fields_there = {name for name in EVENTS.values() if getattr(self, name) is not None}
        of_ibl = [name for name, field_name in EVENTS.items() if field_name in fields_there]
        return (*of_ibl, *sorted(fields_there), *(n for n, v in self.columns.items() if v.dtype.kind == "f"))

    def event(self, name: str) -> np.ndarray:
        """(trial,) times of an event.

        Args:
            name: in the trial tables of the International Brain Laboratory, or that of a field, or of a further column.

        Raises:
            SourceError: if the table has no such column; the message lists those there.
        """
        if (texts := self.columns.get(name)) is not None and texts.dtype.kind != "f":
            raise SourceError(f"the column {name} holds texts, e.g. {str(texts[0])!r}. Write its times in seconds.")
        if name not in self.event_names:
            raise SourceError(f"the trial table has no {name}. It has: {', '.join(self.event_names) or 'no times'}.")
        own = EVENTS.get(name, name)
        return self.columns[name] if name in self.columns else getattr(self, own)


@dataclass(frozen=True, kw_only=True)
class SortedNeurons:
    """The neurons of all probes of a session. Each field is (neuron,)."""

    uuid: np.ndarray
    region: np.ndarray
    """acronym, of the Beryl atlas where the source has it; `root` or `void` if the region is unknown"""
    probe: np.ndarray
    label: np.ndarray
    """fraction of the quality criteria that the neuron passed, 0 to 1; NaN if unknown"""
    depth_um: np.ndarray
    """position along the probe; NaN if unknown"""
    heldout: np.ndarray | None = None
    """bool, held out by the source; None if the source holds out no neurons"""

    def __post_init__(self):
        if nameless := int((self.uuid == "").sum()):
            raise SourceError(f"{nameless} neurons have an empty name. Give every neuron a name at the source.")
        names, first, times = np.unique(self.uuid, return_index=True, return_counts=True)
        if (times > 1).any():
            twice, where = names[times > 1][0], first[times > 1][0]
            probes = [str(probe) for probe in self.probe[self.uuid == twice][:2]]
            raise SourceError(
                f"the neuron {twice} is there {times[times > 1][0]} times, first as number {where}, on "
                f"{' and on '.join(probes)}. Give every neuron a name of its own at the source."
            )
        if unnamed := int((self.region == "").sum()):
            raise SourceError(f"{unnamed} neurons have an empty region. Write void where it is unknown.")
        if len(wrong := self.label[(self.label < 0) | (self.label > 1)]):
            raise SourceError(f"{len(wrong)} neurons have a label outside 0 to 1, e.g. {wrong[0]:g}.")
        if deep := int(np.isinf(self.depth_um).sum()):
            raise SourceError(f"{deep} neurons have an infinite depth. Leave it empty where it is unknown.")
        if self.heldout is not None and len(self.heldout) and self.heldout.all():
            raise SourceError("all neurons are held out, so that none is left to predict them from.")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A behaviour that was measured at times of its own."""

    times_s: np.ndarray
    """(sample,) increasing, in seconds of session time"""
    values: np.ndarray
    """(sample,)"""
    averaged: bool = False
    """whether a bin gets the mean over its whole width, not the value at its centre"""


def no_spikes() -> np.ndarray:
    """(0,) numbers: what a recording holds where its spikes are in parts."""
    return np.zeros(0, np.uint8)


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One session as its source has it: all trials and all neurons. Nothing is binned yet.

    The spikes are given as two arrays of all of them, or as parts that are loaded when they are needed, e.g. one a
    probe. All spikes of a probe are in one part.

    Raises:
        SourceError: if its fields do not fit together. Spikes in parts are checked when they are loaded.
    """

    eid: str
    subject: str
    lab: str
    source: str
    neurons: SortedNeurons
    spike_times_s: np.ndarray = field(default_factory=no_spikes)
    """(spike,) sorted, in seconds of session time; empty if the spikes are in parts"""
    spike_neuron: np.ndarray = field(default_factory=no_spikes)
    """(spike,) int: position of the spike's neuron in `neurons`; empty if they are in parts"""
    spike_parts: tuple[Callable[[], SpikePart], ...] = ()
    """each loads a part of the spikes; it may be called several times"""
    trials: TrialTable | None = None
    """None: a recording without trials; windows are then cut from continuous time"""
    traces: Mapping[str, Trace] = field(default_factory=dict)
    true_rates: np.ndarray | None = None
    """(trial of the table, bin, neuron) expected spikes per bin; only for simulated sessions"""
    notes: tuple[str, ...] = ()
    """what the user should know about the reading of this session"""
    observed_s: np.ndarray | None = None
    """(interval, 2) start and end of the times at which the neurons were recorded; None if the source does not say"""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """where the recording comes from, e.g. its file, the revision or the sorter; kept in the header of the shard"""

    def __post_init__(self):
        assert not (len(self.spike_times_s) and self.spike_parts), "give all spikes, or parts of them"
        if self.n_neurons == 0 or not (len(self.spike_times_s) or self.spike_parts):
            raise SourceError("no spikes.")
        if not self.spike_parts:
            check_spikes(SpikePart(self.spike_times_s, self.spike_neuron), n_neurons=self.n_neurons)
        self._check_observed()
        self._check_texts()
        columns = {} if self.trials is None else self.trials.columns
        for name, trace in self.traces.items():
            if problem := behavior_name_problem(name, columns):
                raise SourceError(f"a trace is named {name!r}: {problem}")
            _check_trace(name, trace)

    def _check_texts(self) -> None:
        """Whether a shard can hold every text."""
        columns = {} if self.trials is None else self.trials.columns
        names = [("the subject", self.subject), ("the lab", self.lab)]
        names += [("the name of a column of the trials", name) for name in columns]
        names += [("the name of a trace", name) for name in self.traces]
        uuid = self.neurons.uuid
        for what in ("uuid", "region", "probe"):
            texts = getattr(self.neurons, what)
            names += [(f"the {what} of neuron {n} ({str(uuid[n])!r})", str(texts[n])) for n in _first_of_each(texts)]
        for what, text in names:
            if fault := text_fault(text):
                raise SourceError(f"{what} {fault}. Take it out at the source.")
        for name, values in columns.items():
            for row in _first_of_each(values) if values.dtype.kind in "UO" else ():
                if fault := value_fault(str(values[row])):
                    raise SourceError(
                        f"the column {name} of the trials, trial {row}: {fault}. Take it out at the source."
                    )

    def _check_observed(self) -> None:
        if self.observed_s is None:
            return
        if self.observed_s.ndim != 2 or self.observed_s.shape[1] != 2 or len(self.observed_s) == 0:
            raise SourceError(f"the observed intervals have the shape {self.observed_s.shape}, not (interval, 2).")
        wrong = np.flatnonzero(~(self.observed_s[:, 0] < self.observed_s[:, 1]))
        if len(wrong):
            start_s, end_s = self.observed_s[wrong[0]]
            raise SourceError(f"the observed interval {wrong[0]} goes from {start_s:g} s to {end_s:g} s, not forward.")
        if len(wrong := np.flatnonzero(~(np.abs(self.observed_s) <= FARTHEST_S).all(axis=1))):
            start_s, end_s = self.observed_s[wrong[0]]
            raise SourceError(f"the observed interval {wrong[0]} goes from {start_s:g} to {end_s:g} s: {NO_SECONDS}")

    @property
    def n_neurons(self) -> int:
        return len(self.neurons.uuid)

    def parts(self) -> Iterator[SpikePart]:
        """Load the spikes, a part at a time. Let go of each part before the next one, and memory holds one of them.

        Raises:
            SourceError: if a part cannot be read, or its spikes are of no neuron, not in order or at no time.
        """
        if not self.spike_parts:
            yield SpikePart(self.spike_times_s, self.spike_neuron)
        for load in self.spike_parts:
            part = load()
            check_spikes(part, n_neurons=self.n_neurons)
            yield part
            del part

    @cached_property
    def summary(self) -> SpikeSummary:
        """What there is to know of all spikes but their times.

        Raises:
            SourceError: as `parts` does, and if there is no spike.
        """
        return summary_of(self.parts(), self.neurons.probe)

    def merged(self) -> "Recording":
        """The same recording with all its spikes in memory, in the order of time.

        Raises:
            SourceError: as `parts` does, and if there is no spike.
        """
        times_s, neuron = (np.concatenate(values) for values in zip(*self.parts(), strict=True))
        order = np.argsort(times_s, kind="stable")
        neuron = neuron[order].astype(lean_type(self.n_neurons))
        return replace(self, spike_times_s=times_s[order], spike_neuron=neuron, spike_parts=())


def _first_of_each(texts: np.ndarray) -> list[int]:
    """Where each of the texts stands first."""
    return sorted({str(text): place for place, text in reversed([*enumerate(texts)])}.values())


def _check_trace(name: str, trace: Trace) -> None:
    if _is_no_name(name):
        raise SourceError(f"a trace is named {name!r}. Rename it: no dot first, and no slash.")
    if not len(trace.times_s):
        raise SourceError(f"the trace {name} has no samples. Leave it out.")
    if n_large := int((np.abs(trace.values) > LARGEST_VALUE).sum()):
        raise SourceError(
            f"the trace {name} has {n_large} values that are infinite or beyond {LARGEST_VALUE:g}. Write NaN where it "
            "is missing."
        )


def _is_no_name(name: str) -> bool:
    """Whether a shard could not name a data set so."""
    return not name or name.startswith(".") or bool({*name} & {*"/\0"})

"""The typed recording. Every source is read into this type, and every shard is made from it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from neuromtm.errors import SourceError

WHISKER = "whisker_motion_energy"
"""name of the trace that the paper decodes; it must cover the window of a trial"""

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

    def __post_init__(self):
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None}
        if len(set(sizes.values())) != 1:
            raise SourceError(f"the trial table is empty, or its columns differ in length ({sizes}).")

    @property
    def n_trials(self) -> int:
        return next(len(v) for f in fields(self) if (v := getattr(self, f.name)) is not None)


@dataclass(frozen=True, kw_only=True)
class SortedNeurons:
    """The neurons of all probes of a session. Each field is (neuron,)."""

    uuid: np.ndarray
    region: np.ndarray
    """Beryl acronym; `root` or `void` if the region is unknown"""
    probe: np.ndarray
    label: np.ndarray
    """fraction of the quality criteria that the neuron passed, 0 to 1; NaN if unknown"""
    depth_um: np.ndarray
    """position along the probe; NaN if unknown"""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A behaviour that was measured at times of its own."""

    times_s: np.ndarray
    """(sample,) increasing, in seconds of session time"""
    values: np.ndarray
    """(sample,)"""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One session as its source has it: all trials and all neurons. Nothing is binned yet.

    Raises:
        SourceError: if the parts do not fit together.
    """

    eid: str
    subject: str
    lab: str
    source: str
    spike_times_s: np.ndarray
    """(spike,) sorted, in seconds of session time"""
    spike_neuron: np.ndarray
    """(spike,) int: position of the spike's neuron in `neurons`"""
    neurons: SortedNeurons
    trials: TrialTable
    traces: Mapping[str, Trace] = field(default_factory=dict)
    true_rates: np.ndarray | None = None
    """(trial of the table, bin, neuron) expected spikes per bin; only for simulated sessions"""
    notes: tuple[str, ...] = ()
    """what the user should know about the reading of this session"""

    def __post_init__(self):
        if len(self.spike_times_s) == 0 or self.n_neurons == 0:
            raise SourceError("no spikes.")
        if len(self.spike_times_s) != len(self.spike_neuron):
            raise SourceError(f"{len(self.spike_times_s)} spike times, but {len(self.spike_neuron)} neuron numbers.")
        if not 0 <= self.spike_neuron.min() <= self.spike_neuron.max() < self.n_neurons:
            raise SourceError(
                f"spikes of neuron {self.spike_neuron.max()}, but only {self.n_neurons} neurons are listed "
                "(they are counted from 0)."
            )
        if not np.all(np.diff(self.spike_times_s) >= 0):
            raise SourceError("spike times are not sorted, or some are not numbers.")

    @property
    def n_neurons(self) -> int:
        return len(self.neurons.uuid)

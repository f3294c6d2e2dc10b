"""The typed recording between every source and the shards: whatever a lab's files look like, this comes out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from neuromtm.errors import SourceError

WHISKER = "whisker_motion_energy"
"""name of the trace that the paper decodes, and that must cover a trial's window"""

EVENTS = {
    "stimOn_times": "stimulus_onset_s",
    "goCue_times": "go_cue_s",
    "firstMovement_times": "first_movement_s",
    "feedback_times": "feedback_s",
}
"""name of an event in the trial tables of the International Brain Laboratory -> field of `TrialTable`"""


@dataclass(frozen=True, kw_only=True)
class TrialTable:
    """All trials of a session, each field (trial,) float64, times in session time.

    NaN where a trial has no value; None where the source has no such field at all.
    """

    stimulus_onset_s: np.ndarray | None = None
    go_cue_s: np.ndarray | None = None
    first_movement_s: np.ndarray | None = None
    feedback_s: np.ndarray | None = None
    choice: np.ndarray | None = None
    """-1, +1; 0 where the animal did not choose or the choice is unknown"""
    feedback_type: np.ndarray | None = None
    """+1 rewarded, -1 not"""
    contrast_left: np.ndarray | None = None
    """0 to 1; NaN where there was no stimulus on this side"""
    contrast_right: np.ndarray | None = None
    block: np.ndarray | None = None
    """probability of a stimulus on the left"""

    def __post_init__(self):
        sizes = {f.name: len(getattr(self, f.name)) for f in fields(self) if getattr(self, f.name) is not None}
        if len(set(sizes.values())) != 1:
            raise SourceError(f"the trial table is empty or its columns differ in length ({sizes}).")

    @property
    def n_trials(self) -> int:
        return next(len(v) for f in fields(self) if (v := getattr(self, f.name)) is not None)


@dataclass(frozen=True, kw_only=True)
class SortedNeurons:
    """The neurons of a session, probes merged; each field (neuron,)."""

    uuid: np.ndarray
    region: np.ndarray
    """Beryl acronym, `root` or `void` where unknown"""
    probe: np.ndarray
    label: np.ndarray
    """fraction of the quality criteria passed, 0 to 1; NaN where unknown"""
    depth_um: np.ndarray
    """along the probe; NaN where unknown"""


@dataclass(frozen=True, kw_only=True)
class Trace:
    """A behaviour measured at its own times."""

    times_s: np.ndarray
    """(sample,) increasing, in session time"""
    values: np.ndarray
    """(sample,)"""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One session as its source has it: every trial, every neuron, nothing binned.

    Raises:
        SourceError: if the parts do not fit together.
    """

    eid: str
    subject: str
    lab: str
    source: str
    spike_times_s: np.ndarray
    """(spike,) sorted, in session time"""
    spike_neuron: np.ndarray
    """(spike,) int: position of the spike's neuron in `neurons`"""
    neurons: SortedNeurons
    trials: TrialTable
    traces: Mapping[str, Trace] = field(default_factory=dict)
    true_rates: np.ndarray | None = None
    """(trial of the table, bin, neuron) expected spikes per bin; simulated sessions only"""
    notes: tuple[str, ...] = ()
    """what the reader of the source wants to be told about this session"""

    def __post_init__(self):
        if len(self.spike_times_s) == 0 or self.n_neurons == 0:
            raise SourceError("no spikes.")
        if len(self.spike_times_s) != len(self.spike_neuron):
            raise SourceError(f"{len(self.spike_times_s)} spike times, but neurons of {len(self.spike_neuron)} spikes.")
        if not 0 <= self.spike_neuron.min() <= self.spike_neuron.max() < self.n_neurons:
            raise SourceError(
                f"spikes of neuron {self.spike_neuron.max()}, but only {self.n_neurons} neurons are listed."
            )
        if not np.all(np.diff(self.spike_times_s) >= 0):
            raise SourceError("spike times are not sorted, or some are not numbers.")

    @property
    def n_neurons(self) -> int:
        return len(self.neurons.uuid)

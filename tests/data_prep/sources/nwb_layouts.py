"""Small NWB files in the layouts of public dandisets, written by pynwb. They hold the arrays of one small session.

The names of tables and columns are those of DANDI 000409 (International Brain Laboratory), 000017 (Steinmetz et al.),
000021 (Allen Institute, visual coding) and 000128 (Neural Latents Benchmark, MC_Maze). The numbers are made up.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from hdmf.common import VectorData
from pynwb import NWBHDF5IO, NWBFile, TimeSeries
from pynwb.behavior import BehavioralTimeSeries, SpatialSeries
from pynwb.epoch import TimeIntervals
from pynwb.file import Subject

START = datetime(2020, 1, 1, tzinfo=UTC)


@dataclass
class Session:
    """A small session: eight units on two probes, 24 trials two seconds apart."""

    n_units: int = 8
    n_trials: int = 24
    region: list[str] = field(default_factory=lambda: ["CA1", "CA1", "VISp", "VISp", "MOs", "MOs", "CA1", "VISp"])
    probe: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 1, 1, 1, 1])

    def __post_init__(self):
        rng = np.random.default_rng(0)
        self.onset_s = 3.0 + 2 * np.arange(self.n_trials)
        end_s = self.onset_s[-1] + 3
        self.spikes_s = [np.sort(rng.uniform(0.5, end_s, rng.integers(300, 600))) for _ in range(self.n_units)]
        self.choice = np.where(rng.random(self.n_trials) < 0.5, -1.0, 1.0)
        self.contrast = rng.choice([0.0625, 0.25, 1.0], self.n_trials)
        self.left = rng.random(self.n_trials) < 0.5
        self.rewarded = rng.random(self.n_trials) < 0.7
        self.times_s = np.arange(0, end_s, 0.02)
        self.speed = np.sin(self.times_s)

    def counts(self, n_bins: int = 20, bin_size_s: float = 0.05) -> np.ndarray:
        """(trial, bin, unit) spikes from the onset."""
        edges = [onset + np.round(np.arange(n_bins + 1) * bin_size_s, 9) for onset in self.onset_s]
        return np.stack([np.stack([np.histogram(s, e)[0] for s in self.spikes_s], axis=1) for e in edges])


def new_file(**told) -> NWBFile:
    given = {"session_description": "test", "identifier": "a-1", "session_start_time": START, **told}
    return NWBFile(**given)


def write(path: Path, nwb: NWBFile) -> Path:
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def add_probes(nwb: NWBFile, *, ids, location, per_probe: int = 6, names=("probe00", "probe01"), **columns):
    """Two groups with `per_probe` electrodes each; `location` of an electrode by its row."""
    groups = []
    for number, name in enumerate(names):
        device = nwb.create_device(name=f"device {number}")
        groups.append(nwb.create_electrode_group(name, description="d", location=f"area {number}", device=device))
    for column in columns:
        nwb.add_electrode_column(column, column)
    for row, electrode in enumerate(ids):
        own = {column: values[row] for column, values in columns.items()}
        nwb.add_electrode(id=electrode, group=groups[row // per_probe], location=location[row], **own)
    return groups


def steinmetz(path: Path, session: Session) -> Path:
    """DANDI 000017: numbers of channels within a probe, columns of one number a row as (unit, 1)."""
    nwb = new_file(identifier="Cori_2016-12-14", lab="The Carandini and Harris Lab", institution="UCL")
    nwb.subject = Subject(subject_id="Cori", species="Mus musculus")
    sites = [*range(6), *range(6)]
    # the electrode of unit u is site u % 4 of its probe; the other sites are elsewhere
    location = ["root"] * 12
    for unit, (region, probe) in enumerate(zip(session.region, session.probe, strict=True)):
        location[6 * probe + unit % 4] = region
    groups = add_probes(nwb, ids=range(12), location=location, names=("Probe1", "Probe2"), site_id=sites)
    nwb.add_unit_column("phy_annotations", "1 MUA, 2 good, 3 unsorted")
    for unit, times in enumerate(session.spikes_s):
        probe = session.probe[unit]
        near = [6 * probe + (unit + step) % 4 for step in (1, 0, 2)]
        nwb.add_unit(spike_times=times, electrodes=near, electrode_group=groups[probe], phy_annotations=1 + unit % 3)
    peak = np.array([[unit % 4] for unit in range(session.n_units)])
    nwb.add_unit_column("peak_channel", "within the probe", data=peak)
    nwb.add_unit_column("cluster_depths", "um", data=20.0 * peak)
    rows = zip(session.onset_s - 0.5, session.onset_s + 1.2, strict=True)
    for start, stop in rows:
        nwb.add_trial(start_time=start, stop_time=stop)
    contrast = {
        "left": np.where(session.left, session.contrast, 0),
        "right": np.where(session.left, 0, session.contrast),
    }
    nwb.add_trial_column("visual_stimulus_time", "t", data=session.onset_s)
    nwb.add_trial_column("visual_stimulus_left_contrast", "c", data=contrast["left"])
    nwb.add_trial_column("visual_stimulus_right_contrast", "c", data=contrast["right"])
    nwb.add_trial_column("response_choice", "c", data=session.choice)
    nwb.add_trial_column("feedback_type", "f", data=np.where(session.rewarded, 1, -1))
    nwb.add_trial_column("included", "b", data=np.ones(session.n_trials, bool))
    spontaneous = TimeIntervals(name="spontaneous", description="d")
    spontaneous.add_row(start_time=0.0, stop_time=1.0)
    nwb.add_time_intervals(spontaneous)
    face = TimeSeries(name="face_motion_energy", data=session.speed, timestamps=session.times_s, unit="a")
    behavior = nwb.create_processing_module("behavior", "d")
    behavior.add(BehavioralTimeSeries(time_series=face, name="BehavioralTimeSeries"))
    wheel = TimeSeries(
        name="wheel_position",
        data=np.arange(len(session.times_s)),
        starting_time=0.0,
        rate=50.0,
        unit="m",
        conversion=0.1,
    )
    nwb.add_acquisition(wheel)
    return write(path, nwb)


def ibl(path: Path, session: Session) -> Path:
    """DANDI 000409: texts instead of numbers, rows of electrodes, uuids, one module a behaviour."""
    nwb = new_file(session_id="4a45c8ba-db6f-4f11-9403-56e06a33dfa4", lab="danlab", institution="B")
    nwb.subject = Subject(subject_id="DY_020", species="Mus musculus")
    location = [session.region[row % session.n_units] for row in range(12)]
    add_probes(nwb, ids=range(12), location=location)
    for column in ("unit_name", "probe_name", "cluster_uuid", "ibl_quality_score", "distance_from_probe_tip_um"):
        nwb.add_unit_column(column, column)
    for unit, times in enumerate(session.spikes_s):
        nwb.add_unit(
            spike_times=times,
            unit_name=f"probe0{session.probe[unit]}_{unit}",
            probe_name=f"Probe0{session.probe[unit]}",
            cluster_uuid=f"00000000-0000-0000-0000-{unit:012d}",
            ibl_quality_score=(unit % 4) / 3,
            distance_from_probe_tip_um=100.0 * unit,
        )
    nwb.units.add_column(
        name="max_electrode", description="row", data=list(range(session.n_units)), table=nwb.electrodes
    )
    values = {
        "start_time": session.onset_s - 0.6,
        "stop_time": session.onset_s + 1.3,
        "gabor_stimulus_onset_time": session.onset_s,
        "auditory_cue_time": session.onset_s + 0.001,
        "wheel_movement_onset_time": session.onset_s + 0.3,
        "feedback_time": session.onset_s + 0.7,
        "gabor_stimulus_contrast": 100 * session.contrast,
        "gabor_stimulus_side": np.where(session.left, "left", "right").tolist(),
        "mouse_wheel_choice": np.where(session.choice > 0, "clockwise", "counter_clockwise").tolist(),
        "is_mouse_rewarded": session.rewarded,
        "probability_left": np.full(session.n_trials, 0.5),
    }
    columns = [VectorData(name=name, description=name, data=data) for name, data in values.items()]
    nwb.add_time_intervals(TimeIntervals(name="trials", description="d", columns=columns))
    wheel = SpatialSeries(
        name="WheelPosition", data=session.speed, timestamps=session.times_s, reference_frame="r", unit="radians"
    )
    nwb.create_processing_module("wheel", "d").add(wheel)
    return write(path, nwb)


def allen(path: Path, session: Session) -> Path:
    """DANDI 000021: no trials, a table for each stimulus; ids of electrodes; quality as text; invalid times."""
    nwb = new_file(identifier="715093703", session_id="715093703", institution="Allen Institute for Brain Science")
    nwb.subject = Subject(subject_id="699733573")
    ids = [850_000_000 + 2 * row for row in range(12)]
    location = [session.region[row % session.n_units] for row in range(12)]
    add_probes(nwb, ids=ids, location=location, probe_vertical_position=[20 * row for row in range(12)])
    nwb.add_unit_column("peak_channel_id", "electrode")
    nwb.add_unit_column("quality", "q")
    for unit, times in enumerate(session.spikes_s):
        nwb.add_unit(
            id=950_900_000 + unit,
            spike_times=times,
            peak_channel_id=ids[unit],
            quality="noise" if unit == 3 else "good",
        )
    gratings = TimeIntervals(name="drifting_gratings_presentations", description="d")
    gratings.add_column("orientation", "deg")
    gratings.add_column("stimulus_name", "s")
    for number, onset in enumerate(session.onset_s):
        gratings.add_row(
            start_time=onset,
            stop_time=onset + 1.5,
            orientation=45.0 * (number % 8),
            stimulus_name="gratings",
            tags=["a"],
        )
    nwb.add_time_intervals(gratings)
    nwb.add_invalid_time_interval(start_time=session.onset_s[5] + 0.2, stop_time=session.onset_s[5] + 0.4, tags=["x"])
    speed = TimeSeries(name="running_speed", data=session.speed, timestamps=session.times_s, unit="cm/s")
    nwb.create_processing_module("running", "d").add(speed)
    return write(path, nwb)


def nlb(path: Path, session: Session) -> Path:
    """DANDI 000128: splits, held-out units, observed intervals, behaviours of two columns."""
    nwb = new_file(identifier="ac9fe3ee", session_id="full", lab="Shenoy", institution="Stanford University")
    nwb.subject = Subject(subject_id="Jenkins")
    location = ["M1 or PMd"] * 12
    for unit, region in enumerate(session.region):
        location[6 * session.probe[unit] + unit % 4] = region
    add_probes(nwb, ids=range(12), location=location, names=("electrode_group_M1", "electrode_group_PMd"))
    observed = np.array([[0.0, session.onset_s[9] + 1.5], [session.onset_s[11] - 0.5, session.onset_s[-1] + 2]])
    nwb.add_unit_column("heldout", "h")
    for unit, times in enumerate(session.spikes_s):
        electrode = 6 * session.probe[unit] + unit % 4
        nwb.add_unit(spike_times=times, electrodes=[electrode], obs_intervals=observed, heldout=unit in (2, 5))
    for onset in session.onset_s:
        nwb.add_trial(start_time=onset - 0.4, stop_time=onset + 1.4)
    split = np.resize(["train", "test", "train", "val"], session.n_trials).tolist()
    split[22] = "none"
    nwb.add_trial_column("split", "s", data=split)
    nwb.add_trial_column("move_onset_time", "t", data=session.onset_s)
    nwb.add_trial_column("rt", "ms", data=np.full(session.n_trials, 250))
    nwb.add_trial_column("success", "b", data=np.ones(session.n_trials, bool))
    positions = np.arange(session.n_trials * 2).reshape(-1, 2)
    nwb.add_trial_column("target_pos", "p", data=positions, index=np.arange(1, session.n_trials + 1))
    both = np.stack([session.speed, np.cos(session.times_s)], axis=1)
    behavior = nwb.create_processing_module("behavior", "d")
    velocity = TimeSeries(
        name="hand_vel", data=both, timestamps=session.times_s, unit="mm/s", conversion=2.0, offset=1.0
    )
    behavior.add(velocity)
    # shares its times with the other series, as those of the benchmark do
    behavior.add(SpatialSeries(name="hand_pos", data=both, timestamps=velocity, reference_frame="r"))
    return write(path, nwb)

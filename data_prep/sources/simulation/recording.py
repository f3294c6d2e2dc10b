"""Simulate recordings with a known truth. All animals have the same brain; their neurons differ."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_prep.options import PrepareOptions
from data_prep.recording import WHISKER, Recording, SortedNeurons, Trace, TrialTable
from data_prep.sources.simulation.brain import REGION_NAMES, Activity, Brain, Task, connections, live, make_brain
from neuromtm.data.manifest import Role
from neuromtm.errors import ConfigError
from neuromtm.randomness import numpy_generator_for

LAB = "simlab"
CAMERA_HZ = 150
MEDIAN_RATE_HZ = 3.0
RATE_SPREAD = 1.4
"""standard deviation of the log of the firing rates over neurons"""
MODULATION = (0.7, 1.1)
"""lowest and highest standard deviation of a neuron's log rate over time"""
MAX_RATE_HZ = 200.0
MIN_EXPECTED_SPIKES = 1e-5
"""lowest expected number of spikes in a bin; float16 cannot store smaller numbers safely"""
SPOILT_TRIALS = 0.05
"""trials that the trial filter must remove, as a fraction of the good trials; they are added to the good trials"""


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """How much to simulate.

    Raises:
        ConfigError: if options are out of range; the message names all of them.
    """

    n_sessions: int = 6
    n_heldout: int = 2
    """the held-out sessions are the last ones"""
    n_neurons: int = 60
    """mean number in a session"""
    n_trials: int = 200
    """good trials in a session"""
    n_regions: int = 4
    seed: int = 0

    def __post_init__(self):
        problems = []
        if self.n_sessions < 1:
            problems.append(f"--n-sessions {self.n_sessions}: must be at least 1.")
        if not 0 <= self.n_heldout <= self.n_sessions:
            problems.append(f"--n-heldout {self.n_heldout}: must be from 0 to --n-sessions {self.n_sessions}.")
        if not 3 <= self.n_regions <= len(REGION_NAMES):
            problems.append(f"--n-regions {self.n_regions}: must be from 3 to {len(REGION_NAMES)}.")
        if self.n_neurons < 3 * self.n_regions:
            problems.append(f"--n-neurons {self.n_neurons}: must be at least {3 * self.n_regions}, three a region.")
        if self.n_trials < 3:
            problems.append(f"--n-trials {self.n_trials}: must be at least 3, one for each split.")
        if problems:
            raise ConfigError(" ".join(problems))

    def as_json(self) -> dict[str, object]:
        """The options that decide the content of a session, and the true connections, as a shard stores them."""
        return {
            "n_neurons": self.n_neurons,
            "n_trials": self.n_trials,
            "n_regions": self.n_regions,
            "connections": [[c.driver, c.driven, c.lag_s] for c in connections(self.n_regions)],
        }

    def eid(self, number: int) -> str:
        """The eid of a session, the same in every run: it names the seed and the number of the session."""
        return f"sim-{self.seed}-{number:02d}"

    def role(self, number: int) -> Role:
        return "pretrain" if number < self.n_sessions - self.n_heldout else "heldout"


def simulate_session(number: int, *, simulation: SimulationOptions, options: PrepareOptions) -> Recording:
    """Simulate one session. It does not depend on which other sessions are simulated.

    Args:
        number: number of the session, counted from 0.
        simulation: how much to simulate.
        options: window and bin size; the true rates have the same bins.
    """
    life = live_session(number, simulation=simulation, options=options)
    rng, task, activity = life.rng, life.task, life.activity
    onset_s = 10 + np.cumsum(options.duration_s + rng.uniform(1.0, 2.0, len(task.contrast)))
    neurons = _neurons(life.brain, simulation, number, rng)
    rates = _rates(activity, neurons, options.bin_size_s, rng)
    times_s, neuron = spike_times(rng.poisson(rates), onset_s + options.window_s[0], options.bin_size_s, rng)
    return Recording(
        eid=simulation.eid(number),
        subject=f"mouse-{simulation.seed}-{number:02d}",
        lab=LAB,
        source="simulation",
        spike_times_s=times_s,
        spike_neuron=neuron,
        neurons=neurons,
        trials=_table(task, activity.choice, onset_s, life.n_spoilt, rng),
        traces={WHISKER: _camera(activity.whisker, onset_s + options.window_s[0], options.bin_size_s)},
        true_rates=rates,
        observed_s=np.array([[0.0, onset_s[-1] + max(20.0, options.window_s[1])]]),
    )


class Life(NamedTuple):
    """What the brain of one session does, before it has neurons."""

    brain: Brain
    task: Task
    activity: Activity
    n_spoilt: int
    """trials that will be spoilt; those of the task are this many more than the good ones"""
    rng: np.random.Generator
    """of the session, for all that follows"""


def live_session(number: int, *, simulation: SimulationOptions, options: PrepareOptions) -> Life:
    """Simulate what the brain does in one session. The signals that its neurons respond to are in no shard.

    Args:
        number: number of the session, counted from 0.
        simulation: how much to simulate.
        options: window and bin size.
    """
    rng = numpy_generator_for(simulation.seed, "session", number)
    brain = make_brain(n_regions=simulation.n_regions, seed=simulation.seed)
    n_spoilt = round(simulation.n_trials * SPOILT_TRIALS)
    task = _task(simulation.n_trials + n_spoilt, rng)
    binning = {"window_s": options.window_s, "n_bins": options.n_bins, "bin_size_s": options.bin_size_s}
    return Life(brain, task, live(brain, task, **binning, rng=rng), n_spoilt, rng)


def _task(n_table: int, rng: np.random.Generator) -> Task:
    block = rng.choice([0.2, 0.5, 0.8], -(-n_table // 20)).repeat(20)[:n_table]
    side = np.where(rng.random(n_table) < block, -1, 1)
    return Task(
        contrast=side * rng.choice([0.0, 0.0625, 0.125, 0.25, 1.0], n_table),
        block=block,
        reaction_time_s=np.clip(rng.lognormal(np.log(0.25), 0.4, n_table), 0.1, 1.0),
        guess=rng.random(n_table),
    )


def _neurons(brain: Brain, simulation: SimulationOptions, number: int, rng: np.random.Generator) -> SortedNeurons:
    n_regions, n_neurons = len(brain.regions), round(simulation.n_neurons * rng.uniform(0.85, 1.15))
    n_neurons = max(n_neurons, 2 * n_regions)
    at_least_two = np.arange(n_regions).repeat(2)
    region_number = np.sort(np.r_[at_least_two, rng.integers(0, n_regions, n_neurons - len(at_least_two))])
    # there are two probes, each in half of the regions, so that every session needs its probes merged
    on_second = region_number >= (n_regions + 1) // 2
    return SortedNeurons(
        uuid=np.array([f"{simulation.eid(number)}-{i:04d}" for i in range(n_neurons)]),
        region=np.array(brain.regions)[region_number],
        probe=np.where(on_second, "probe01", "probe00"),
        label=rng.choice([0, 1 / 3, 2 / 3, 1], n_neurons),
        depth_um=10.0 * (20 * region_number + rng.integers(0, 20, n_neurons)),
    )


def _rates(activity: Activity, neurons: SortedNeurons, bin_size_s: float, rng: np.random.Generator) -> np.ndarray:
    """(trial, bin, neuron) float16 expected spikes per bin: the exponential of a weighted sum of region features."""
    n_neurons = len(neurons.uuid)
    rate_hz = np.clip(MEDIAN_RATE_HZ * np.exp(RATE_SPREAD * rng.standard_normal(n_neurons)), 0.02, 60)
    spread = rng.uniform(*MODULATION, n_neurons)
    rates = []
    for neuron, region in enumerate(neurons.region):
        features = activity.features[str(region)]
        drive = features @ rng.standard_normal(features.shape[-1])
        modulation = np.exp(spread[neuron] * (drive - drive.mean()) / drive.std())
        rates.append(np.minimum(rate_hz[neuron] * modulation / modulation.mean(), MAX_RATE_HZ))
    # rates are rounded before spikes are drawn, so that the shard stores exactly the rates that the spikes come from
    return np.maximum(np.stack(rates, axis=-1) * bin_size_s, MIN_EXPECTED_SPIKES).astype(np.float16)


def spike_times(
    counts: np.ndarray, starts_s: np.ndarray, bin_size_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Turn (trial, bin, neuron) counts into sorted spike times, and give the neuron of each spike.

    The times lie well inside their bins, so that binning gives the same counts again.
    """
    trial, bin_, neuron = (axis.repeat(counts[np.nonzero(counts)]) for axis in np.nonzero(counts))
    times_s = starts_s[trial] + (bin_ + rng.uniform(0.05, 0.95, len(bin_))) * bin_size_s
    order = np.argsort(times_s, kind="stable")
    return times_s[order], neuron[order]


def _camera(whisker: np.ndarray, starts_s: np.ndarray, bin_size_s: float) -> Trace:
    """A camera that runs from before the first trial until after the last one."""
    centres_s = starts_s[:, None] + (np.arange(whisker.shape[1]) + 0.5) * bin_size_s
    times_s = np.arange(0, centres_s[-1, -1] + 5, 1 / CAMERA_HZ)
    return Trace(times_s=times_s, values=np.interp(times_s, centres_s.ravel(), whisker.ravel()))


def _table(task: Task, choice: np.ndarray, onset_s: np.ndarray, n_spoilt: int, rng: np.random.Generator) -> TrialTable:
    """The trial table. Some trials are spoilt: they get, in turn, each fault that the trial filter looks for."""
    n_table = len(choice)
    movement_s, choice = onset_s + task.reaction_time_s, choice.copy()
    feedback_s = movement_s + 0.15
    side = np.where(task.contrast != 0, np.sign(task.contrast), np.where(rng.random(n_table) < task.block, -1, 1))
    feedback_type = np.where(choice == -side, 1.0, -1.0)
    for n, trial in enumerate(rng.choice(n_table, n_spoilt, replace=False)):
        match n % 4:
            case 0:
                movement_s[trial] = np.nan
            case 1:
                choice[trial] = 0
            case 2:
                movement_s[trial] = onset_s[trial] + 0.05
            case 3:
                feedback_s[trial] = onset_s[trial] + 11
    return TrialTable(
        stimulus_onset_s=onset_s,
        go_cue_s=onset_s.copy(),
        first_movement_s=movement_s,
        feedback_s=feedback_s,
        choice=choice,
        feedback_type=feedback_type,
        contrast_left=np.where(side < 0, np.abs(task.contrast), np.nan),
        contrast_right=np.where(side > 0, np.abs(task.contrast), np.nan),
        block=task.block,
    )

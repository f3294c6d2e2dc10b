"""A simulated brain, the same in every animal: its regions, the connections between them, and their dynamics.

Every region has two latents of its own; they follow a damped rotation. A driven region also follows the latents of its
driver, delayed by a lag. The regions form two circuits (one if there are fewer than four regions). Within a circuit,
each region drives the next one. No region drives a region of the other circuit. So it is known of every pair of
regions whether one drives the other.

The task acts on the brain as follows. The stimulus moves the first region of the first circuit. The choice depends on
the stimulus, the block and a latent of the first region of the second circuit. The choice moves the last region of the
second circuit. The whisker trace follows an arousal signal, the movement and a latent of this last region. The whisker
trace drives the neurons of the second circuit.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from einops import rearrange

from neuromtm.randomness import numpy_generator_for

REGION_NAMES = ("VISp", "CA1", "LP", "MOs", "DG", "PO", "ACAd", "CP", "VISa", "SCm", "MRN", "SSp-ul")
INCOMING_SHARE = 0.6
"""part of a driven region's variance that comes from its driver"""


@dataclass(frozen=True)
class Connection:
    """One region drives another, `lag_s` later."""

    driver: str
    driven: str
    lag_s: float


@dataclass(frozen=True)
class Brain:
    """What all simulated animals share."""

    regions: tuple[str, ...]
    connections: tuple[Connection, ...]
    rotation_hz: np.ndarray
    """(region,) speed of each region's own rotation"""
    memory_s: np.ndarray
    """(region,) time constant of the rotation's decay"""
    mixing: np.ndarray
    """(region, 2, 2) rotation of the driver's two latents before they enter the driven region"""

    def driver_of(self, region: str) -> Connection | None:
        return next((c for c in self.connections if c.driven == region), None)

    @property
    def second_circuit(self) -> tuple[str, ...]:
        """The regions of the second circuit, or of the only one, from first to last."""
        return self.regions[_circuits(len(self.regions))[-1][0] :]


@dataclass(frozen=True)
class Task:
    """What happens in each trial. Each field is (trial,)."""

    contrast: np.ndarray
    """right minus left contrast"""
    block: np.ndarray
    """probability of a stimulus on the left"""
    reaction_time_s: np.ndarray
    guess: np.ndarray
    """random number from 0 to 1; the choice is -1 if it is below the probability of -1 that the evidence gives"""


@dataclass(frozen=True)
class Activity:
    """What the brain does in one session."""

    features: dict[str, np.ndarray]
    """region -> (trial, bin, feature) signals that the neurons of the region can respond to"""
    whisker: np.ndarray
    """(trial, bin) whisker motion energy, arbitrary units"""
    choice: np.ndarray
    """(trial,) -1 or +1; +1 answers a stimulus on the left"""


def connections(n_regions: int) -> tuple[Connection, ...]:
    """All connections: the truth for functional connectivity. Pairs that are not listed are not connected."""
    found = []
    for circuit in _circuits(n_regions):
        for hop, (driver, driven) in enumerate(pairwise(circuit)):
            found.append(Connection(REGION_NAMES[driver], REGION_NAMES[driven], 0.04 if hop % 2 == 0 else 0.08))
    return tuple(found)


def make_brain(*, n_regions: int, seed: int) -> Brain:
    """Make the brain of this seed."""
    rng = numpy_generator_for(seed, "brain", n_regions)
    angle = rng.uniform(0, 2 * np.pi, n_regions)
    cos, sin = np.cos(angle), np.sin(angle)
    return Brain(
        regions=REGION_NAMES[:n_regions],
        connections=connections(n_regions),
        rotation_hz=rng.uniform(0.3, 0.9, n_regions),
        memory_s=rng.uniform(0.35, 0.6, n_regions),
        mixing=rearrange(np.array([[cos, -sin], [sin, cos]]), "row column region -> region row column"),
    )


def live(
    brain: Brain, task: Task, *, window_s: tuple[float, float], n_bins: int, bin_size_s: float, rng: np.random.Generator
) -> Activity:
    """Simulate the brain during the task. Every trial starts from a new state.

    Args:
        brain: the brain.
        task: what happens in each trial.
        window_s: start and end of the trial relative to stimulus onset.
        n_bins: number of bins in a trial.
        bin_size_s: width of a bin.
        rng: generator of the noise of the latents.
    """
    n_trials = len(task.contrast)
    # a driven region needs its driver's past, so the brain starts before the window
    early = sum(_lag_bins(c, bin_size_s) for c in brain.connections)
    time_s = window_s[0] + (np.arange(-early, n_bins) + 0.5) * bin_size_s
    own = {
        region: _rotation(n_trials, len(time_s), brain.rotation_hz[i], brain.memory_s[i], bin_size_s, rng)
        for i, region in enumerate(brain.regions)
    }
    arousal = _rotation(n_trials, len(time_s), 0.0, 0.8, bin_size_s, rng)[..., 0]
    first, last = brain.second_circuit[0], brain.second_circuit[-1]

    seen = _bump(time_s, start_s=0.05, rise_s=0.05, decay_s=0.3) * np.sqrt(np.abs(task.contrast))[:, None]
    own[brain.regions[0]] = own[brain.regions[0]] + 2.5 * np.stack(
        [seen * (task.contrast[:, None] < 0), seen * (task.contrast[:, None] > 0)], axis=-1
    )
    deciding = (time_s >= 0) & (time_s < 0.2) if ((time_s >= 0) & (time_s < 0.2)).any() else np.ones(len(time_s), bool)
    evidence = 4 * task.contrast + 1.5 * (0.5 - task.block) + 1.2 * own[first][:, deciding, 0].mean(1)
    choice = np.where(task.guess < 1 / (1 + np.exp(-2 * evidence)), -1.0, 1.0)
    since_movement_s = time_s - task.reaction_time_s[:, None]
    plan = np.clip((since_movement_s + 0.2) / 0.3, 0, 1)
    own[last] = own[last] + 1.5 * np.stack([choice[:, None] * plan, np.zeros_like(plan)], axis=-1)
    moved = _bump(since_movement_s, start_s=0.0, rise_s=0.08, decay_s=0.4)
    whisker = 2.0 + 0.5 * arousal + 2.5 * moved + 0.5 * _delayed(own[last][..., 1], round(0.04 / bin_size_s) or 1)

    states, features = {}, {}
    for i, region in enumerate(brain.regions):
        connection, state = brain.driver_of(region), own[region]
        if connection is None:
            states[region], columns = state, [state]
        else:
            incoming = _delayed(states[connection.driver], _lag_bins(connection, bin_size_s)) @ brain.mixing[i].T
            own_part, incoming_part = np.sqrt(1 - INCOMING_SHARE) * state, np.sqrt(INCOMING_SHARE) * incoming
            states[region] = own_part + incoming_part
            columns = [own_part, incoming_part]
        if region in brain.second_circuit:
            columns.append(0.5 * (whisker - 2.0)[..., None])
        features[region] = np.concatenate(columns, axis=-1)[:, early:]
    return Activity(features, whisker[:, early:], choice)


def _circuits(n_regions: int) -> list[range]:
    if n_regions < 4:
        return [range(n_regions)]
    return [range((n_regions + 1) // 2), range((n_regions + 1) // 2, n_regions)]


def _lag_bins(connection: Connection, bin_size_s: float) -> int:
    return max(1, round(connection.lag_s / bin_size_s))


def _delayed(values: np.ndarray, lag_bins: int) -> np.ndarray:
    """Shift (trial, bin, ...) values to later bins. The first bins, before the window, repeat the first value."""
    return np.concatenate([np.repeat(values[:, :1], lag_bins, axis=1), values[:, :-lag_bins]], axis=1)


def _rotation(
    n_trials: int, n_bins: int, frequency_hz: float, memory_s: float, bin_size_s: float, rng: np.random.Generator
) -> np.ndarray:
    """(trial, bin, 2) damped rotation that is driven by noise. Its variance is 1 from the first bin on."""
    step = np.exp(-bin_size_s / memory_s + 2j * np.pi * frequency_hz * bin_size_s)
    noise = rng.standard_normal((n_trials, n_bins, 2)) @ np.array([1, 1j])
    state = np.empty((n_trials, n_bins), complex)
    state[:, 0] = noise[:, 0]
    for t in range(1, n_bins):
        state[:, t] = step * state[:, t - 1] + np.sqrt(1 - abs(step) ** 2) * noise[:, t]
    return np.stack([state.real, state.imag], axis=-1)


def _bump(time_s: np.ndarray, *, start_s: float, rise_s: float, decay_s: float) -> np.ndarray:
    """0 before `start_s`; then it rises to about 1 and falls again."""
    since_s = np.maximum(time_s - start_s, 0)
    return (1 - np.exp(-since_s / rise_s)) * np.exp(-since_s / decay_s)

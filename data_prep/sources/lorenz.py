"""Simulate neurons that are driven by the Lorenz system: a classic test for models of neural dynamics.

As in Sussillo et al. 2016 and Pandarinath et al. 2018, there are many starting points on the attractor, and some trials
from each. Log rates are linear in the three variables, and spikes are Poisson. Nothing enters during a trial: its
starting point decides its rates from the first bin to the last.
"""

import argparse
from dataclasses import asdict, dataclass
from functools import partial

import numpy as np
from einops import rearrange

from data_prep.binning import bin_centres
from data_prep.folder import Job, Plan
from data_prep.options import PrepareOptions
from data_prep.recording import Recording, SortedNeurons, Trace, TrialTable
from data_prep.sources.simulation.recording import LAB, spike_times
from data_prep.sources.simulation.size import require_room
from neuromtm.errors import ConfigError
from neuromtm.randomness import numpy_generator_for

DESCRIPTION = (
    "Simulate neurons driven by the Lorenz system. This is a classic test for models of dynamics: "
    "`neuromtm rates` compares the predicted rates with the true rates."
)
SIGMA, RHO, BETA = 10.0, 28.0, 8 / 3
UNITS_PER_S = 1.5
"""units of the system's own time in one second: about two turns around a lobe"""
LARGEST_STEP = 0.005
"""largest step of the integration, in units of the system's own time"""
MOST_STEPS = 10_000_000
"""of the integration of a trial"""
LATENTS = ("lorenz_x", "lorenz_y", "lorenz_z")
"""names of the variables among the behaviours of a shard"""
GAIN = 1.0
"""length of the vector of a neuron's three weights"""


@dataclass(frozen=True, kw_only=True)
class LorenzOptions:
    """How much to simulate.

    Raises:
        ConfigError: if options are out of range; the message names all of them.
    """

    n_sessions: int = 1
    """all have the same starting points, but different neurons"""
    n_neurons: int = 30
    n_conditions: int = 65
    """starting points on the attractor"""
    n_trials: int = 20
    """trials of each condition"""
    base_rate_hz: float = 5.0
    """firing rate when all variables are at their mean"""
    seed: int = 0

    def __post_init__(self):
        counts = ("n_sessions", "n_neurons", "n_conditions", "n_trials")
        problems = [
            f"--{name.replace('_', '-')} {getattr(self, name)}: must be at least 1."
            for name in counts
            if getattr(self, name) < 1
        ]
        if not problems and self.n_conditions * self.n_trials < 3:
            problems.append("--n-conditions times --n-trials: must give at least 3 trials, one for each split.")
        if not 0 < self.base_rate_hz < float("inf"):
            problems.append(f"--base-rate-hz {self.base_rate_hz:g}: must be above 0 and finite.")
        if problems:
            raise ConfigError(" ".join(problems))

    def as_json(self) -> dict[str, object]:
        """The options that decide the content of a session, in the form that its shard stores."""
        return {name: value for name, value in asdict(self).items() if name not in ("n_sessions", "seed")}

    def eid(self, number: int) -> str:
        """The eid of a session, the same in every run: it names the seed and the number of the session."""
        return f"lorenz-{self.seed}-{number:02d}"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    default, add = LorenzOptions(), parser.add_argument
    add(
        "--n-sessions",
        type=int,
        default=default.n_sessions,
        help="number of sessions; all have the same starting points, but different neurons",
    )
    add("--n-neurons", type=int, default=default.n_neurons, help="number of neurons in a session")
    add("--n-conditions", type=int, default=default.n_conditions, help="number of starting points on the attractor")
    add("--n-trials", type=int, default=default.n_trials, help="number of trials from each starting point")
    add(
        "--base-rate-hz",
        type=float,
        default=default.base_rate_hz,
        help="firing rate of every neuron when all variables are at their mean, in Hz",
    )
    add("--duration-s", type=float, default=1.0, help="length of a trial, in seconds")
    add("--bin-size-s", type=float, default=0.01, help="width of a bin, in seconds")


def plan(args: argparse.Namespace) -> Plan:
    """List the sessions to simulate."""
    simulation = LorenzOptions(
        n_sessions=args.n_sessions,
        n_neurons=args.n_neurons,
        n_conditions=args.n_conditions,
        n_trials=args.n_trials,
        base_rate_hz=args.base_rate_hz,
        seed=args.seed,
    )
    options = PrepareOptions(window_s=(0.0, args.duration_s), bin_size_s=args.bin_size_s, seed=args.seed)
    if args.duration_s * UNITS_PER_S / LARGEST_STEP > MOST_STEPS:
        raise ConfigError(
            f"--duration-s {args.duration_s:g}: at most {MOST_STEPS * LARGEST_STEP / UNITS_PER_S:g}, which takes "
            f"{MOST_STEPS:,} steps of the integration."
        )
    require_room(
        options,
        n_sessions=simulation.n_sessions,
        n_trials=simulation.n_conditions * simulation.n_trials,
        n_neurons=simulation.n_neurons,
    )
    jobs = [
        Job(
            simulation.eid(number),
            "pretrain",
            partial(lorenz_session, number, simulation=simulation, options=options),
        )
        for number in range(simulation.n_sessions)
    ]
    return Plan(jobs, options, simulation.as_json())


def lorenz_session(number: int, *, simulation: LorenzOptions, options: PrepareOptions) -> Recording:
    """Simulate one session. It does not depend on which other sessions are simulated.

    Args:
        number: number of the session, counted from 0.
        simulation: how much to simulate.
        options: window and bin size; the true rates have the same bins.
    """
    rng = numpy_generator_for(simulation.seed, "lorenz session", number)
    latents = trajectories(simulation.n_conditions, options.n_bins, options.bin_size_s, seed=simulation.seed)
    weights = rng.standard_normal((3, simulation.n_neurons))
    weights *= GAIN / np.linalg.norm(weights, axis=0)
    rates = simulation.base_rate_hz * np.exp(latents @ weights) * options.bin_size_s
    # rates are rounded before spikes are drawn, so that the shard stores exactly the rates that the spikes come from
    condition = rng.permutation(np.arange(simulation.n_conditions).repeat(simulation.n_trials))
    latents, rates = latents[condition], rates.astype(np.float16)[condition]
    onset_s = 10 + np.arange(len(condition)) * (options.duration_s + 0.5)
    starts_s = onset_s + options.window_s[0]
    times_s, neuron = spike_times(rng.poisson(rates), starts_s, options.bin_size_s, rng)
    centres_s = bin_centres(starts_s, n_bins=options.n_bins, bin_size_s=options.bin_size_s)
    unknown = np.full(simulation.n_neurons, np.nan)
    return Recording(
        eid=simulation.eid(number),
        subject=f"lorenz-{simulation.seed}-{number:02d}",
        lab=LAB,
        source="lorenz",
        spike_times_s=times_s,
        spike_neuron=neuron,
        neurons=SortedNeurons(
            uuid=np.array([f"{simulation.eid(number)}-{i:04d}" for i in range(simulation.n_neurons)]),
            region=np.full(simulation.n_neurons, "root"),
            probe=np.full(simulation.n_neurons, "probe00"),
            label=unknown,
            depth_um=unknown,
        ),
        trials=TrialTable(stimulus_onset_s=onset_s),
        traces={
            name: Trace(times_s=centres_s.ravel(), values=latents[..., i].ravel()) for i, name in enumerate(LATENTS)
        },
        true_rates=rates,
        observed_s=np.array([[0.0, starts_s[-1] + options.duration_s]]),
    )


def trajectories(n_conditions: int, n_bins: int, bin_size_s: float, *, seed: int) -> np.ndarray:
    """(condition, bin, 3) course of the variables from random starting points on the attractor.

    Each variable has mean 0 and variance 1 over all conditions and bins.

    Args:
        n_conditions: number of starting points.
        n_bins: number of bins in a trial.
        bin_size_s: width of a bin; the variables of a bin are those at its centre.
        seed: seed of the starting points.
    """
    rng = numpy_generator_for(seed, "lorenz starts")
    state = rng.standard_normal((n_conditions, 3)) * 8 + np.array([0, 0, 25])
    state = integrate(state, 10 + rng.uniform(0, 10))  # moves the states onto the attractor
    unit = UNITS_PER_S * bin_size_s
    state = integrate(state, unit / 2)
    course = [state]
    for _ in range(n_bins - 1):
        course.append(integrate(course[-1], unit))
    found = rearrange(np.stack(course), "bin condition variable -> condition bin variable")
    return (found - found.mean((0, 1))) / found.std((0, 1))


def integrate(state: np.ndarray, duration: float) -> np.ndarray:
    """Advance (condition, 3) states of the Lorenz system by the classic Runge-Kutta method of fourth order.

    Args:
        state: (condition, 3) states at the start.
        duration: in units of the system's own time.
    """
    n_steps = int(np.ceil(duration / LARGEST_STEP))
    h = duration / n_steps
    for _ in range(n_steps):
        k1 = velocity(state)
        k2 = velocity(state + h / 2 * k1)
        k3 = velocity(state + h / 2 * k2)
        k4 = velocity(state + h * k3)
        state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def velocity(state: np.ndarray) -> np.ndarray:
    """(condition, 3) time derivative of the Lorenz system (Lorenz 1963)."""
    x, y, z = state.T
    return np.stack([SIGMA * (y - x), x * (RHO - z) - y, x * y - BETA * z], axis=-1)

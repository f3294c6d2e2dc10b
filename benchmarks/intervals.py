"""How often 95 % intervals of a difference hold the truth, on simulated tests of which the truth is known.

    python benchmarks/intervals.py
    python benchmarks/intervals.py --only trials --data_sets 200

Neurons of a session share the gain of each trial and three signals that change within it, as those of recorded sessions
do: population spike counts of trials vary by a fifth, a neuron has some 60 spikes in all, and there are neurons with
two. Two models see the signals with noise that all neurons share. So what one of them gains in a trial is correlated
over neurons. Sessions and animals differ in how good the models are.

For each setting it prints the share of the simulated data sets whose interval holds the truth, and the mean width of
the intervals. The truth is the mean difference of such a test, by itself in further trials (`trials`), further sessions
(`sessions`) or further animals (`animals`).
"""

import argparse
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from neuromtm.metrics.intervals import (
    FEWEST,
    Gains,
    Interval,
    SessionDifference,
    interval_over_trials,
    level_of,
    mean_bits_per_spike,
    over_sessions,
    resampled_scores,
    score,
    trial_null_nll,
)

N_SEGMENTS, N_SIGNALS = 4, 3
REFERENCE = 0.3
"""share of the signals' variance that the weaker model sees"""


class Session(NamedTuple):
    """A simulated session: its neurons, and how good the better model is there."""

    spikes_a_segment: np.ndarray
    """(neuron,) mean counts"""
    loadings: np.ndarray
    """(signal, neuron) of log-rates; the first signal is the trial's gain"""
    seen: float
    """share of the signals' variance that the better model sees"""


class Trials(NamedTuple):
    """Simulated test trials of one session: (trial, neuron) sums."""

    run_nll: np.ndarray
    reference_nll: np.ndarray
    spikes: np.ndarray


def draw_session(generator: np.random.Generator, *, n_neurons: int, seen: float) -> Session:
    """Draw the neurons of a session."""
    spikes = np.exp(generator.normal(np.log(1.2 / N_SEGMENTS), 1.0, n_neurons))
    loadings = generator.normal(0, 0.3, (1 + N_SIGNALS, n_neurons))
    loadings[0] = generator.normal(0.2, 0.1, n_neurons)
    return Session(spikes, loadings, float(np.clip(seen, 0.05, 0.95)))


def draw_signals(generator: np.random.Generator, n_trials: int) -> np.ndarray:
    """(trial, segment, signal) of variance 1: the trial's gain, the same in its segments, and signals that change."""
    gain = np.broadcast_to(generator.normal(size=(n_trials, 1, 1)), (n_trials, N_SEGMENTS, 1))
    return np.concatenate([gain, generator.normal(size=(n_trials, N_SEGMENTS, N_SIGNALS))], axis=2)


def draw_trials(generator: np.random.Generator, session: Session, n_trials: int) -> Trials:
    """Draw test trials and score both models on them."""
    signals = draw_signals(generator, n_trials)
    size = np.square(session.loadings).sum(axis=0) / 2
    log_mean = np.log(session.spikes_a_segment)
    counts = generator.poisson(np.exp(log_mean + signals @ session.loadings - size))
    costs = []
    for seen in (session.seen, REFERENCE):
        # the mean of the signals, given that share of their variance
        guess = seen * signals + np.sqrt(seen * (1 - seen)) * draw_signals(generator, n_trials)
        log_rates = log_mean + guess @ session.loadings - seen * size
        costs.append((np.exp(log_rates) - counts * log_rates).sum(axis=1))
    return Trials(*costs, counts.sum(axis=1))


def paired(trials: Trials) -> SessionDifference:
    """The better model against the weaker one, on the same trials."""
    return SessionDifference(Gains(trials.reference_nll - trials.run_nll, trials.spikes))


def against_mean_rate(trials: Trials) -> SessionDifference:
    """The better model against each neuron's mean rate."""
    return SessionDifference(Gains(trial_null_nll(trials.spikes, N_SEGMENTS) - trials.run_nll, trials.spikes))


def unpaired(trials: Trials, others: Trials) -> SessionDifference:
    """The better model on some trials against the weaker one on others."""
    null = trial_null_nll(others.spikes, N_SEGMENTS)
    return SessionDifference(against_mean_rate(trials).gains, Gains(null - others.reference_nll, others.spikes))


def over_neurons(sessions: Sequence[SessionDifference], generator: np.random.Generator) -> Interval:
    """The percentile interval that draws neurons within each session: what a comparison without trials gives."""
    means = np.zeros(1000)
    for session in sessions:
        totals = [(part.nats.sum(axis=0), part.spikes.sum(axis=0)) for part in session.parts]
        known = np.all([spikes > 0 for _, spikes in totals], axis=0)
        run, *reference = [nats[known] / spikes[known] / np.log(2) for nats, spikes in totals]
        bits = run - sum(reference)
        means += bits[generator.integers(0, len(bits), (len(means), len(bits)))].mean(axis=1) / len(sessions)
    return Interval(*np.quantile(means, (0.025, 0.975)))


def refitted_null(trials: Sequence[Trials], generator: np.random.Generator) -> Interval:
    """Percentile interval over trials against mean rates that are fitted again to each resample."""
    drawn = []
    for one in trials:
        n, total = len(one.spikes), one.spikes.sum(axis=0)
        times = generator.multinomial(n, np.full(n, 1 / n), size=1000).astype(float)
        spikes = times @ one.spikes
        null = spikes - spikes * np.log(np.where(spikes > 0, spikes, 1) / (n * N_SEGMENTS))
        drawn.append(mean_bits_per_spike(np.where(total > 0, null, 0) - times @ one.run_nll, spikes))
    return Interval(*np.quantile(np.mean(drawn, axis=0), (0.025, 0.975)))


class Count:
    """How often intervals hold the truth, and how wide they are."""

    def __init__(self, truth: float):
        self.truth, self.found = truth, []

    def add(self, interval: Interval | None) -> None:
        assert interval is not None
        self.found.append((interval.low <= self.truth <= interval.high, interval.high - interval.low))

    def __str__(self) -> str:
        held, width = np.mean(self.found, axis=0)
        return f"{held:.3f} ({width:.3f})"


def trials_setting(
    *, n_sessions: int, n_trials: int, n_neurons: int, data_sets: int, kind: str, seed: int = 0
) -> dict[str, Count]:
    """Simulate tests of the same sessions again and again: the truth is that of these sessions."""
    generator = np.random.default_rng(seed)
    qualities = generator.uniform(0.4, 0.8, n_sessions)
    sessions = [draw_session(generator, n_neurons=n_neurons, seen=seen) for seen in qualities]

    def test() -> tuple[list[Trials], list[SessionDifference]]:
        drawn = [draw_trials(generator, one, n_trials) for one in sessions]
        if kind == "unpaired":
            others = [draw_trials(generator, one, n_trials) for one in sessions]
            return drawn, [unpaired(*two) for two in zip(drawn, others, strict=True)]
        return drawn, [(paired if kind == "paired" else against_mean_rate)(one) for one in drawn]

    truth = float(np.mean([score(one) for _ in range(4000 // n_sessions) for one in test()[1]]))
    ways = ["over neurons (old)", "over trials"] + ["over trials, null refitted"] * (kind == "mean rate")
    counts = {way: Count(truth) for way in ways}
    for i in range(data_sets):
        drawn, differences = test()
        counts["over neurons (old)"].add(over_neurons(differences, generator))
        counts["over trials"].add(interval_over_trials(differences, "coverage", i))
        if kind == "mean rate":
            counts["over trials, null refitted"].add(refitted_null(drawn, generator))
    return counts


def sessions_setting(
    *,
    sizes: Sequence[int],
    data_sets: int,
    of_sessions: float = 0.1,
    of_animals: float = 0.0,
    n_neurons: int = 40,
    twice: bool = True,
    seed: int = 0,
) -> dict[str, Count]:
    """Simulate further animals and sessions in every test: the truth is that of all animals or sessions like these.

    Args:
        sizes: number of sessions of each animal.
        data_sets: number of tests.
        of_sessions: standard deviation over sessions of the variance that the better model sees.
        of_animals: the same over animals.
        n_neurons: neurons of a session, which has as many trials.
        twice: whether intervals that draw sessions and trials in them are counted too.
        seed: of everything.
    """
    generator = np.random.default_rng(seed)
    animals = [str(animal) for animal, n in enumerate(sizes) for _ in range(n)]

    def test() -> list[SessionDifference]:
        of_animal = generator.normal(0, of_animals, len(sizes))
        found = []
        for animal in animals:
            seen = 0.55 + of_animal[int(animal)] + generator.normal(0, of_sessions)
            session = draw_session(generator, n_neurons=n_neurons, seen=seen)
            found.append(paired(draw_trials(generator, session, n_neurons)))
        return found

    truth = float(np.mean([score(one) for _ in range(8000 // len(animals)) for one in test()]))
    old_way = f"over {'sessions' if len(animals) >= FEWEST else 'neurons'} (old)"
    counts: dict[str, Count] = {old_way: Count(truth)}
    for i in range(data_sets):
        differences = test()
        scores = np.array([score(one) for one in differences])
        drawn = generator.integers(0, len(scores), (1000, len(scores)))
        few, ends = len(scores) < FEWEST, np.quantile(scores[drawn].mean(axis=1), (0.025, 0.975))
        counts[old_way].add(over_neurons(differences, generator) if few else Interval(*ends))
        new = interval_over_trials(differences, "coverage", i) if few else over_sessions(scores, animals)
        counts.setdefault(f"over {level_of(len(scores), animals)}", Count(truth)).add(new)
        if twice:
            counts.setdefault("sessions and trials drawn", Count(truth)).add(_twice(differences, generator))
    return counts


def _twice(differences: Sequence[SessionDifference], generator: np.random.Generator) -> Interval:
    """Percentile interval that draws sessions, and trials in each of them."""
    drawn = np.array([resampled_scores(one.gains, generator, n=500) for one in differences])
    chosen = generator.integers(0, len(drawn), (drawn.shape[1], len(drawn)))
    # each drawn session has a resample of its own
    means = drawn[chosen, generator.integers(0, drawn.shape[1], chosen.shape)].mean(axis=1)
    return Interval(*np.quantile(means, (0.025, 0.975)))


TRIALS = tuple(
    (kind, {"n_sessions": s, "n_trials": t, "n_neurons": n, "kind": kind})
    for kind, s, t, n in (
        *(("paired", 1, 50, 60), ("paired", 1, 20, 60), ("paired", 3, 50, 60), ("paired", 3, 50, 300)),
        *(("unpaired", 3, 50, 60), ("mean rate", 3, 50, 60), ("mean rate", 1, 100, 60)),
    )
)
SESSIONS = (
    ("5 sessions", {"sizes": (1, 1, 1, 1, 1)}),
    ("5 sessions of one animal", {"sizes": (5,)}),
    ("10 sessions of one animal", {"sizes": (10,)}),
    ("5 animals, 1 to 4 sessions", {"sizes": (1, 2, 3, 4, 1), "of_sessions": 0.05, "of_animals": 0.1}),
    ("8 animals, 1 to 4 sessions", {"sizes": (1, 2, 3, 4) * 2, "of_sessions": 0.05, "of_animals": 0.1}),
    ("too few: 3 sessions, truth of all sessions", {"sizes": (3,), "of_sessions": 0.2}),
    ("too few: 10 sessions of 3 animals, truth of all animals", {"sizes": (3, 3, 4), "of_animals": 0.2}),
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_sets", type=int, default=500, help="simulated tests of each setting")
    parser.add_argument("--only", choices=("trials", "sessions"), help="one of the two tables")
    options = parser.parse_args(arguments)
    started_s = time.perf_counter()
    print("Share of intervals that hold the truth (mean width in bits per spike).\n")
    if options.only != "sessions":
        print("| difference | sessions, trials, neurons | truth | over neurons (old) | over trials | null refitted |")
        print("| --- | --- | --- | --- | --- | --- |")
        for name, setting in TRIALS:
            found = trials_setting(**setting, data_sets=options.data_sets)
            size = ", ".join(str(setting[part]) for part in ("n_sessions", "n_trials", "n_neurons"))
            truth = next(iter(found.values())).truth
            cells = [str(found[way]) if way in found else "" for way in (*found, "none")][:3]
            print(f"| {name} | {size} | {truth:.3f} | {' | '.join(cells)} |", flush=True)
        print()
    if options.only != "trials":
        print("| sessions | truth | old | new | sessions and trials drawn |")
        print("| --- | --- | --- | --- | --- |")
        for name, setting in SESSIONS:
            found = sessions_setting(**setting, data_sets=options.data_sets)
            truth = next(iter(found.values())).truth
            old, new, twice = (f"{count}" for count in found.values())
            over = list(found)[1]
            print(f"| {name} | {truth:.3f} | {old} | {over}: {new} | {twice} |", flush=True)
        print()
    print(f"{options.data_sets} data sets each; {time.perf_counter() - started_s:.0f} s.")


if __name__ == "__main__":
    main()

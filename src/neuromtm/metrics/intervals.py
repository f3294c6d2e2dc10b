"""Honest intervals of differences in bits per spike: what is resampled are trials, sessions or animals, not neurons.

Neurons of one session share its trials: a trial in which the animal is drowsy changes the counts and the predictions of
all of them. An interval that draws neurons as if they were independent is therefore too narrow. What is independent of
each other are animals, else sessions, else trials. docs/evaluation.md shows how often these intervals hold the truth.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

from neuromtm.randomness import numpy_generator_for

CONFIDENCE = 0.95
N_RESAMPLES = 2000
"""resamples of a bootstrap; with so many, the ends of an interval move by about 2 % of its width between seeds"""
FEWEST = 5
"""fewest animals or sessions that an interval can be over; below, the spread between so few says too little"""

Level = Literal["animals", "sessions", "trials"]
"""what an interval is over: further animals, further sessions of the same animals, or other trials of these sessions"""


class Interval(NamedTuple):
    """A 95 % confidence interval."""

    low: float
    high: float


class Gains(NamedTuple):
    """What a prediction gains over another one, trial by trial, in one session."""

    nats: np.ndarray
    """(trial, neuron) sum over a trial's scored bins of the other's Poisson cost minus the prediction's own"""
    spikes: np.ndarray
    """(trial, neuron) spikes in these bins"""


class SessionDifference(NamedTuple):
    """The difference of two runs in one session: the score of `gains` minus the scores of `minus`."""

    gains: Gains
    """of the run over the reference if both scored the same trials; else over each neuron's mean rate"""
    minus: Gains | None = None
    """of the reference over each neuron's mean rate, if it scored other trials; the two are resampled apart"""

    @property
    def parts(self) -> tuple[Gains, ...]:
        return (self.gains,) if self.minus is None else (self.gains, self.minus)


def trial_null_nll(spikes: np.ndarray, n_bins: int) -> np.ndarray:
    """Cost in nats of predicting each neuron's mean count, trial by trial.

    The rate is that of all trials, and stays so in every resample. To first order in the trials' weights this is what a
    null that is fitted to each resample gives, since the fitted rate is where the cost is flat. To second order the two
    differ: the null of a test is fitted to the trials that it is scored on, which costs a model about half a nat a
    neuron. A null fitted to each resample would cost it that a second time.

    Args:
        spikes: (trial, neuron) spikes in a trial's scored bins.
        n_bins: scored bins of a trial.

    Returns:
        (trial, neuron); its sum over trials is the test's null. 0 for a silent neuron.
    """
    rate = spikes.mean(axis=0, dtype=np.float64) / n_bins
    return rate * n_bins - spikes * np.log(np.where(rate > 0, rate, 1))


def mean_bits_per_spike(nats: np.ndarray, spikes: np.ndarray) -> np.ndarray:
    """Mean over the neurons that have a spike of their bits per spike.

    Args:
        nats: (..., neuron) what is gained over all trials.
        spikes: (..., neuron) spikes of all trials.

    Returns:
        (...) NaN where no neuron has a spike.
    """
    has = spikes > 0
    bits = np.where(has, nats / np.where(has, spikes, 1), 0).sum(axis=-1, dtype=np.float64) / math.log(2)
    n = has.sum(axis=-1)
    return np.where(n > 0, bits / np.maximum(n, 1), np.nan)


def resampled_scores(gains: Gains, generator: np.random.Generator, n: int = N_RESAMPLES) -> np.ndarray:
    """(resample,) mean bits per spike over neurons, of as many trials drawn with replacement, all neurons together.

    Args:
        gains: of one session.
        generator: of the draws.
        n: number of resamples.
    """
    n_trials = len(gains.nats)
    # how often each trial is drawn; a product of matrices then sums the trials of all resamples
    times = generator.multinomial(n_trials, np.full(n_trials, 1 / n_trials), size=n).astype(np.float32)
    return mean_bits_per_spike(times @ gains.nats.astype(np.float32), times @ gains.spikes.astype(np.float32))


def score(session: SessionDifference) -> float:
    """Mean over neurons of the bits per spike that the run gains over the reference."""
    run, *reference = [float(mean_bits_per_spike(part.nats.sum(0), part.spikes.sum(0))) for part in session.parts]
    return run - sum(reference)


def interval_over_trials(sessions: Sequence[SessionDifference], *name: int | str) -> Interval | None:
    """Interval of the mean over sessions, if other trials of the same sessions had been tested.

    In each resample, trials are drawn with replacement within each session, and each session's mean over neurons is
    computed again from the drawn trials' sums. Half the interval's width is half the width of the percentile bootstrap,
    widened by Student's t over the normal quantile for few trials; its middle is the difference itself (Hesterberg
    2015, What Teachers Should Know About the Bootstrap: bootstrap t interval and small samples). The middle of the
    percentile interval is not taken, because a ratio of few spikes is biased upwards or downwards, and its bootstrap
    has the bias twice.

    Args:
        sessions: the difference in each session.
        name: seeds the draws.

    Returns:
        The interval; None if there is no session or one has fewer than `FEWEST` trials.
    """
    parts = [part for session in sessions for part in session.parts]
    if not parts or min(len(part.nats) for part in parts) < FEWEST:
        return None
    generator = numpy_generator_for("trials", *name)
    drawn = np.zeros(N_RESAMPLES)
    variances = []  # of each part, with its degrees of freedom: Welch's approximation
    for session in sessions:
        for sign, part in zip((1, -1), session.parts, strict=False):
            scores = resampled_scores(part, generator)
            drawn += sign * scores / len(sessions)
            variances.append((np.nanvar(scores), len(part.nats) - 1))
    low, high = np.nanquantile(drawn, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return _around(float(np.mean([score(session) for session in sessions])), widening(variances) * (high - low) / 2)


def widening(variances: Sequence[tuple[float, float]]) -> float:
    """By how much an interval of normal errors must be wider because their variances are themselves estimates.

    Args:
        variances: of independent parts of a sum, with their degrees of freedom: Welch's approximation.
    """
    total = sum(variance for variance, _ in variances)
    weights = sum(variance**2 / free for variance, free in variances)
    return _student(total**2 / weights) / float(stats.norm.ppf((1 + CONFIDENCE) / 2)) if weights > 0 else 1.0


def interval_over_clusters(values: Sequence[float] | np.ndarray, clusters: Sequence[Hashable]) -> Interval | None:
    """Student's t interval of the mean of values that are independent between clusters, not within one.

    The variance is unbiased if the values are independent, and the degrees of freedom are fewer where clusters are of
    different sizes: Bell and McCaffrey 2002, Survey Methodology 28; Pustejovsky and Tipton 2018, J. Bus. Econ. Stat.
    36 (CR2). If each value is its own cluster, this is the t interval of a mean. The values' own noise is not drawn
    again: the spread between them holds it already, and drawing trials too would count it twice.

    Args:
        values: one a session.
        clusters: of each value: what is independent of each other, the session itself or its animal.

    Returns:
        The interval; None for fewer clusters than `FEWEST`.
    """
    found = spread_of(clusters)
    if found is None:
        return None
    means = np.array(
        [np.mean([v for v, own in zip(values, clusters, strict=True) if own == one]) for one in found.names]
    )
    middle = float(found.share @ means)
    variance = np.square(found.weight) @ np.square(means - middle)  # with less rounding than a quadratic form of means
    return _around(middle, _student(found.free) * math.sqrt(variance))


class ClusterSpread(NamedTuple):
    """How the distances of clusters' means from the mean of all values tell its variance."""

    names: tuple[Hashable, ...]
    """of the clusters"""
    share: np.ndarray
    """(cluster,) of all values"""
    weight: np.ndarray
    """(cluster,) the sum of squares of weight times distance is the variance, without bias"""
    free: float
    """degrees of freedom of this variance"""


def spread_of(clusters: Sequence[Hashable]) -> ClusterSpread | None:
    """The spread of a mean over clusters, by their sizes; None for fewer clusters than `FEWEST`.

    Args:
        clusters: of each value.
    """
    names = tuple(dict.fromkeys(clusters))
    sizes = np.array([list(clusters).count(one) for one in names], dtype=float)
    if len(sizes) < FEWEST:
        return None
    share = sizes / sizes.sum()
    away = np.eye(len(sizes)) - share  # clusters' means -> their distances from the mean of all values
    form = away.T @ np.diag(share**2 / (1 - share)) @ away
    by_size = form / sizes  # times the variances of the clusters' means
    free = float(np.trace(by_size) ** 2 / np.trace(by_size @ by_size))
    return ClusterSpread(names, share, share / np.sqrt(1 - share), free)


def level_of(n_sessions: int, animals: Sequence[str] | None) -> Level:
    """What an interval is over, if there are so many sessions, of these animals (None if unknown)."""
    if animals is not None and len(set(animals)) >= FEWEST:
        return "animals"
    return "sessions" if n_sessions >= FEWEST else "trials"


def over_sessions(values: Sequence[float] | np.ndarray, animals: Sequence[str] | None = None) -> Interval | None:
    """Interval of the mean of one value a session: over animals if there are enough, else over sessions.

    Args:
        values: one a session.
        animals: animal of each session; None if unknown.

    Returns:
        The interval; None for fewer sessions than `FEWEST`.
    """
    of_animals = level_of(len(values), animals) == "animals"
    return interval_over_clusters(values, animals if of_animals and animals is not None else range(len(values)))


def _student(free: float) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, free))


def _around(middle: float, half: float) -> Interval:
    return Interval(float(middle - half), float(middle + half))

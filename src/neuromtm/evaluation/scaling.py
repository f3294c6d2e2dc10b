"""How good a model of a held-out animal is, by how much it was pretrained on: means, intervals, and a fitted curve.

A mean over few trainings and few animals is uncertain in two ways: another seed gives another model, and other animals,
sessions or trials give other scores. The intervals here hold both. See docs/scaling.md.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import stats

from neuromtm.evaluation.pairing import Over, TestedRun, against_mean_rate, pair
from neuromtm.evaluation.sweep import Entry
from neuromtm.metrics.intervals import (
    CONFIDENCE,
    FEWEST,
    N_RESAMPLES,
    Interval,
    level_of,
    over_sessions,
    resampled_scores,
    spread_of,
    widening,
)
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.randomness import numpy_generator_for

FEWEST_FOR_A_SLOPE = 3
"""different numbers of sessions that a gain per doubling is estimated from at least: it has two free values"""
FEWEST_FOR_A_POWER_LAW = 4
"""likewise of a power law, which has three"""
EXPONENTS = np.geomspace(0.05, 4.0, 120)
"""exponents that are tried. The smallest is nearly a logarithm; with the largest, one doubling is nearly all."""
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)


class SeedNoise(NamedTuple):
    """How much trainings that differ only in their seed differ in a metric."""

    variance: float
    free: int
    """degrees of freedom: seeds beyond the first, added up over the numbers of sessions"""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric of an entry: the mean over sessions of the mean over seeds."""

    mean: float
    interval: Interval | None
    """95 % interval of the mean; None if sessions are too few for one and no trial-by-trial results are there"""
    over: Over | None
    """what the interval is over, beside the seeds; None without an interval"""
    n_seeds: int
    deviation: float | None
    """standard deviation between seeds, pooled over the numbers of sessions; None for single seeds"""


@dataclass(frozen=True, kw_only=True)
class Gain:
    """An entry minus another one, over the neurons that both score, in bits per spike."""

    difference: float
    interval: Interval | None
    over: Over


class Fitted(NamedTuple):
    """An estimate with its 95 % interval."""

    value: float
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What is fitted to a metric against a quantity x that grows from pretraining to pretraining."""

    per_doubling: Fitted
    """slope of a line through the metric against log2 of x"""
    ceiling: Fitted | None
    """a in metric = a - b * x^-c; None with fewer than `FEWEST_FOR_A_POWER_LAW` values of x, and if c is at the end of
    the exponents that are tried: then the points do not say where the metric would end"""
    exponent: Fitted | None
    """c; None with fewer than `FEWEST_FOR_A_POWER_LAW` values of x"""
    x: np.ndarray
    """(point,) where the curve is drawn, within the range of the data only"""
    y: np.ndarray
    """(point,) the fitted power law, or else the line"""
    low: np.ndarray
    """(point,) lower end of the 95 % band"""
    high: np.ndarray


def seed_noise(entries: Sequence[Entry], key: str) -> SeedNoise | None:
    """Variance of a metric between seeds, pooled over entries of one objective; None if each has one seed only.

    It is pooled because two seeds alone tell next to nothing about their spread.
    """
    squares, free = 0.0, 0
    for entry in entries:
        values = _of_seeds(entry, key)
        if len(values) > 1:
            squares += float(np.square(values - values.mean()).sum())
            free += len(values) - 1
    return SeedNoise(squares / free, free) if free else None


def _of_seeds(entry: Entry, key: str) -> np.ndarray:
    runs = (run.metrics["mean"] for run in entry.seeds.values())
    return np.array([mean[key] for mean in runs if key in mean])


def score_of(entry: Entry, key: str, noise: SeedNoise | None) -> Score | None:
    """A metric of an entry; None if no session has it.

    Args:
        entry: the runs.
        key: key of metrics.json.
        noise: of this metric, of all entries of this objective.
    """
    if key not in entry.run.metrics["mean"]:
        return None
    n_seeds = max(1, len(_of_seeds(entry, key)))
    values = {eid: metrics[key] for eid, metrics in entry.run.metrics["sessions"].items() if key in metrics}
    paired = against_mean_rate(entry.run).get(key) if key in BPS_KEYS else None
    if paired is not None:
        interval, over = paired.interval, paired.over
    else:
        animals = [entry.of_session[eid] for eid in values]
        interval, over = over_sessions(list(values.values()), animals), level_of(len(values), animals)
    return Score(
        mean=entry.run.metrics["mean"][key],
        interval=_widened(interval, [(noise, n_seeds)]),
        over=None if interval is None else over,
        n_seeds=n_seeds,
        deviation=None if noise is None else math.sqrt(noise.variance),
    )


def gain_over(
    reference: Entry, entry: Entry, key: str, *, noise: SeedNoise | None, reference_noise: SeedNoise | None
) -> Gain | None:
    """What an entry gains over a reference, paired by session, neuron and trial; None if they share no neuron.

    Args:
        reference: usually training from scratch.
        entry: the runs.
        key: key of an activity task.
        noise: of this metric, of all entries of the entry's objective.
        reference_noise: likewise, of the reference.
    """
    paired = pair(reference.run, entry.run).get(key)
    if paired is None:
        return None
    parts = [(noise, len(_of_seeds(entry, key))), (reference_noise, len(_of_seeds(reference, key)))]
    return Gain(difference=paired.difference, interval=_widened(paired.interval, parts), over=paired.over)


def _widened(interval: Interval | None, parts: Sequence[tuple[SeedNoise | None, int]]) -> Interval | None:
    """Add the uncertainty of a mean over few seeds, which is independent of that over sessions or trials."""
    if interval is None:
        return None
    known = [(noise.variance / max(n, 1), noise.free) for noise, n in parts if noise is not None]
    total = sum(variance for variance, _ in known)
    half = (interval.high - interval.low) / 2
    if total > 0:
        free = total**2 / sum(variance**2 / free for variance, free in known)  # Welch's approximation
        half = math.hypot(half, float(stats.t.ppf(TAILS[1], free)) * math.sqrt(total))
    middle = (interval.low + interval.high) / 2
    return Interval(middle - half, middle + half)


# ---- the curve


def fit_curve(entries: Sequence[Entry], x: Sequence[float], key: str, noise: SeedNoise | None) -> Curve | str:
    """Fit a power law and a gain per doubling to a metric, with their uncertainty over seeds and animals.

    In each resample the same animals, sessions or trials weigh more or less for all entries, because all are tested on
    the same ones; the mean over seeds of each entry is moved too. Variances that few animals or seeds have told are
    themselves uncertain: as in the intervals of the points, Student's t says how much.

    Args:
        entries: fine-tunings of one objective.
        x: of each entry, e.g. its sessions of pretraining.
        key: key of metrics.json.
        noise: of this metric, of these entries.

    Returns:
        The curve; or what stands in its way, in words.
    """
    chosen = [(entry, at) for entry, at in zip(entries, x, strict=True) if key in entry.run.metrics["mean"]]
    places = np.array([at for _, at in chosen], dtype=float)
    n_places = len(set(places))
    if n_places < FEWEST_FOR_A_SLOPE:
        return f"only {n_places} different values of x, where a gain per doubling takes {FEWEST_FOR_A_SLOPE}"
    tested = {frozenset(_values(entry, key)) for entry, _ in chosen}
    if len(tested) > 1:
        return "points that are means over different test sessions"
    drawn = _resamples([entry for entry, _ in chosen], key)
    if drawn is None:
        return f"fewer than {FEWEST} test sessions without results by trial, so that the uncertainty is unknown"
    if noise is not None:
        generator = numpy_generator_for("scaling", "seeds", key)
        n_seeds = np.array([[max(1, len(_of_seeds(entry, key)))] for entry, _ in chosen])
        # one variance of all entries: in a resample it is too small or too large for all of them
        drawn = drawn + _student_t(generator, drawn.shape, noise.free) * np.sqrt(noise.variance / n_seeds)
    means = np.array([entry.run.metrics["mean"][key] for entry, _ in chosen])
    return curve_through(places, means, drawn)


def curve_through(x: np.ndarray, y: np.ndarray, drawn: np.ndarray) -> Curve:
    """Fit a line against log2 of x and, if there are points enough, a power law a - b * x^-c.

    Args:
        x: (point,) above 0.
        y: (point,) the metric.
        drawn: (point, resample) the metric in each resample.
    """
    at = np.geomspace(x.min(), x.max(), 60)
    every = np.column_stack([y, drawn])  # the estimate first
    slope, shift = _line(np.log2(x), every)
    doubling = _fitted(slope)
    if len(set(x)) < FEWEST_FOR_A_POWER_LAW:
        curves, ceiling, exponent = slope * np.log2(at)[:, None] + shift, None, None
    else:
        lines = [_line(-(x**-c), every) for c in EXPONENTS]
        missed = [
            np.square(b * -(x**-c)[:, None] + a - every).sum(0) for (b, a), c in zip(lines, EXPONENTS, strict=True)
        ]
        best = np.argmin(missed, axis=0)
        c, (b, a) = EXPONENTS[best], (np.take_along_axis(np.array(lines)[:, i], best[None], 0)[0] for i in (0, 1))
        determined = 0 < best[0] < len(EXPONENTS) - 1
        curves, ceiling, exponent = a - b * at[:, None] ** -c, _fitted(a) if determined else None, _fitted(c)
    low, high = np.quantile(curves[:, 1:], TAILS, axis=1)
    return Curve(per_doubling=doubling, ceiling=ceiling, exponent=exponent, x=at, y=curves[:, 0], low=low, high=high)


def _line(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(column,) slope and shift of the least-squares lines through the columns of y, (point, column)."""
    away = x - x.mean()
    slope = away @ y / (away @ away)
    return slope, y.mean(axis=0) - slope * x.mean()


def _fitted(values: np.ndarray) -> Fitted:
    estimate, *drawn = values
    low, high = np.quantile(drawn, TAILS)
    return Fitted(float(estimate), Interval(float(low), float(high)))


def _values(entry: Entry, key: str) -> dict[str, float]:
    return {eid: metrics[key] for eid, metrics in entry.run.metrics["sessions"].items() if key in metrics}


def _resamples(entries: Sequence[Entry], key: str) -> np.ndarray | None:
    """(entry, resample) the mean over sessions, with the same weights of animals, sessions or trials in all entries.

    Over animals or sessions, the middle 95 % of an entry's own values are the interval of its point.

    None if there are too few sessions, and a run has no trials of this metric.
    """
    values = [_values(entry, key) for entry in entries]
    eids = sorted(values[0])
    animals = [entries[0].of_session[eid] for eid in eids]
    level = level_of(len(eids), animals)
    table = np.array([[own[eid] for eid in eids] for own in values])  # (entry, session)
    middle = table.mean(axis=1, keepdims=True)
    if level == "trials":
        found = [one for entry in entries if (one := _over_trials(entry.run, key, eids)) is not None]
        if len(found) < len(entries):
            return None
        # around the estimate: a resample of few spikes is biased, and the estimate has this bias already
        return middle + np.array(found) - np.array(found).mean(axis=1, keepdims=True)
    spread = spread_of(animals if level == "animals" else eids)
    assert spread is not None  # the level says so
    of_unit = np.array([spread.names.index(one) for one in (animals if level == "animals" else eids)])
    means = np.stack([table[:, of_unit == unit].mean(axis=1) for unit in range(len(spread.names))], axis=1)
    drawn = _student_t(numpy_generator_for("scaling", level, key), (len(spread.names), N_RESAMPLES), spread.free)
    return middle + (means - middle) * spread.weight @ drawn


def _student_t(generator: np.random.Generator, shape: tuple[int, ...], free: float) -> np.ndarray:
    """(..., resample) Student's t: normal values over a standard deviation that a whole resample shares."""
    scale = np.sqrt(free / generator.chisquare(free, shape[-1]))
    return generator.standard_normal(shape) * scale


def _over_trials(run: TestedRun, key: str, eids: Sequence[str]) -> np.ndarray | None:
    trials = run.trials or {}
    if any(eid not in trials or key not in trials[eid].tasks for eid in eids):
        return None
    # seeded by the session: all entries draw the same trials of it
    drawn = [
        resampled_scores(trials[eid].tasks[key].null_gains, numpy_generator_for("scaling", "trials", eid))
        for eid in eids
    ]
    variances = [
        (float(np.nanvar(own)), len(trials[eid].tasks[key].null_gains.nats) - 1)
        for own, eid in zip(drawn, eids, strict=True)
    ]
    mean = np.mean(drawn, axis=0)
    return mean.mean() + widening(variances) * (mean - mean.mean())

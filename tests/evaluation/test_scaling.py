"""The scaling curve finds what was put into it, and its intervals hold seeds beside animals, sessions or trials."""

import csv
import math
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console
from scipy import stats

from neuromtm.evaluation.pairing import against_mean_rate, pair
from neuromtm.evaluation.scaling import Curve, _resamples, curve_through, fit_curve, gain_over, score_of, seed_noise
from neuromtm.evaluation.sweep import read_grid, read_sweep
from neuromtm.metrics.keys import columns_of
from neuromtm.report.scaling import curves_table, curves_text
from tests.evaluation.sweeps import true_score, write_sweep

KEY = "co_smoothing_bps"


def entries_of(folder, **options):
    write_sweep(folder, **options)
    entries, _ = read_sweep(folder, read_grid(folder))
    return [e for e in entries if e.stage == "finetune"], next(e for e in entries if e.stage == "scratch")


def test_a_power_law_without_noise_is_found():
    x = np.array([1.0, 2, 4, 8, 16])
    y = 0.5 - 0.3 * x**-0.7
    drawn = np.repeat(y[:, None], 5, axis=1)
    curve = curve_through(x, y, drawn)
    assert curve.ceiling.value == pytest.approx(0.5, abs=0.005)
    assert curve.exponent.value == pytest.approx(0.7, rel=0.04)  # the step between the exponents that are tried
    assert (curve.x[0], curve.x[-1]) == (1, 16)
    np.testing.assert_allclose(curve.y, 0.5 - 0.3 * curve.x**-0.7, atol=0.002)


def test_the_gain_per_doubling_is_the_slope_of_a_logarithm():
    x = np.array([1.0, 2, 8])
    y = 0.2 + 0.05 * np.log2(x)
    curve = curve_through(x, y, np.stack([y, y + 0.05 * np.log2(x)], axis=1))
    assert curve.per_doubling.value == pytest.approx(0.05)
    assert curve.per_doubling.interval == pytest.approx((0.05 + 0.025 * 0.05, 0.1 - 0.025 * 0.05))
    assert curve.ceiling is None
    np.testing.assert_allclose(curve.y, 0.2 + 0.05 * np.log2(curve.x))


def test_the_interval_of_the_exponent_holds_the_truth_as_often_as_it_says():
    generator, x, held = np.random.default_rng(0), np.array([1.0, 2, 4, 10, 34]), []
    truth = 0.5 - 0.3 * x**-0.7
    for _ in range(60):
        y = truth + 0.01 * generator.standard_normal(5)
        drawn = y[:, None] + 0.01 * generator.standard_normal((5, 400))
        low, high = curve_through(x, y, drawn).exponent.interval
        held.append(low <= 0.7 <= high)
    assert 0.85 <= np.mean(held) <= 1


def simulated(generator, x, *, n_animals):
    """Two seeds an entry, over animals that differ in their score, in their gain by x, and from entry to entry."""
    base, gain = generator.normal(0, 0.05, n_animals), generator.normal(0, 0.02, n_animals)
    entries = []
    for at in x:
        of_seeds = generator.normal(0, 0.01, 2)
        animals = true_score(at) + base + gain * np.log2(at) + generator.normal(0, 0.02, n_animals)
        seeds = {s: SimpleNamespace(metrics={"mean": {KEY: animals.mean() + of_seeds[s]}}) for s in (0, 1)}
        sessions = {f"s{i}": {KEY: value} for i, value in enumerate(animals + of_seeds.mean())}
        mean = {KEY: float(np.mean([own[KEY] for own in sessions.values()]))}
        run = SimpleNamespace(metrics={"mean": mean, "sessions": sessions}, neurons=None, trials=None)
        of_session = {f"s{i}": f"animal-{i}" for i in range(n_animals)}
        entries.append(SimpleNamespace(run=run, seeds=seeds, of_session=of_session))
    return entries


def test_with_five_animals_the_intervals_of_slope_and_band_hold_the_truth_as_often_as_they_say():
    """Percentiles of resampled animals alone are too narrow."""
    generator, x, slope, band = np.random.default_rng(1), [1, 2, 4, 10], [], []
    away = np.log2(x) - np.mean(np.log2(x))
    truth = away @ [true_score(at) for at in x] / (away @ away)
    for _ in range(400):
        entries = simulated(generator, x, n_animals=5)
        curve = fit_curve(entries, x, KEY, seed_noise(entries, KEY))
        low, high = curve.per_doubling.interval
        slope.append(low <= truth <= high)
        at = [true_score(value) for value in curve.x]
        band.append(np.mean((curve.low <= at) & (at <= curve.high)))
    assert 0.93 <= np.mean(slope) <= 0.98
    assert 0.93 <= np.mean(band) <= 0.98


def test_values_of_animals_that_are_drawn_for_a_curve_give_the_intervals_of_its_points():
    (entry,) = simulated(np.random.default_rng(0), [4], n_animals=6)
    drawn = _resamples([entry], KEY)[0]
    point = score_of(entry, KEY, None)
    assert np.quantile(drawn, (0.025, 0.975)) == pytest.approx(
        point.interval, abs=0.1 * (point.interval.high - point.mean)
    )


def test_a_power_law_whose_exponent_is_at_the_end_of_its_range_gives_no_ceiling():
    x = np.array([1.0, 2, 4, 8])
    y = 0.1 + 0.05 * np.log2(x)
    curve = curve_through(x, y, np.repeat(y[:, None], 5, axis=1))
    assert curve.ceiling is None
    assert curve.exponent.value == pytest.approx(0.05)
    curves = {("mtm", KEY): curve}
    console = Console(width=200, record=True)
    console.print(curves_table(curves, columns_of([KEY]), "sessions"))
    printed = " ".join(console.export_text().split())
    assert "at the end: 0.05" in printed
    assert "(c at the end of its range, a not determined): mtm" in printed
    (row,) = csv.DictReader(curves_text(curves, "sessions").splitlines())
    assert (row["a"], row["c"], row["absent"]) == ("", "0.05", "c at the end of its range, a not determined")


def test_a_flat_curve_has_no_gain_per_doubling():
    generator = np.random.default_rng(0)
    drawn = 0.3 + 0.01 * generator.standard_normal((4, 2000))
    curve = curve_through(np.array([1.0, 2, 4, 10]), np.full(4, 0.3), drawn)
    assert curve.per_doubling.interval.low < 0 < curve.per_doubling.interval.high


def test_a_sweep_of_a_power_law_gives_it_back(tmp_path):
    entries, _ = entries_of(tmp_path, sd=0.005)
    noise = seed_noise(entries, KEY)
    curve = fit_curve(entries, [1, 2, 4, 8], KEY, noise)
    assert isinstance(curve, Curve)
    assert curve.exponent.interval.low < 0.7 < curve.exponent.interval.high
    assert curve.ceiling.interval.low < 0.5 < curve.ceiling.interval.high
    assert curve.per_doubling.interval.low > 0
    assert np.all((curve.low <= curve.y) & (curve.y <= curve.high))


def test_the_seeds_variance_is_pooled_over_the_numbers_of_sessions(tmp_path):
    entries, _ = entries_of(tmp_path, sd=0.1)
    noise = seed_noise(entries, KEY)
    assert noise.free == 4
    assert noise.variance == pytest.approx(0.1**2 / 2, rel=0.2)  # two seeds, 0.1 apart


def test_an_interval_holds_the_spread_over_trials_and_over_seeds(tmp_path):
    entries, _ = entries_of(tmp_path, sd=0.1)
    noise = seed_noise(entries, KEY)
    found = score_of(entries[2], KEY, noise)
    over_trials = against_mean_rate(entries[2].run)[KEY].interval
    half_of_seeds = stats.t.ppf(0.975, 4) * math.sqrt(noise.variance / 2)
    half = math.hypot((over_trials.high - over_trials.low) / 2, half_of_seeds)
    assert found.interval == pytest.approx((found.mean - half, found.mean + half), rel=1e-3)
    assert found.over == "trials"
    assert found.mean == pytest.approx(true_score(4), abs=0.01)
    alone = score_of(entries[2], KEY, None)
    assert alone.interval == pytest.approx(over_trials)
    assert alone.deviation is None


def test_with_five_animals_the_interval_is_over_animals(tmp_path):
    entries, _ = entries_of(tmp_path, animals="ABCDE", counts=(1, 2, 4))
    found = score_of(entries[0], KEY, seed_noise(entries, KEY))
    assert (found.over, found.n_seeds) == ("animals", 2)
    curve = fit_curve(entries, [1, 2, 4], KEY, seed_noise(entries, KEY))
    assert isinstance(curve, Curve)
    assert curve.exponent is None  # three numbers of sessions
    behavior = score_of(entries[0], "choice_accuracy", None)
    assert (behavior.over, behavior.mean) == ("animals", pytest.approx(0.7))


def test_behaviour_in_few_sessions_has_no_interval_and_no_curve(tmp_path):
    entries, _ = entries_of(tmp_path)
    found = score_of(entries[0], "choice_accuracy", None)
    assert (found.mean, found.interval, found.over) == (pytest.approx(0.7), None, None)
    assert "without results by trial" in fit_curve(entries, [1, 2, 4, 8], "choice_accuracy", None)


def test_a_gain_is_paired_with_training_from_scratch(tmp_path):
    entries, scratch = entries_of(tmp_path, sd=0.05)
    noise, own = seed_noise(entries, KEY), seed_noise([scratch], KEY)
    gain = gain_over(scratch, entries[3], KEY, noise=noise, reference_noise=own)
    assert gain.difference == pytest.approx(true_score(8) - 0.15, abs=0.01)
    paired = pair(scratch.run, entries[3].run)[KEY].interval
    assert gain.interval.high - gain.interval.low > paired.high - paired.low


def test_two_numbers_of_sessions_or_points_of_different_animals_are_not_fitted(tmp_path):
    entries, _ = entries_of(tmp_path / "two", counts=(1, 2))
    assert "only 2 different values" in fit_curve(entries, [1, 2], KEY, None)
    write_sweep(tmp_path / "lacking", counts=(1, 2, 4))
    for seed in (0, 1):
        (tmp_path / "lacking" / "finetune" / f"mtm-n2-s{seed}-Ann" / "metrics.json").unlink()
    entries, _ = read_sweep(tmp_path / "lacking", read_grid(tmp_path / "lacking"))
    assert "different test sessions" in fit_curve(entries[:3], [1, 2, 4], KEY, None)

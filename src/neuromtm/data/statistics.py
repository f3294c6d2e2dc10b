"""What the training trials of a session say of its neurons: means, variances and principal axes, as pure functions."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from neuromtm.smoothing import smooth

MOST_AXES = 256
SMOOTHING_BINS = 1.0
"""standard deviation of the Gaussian that smooths counts for the axes, in bins"""
EXTRA_VARIANCE = 0.02
"""added to a neuron's variance before counts are divided by its root, so that a neuron that hardly fires counts less"""
SMALLEST_DEVIATION = 0.3
"""An axis along which trials vary less is divided by this, and not by what it varies: it is mostly noise."""
LEFT_OUT = 1e-5
"""Axes with less variance, as a share of the first one's, are left out: silent neurons or few trials make them."""
TRIALS_AT_ONCE = 32


class Statistics(NamedTuple):
    """Of a session's training trials."""

    mean_count: np.ndarray
    """(neuron,) float64 mean spikes per bin; NaN without trials"""
    count_variance: np.ndarray
    """(neuron,) float64 variance of the spikes per bin over trials and bins; NaN without trials"""
    principal_axes: np.ndarray
    """(component, neuron) float32, see `principal_axes`"""


def training_statistics(counts: np.ndarray, train: np.ndarray) -> Statistics:
    """Compute all statistics of a session.

    Args:
        counts: (trial, bin, neuron) spikes per bin of all trials.
        train: numbers of the training trials.
    """
    mean, variance = mean_and_variance(counts, train)
    covariance = smoothed_covariance(counts, train, mean=mean, variance=variance)
    return Statistics(mean, variance, principal_axes(covariance))


def mean_and_variance(counts: np.ndarray, train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(neuron,) float64 mean and variance of the spikes per bin over the training trials; NaN without trials."""
    n_entries = len(train) * counts.shape[1]
    if not n_entries:
        nothing = np.full(counts.shape[2], np.nan)
        return nothing, nothing.copy()
    mean = sum(block.sum((0, 1), dtype=np.int64) for block in _blocks(counts, train)) / n_entries
    squares = sum(np.square(block - mean).sum((0, 1)) for block in _blocks(counts, train))
    return mean, squares / n_entries


def smoothed_covariance(counts: np.ndarray, train: np.ndarray, *, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """The covariance of the smoothed, standardised training trials.

    A count is standardised by its neuron's mean and variance: (count - mean) / sqrt(variance + 0.02). Each trial is
    then smoothed over its bins with a Gaussian of one bin, whose weights are scaled up to a sum of 1 at the ends of the
    trial (`neuromtm.smoothing.smooth`).

    Args:
        counts: (trial, bin, neuron) spikes per bin of all trials.
        train: numbers of the training trials.
        mean: (neuron,) mean spikes per bin over the training trials.
        variance: (neuron,) their variance.

    Returns:
        (neuron, neuron) float64, over trials and bins; zeros without trials.
    """
    n_neurons, n_entries = counts.shape[2], len(train) * counts.shape[1]
    products, total = np.zeros((n_neurons, n_neurons)), np.zeros(n_neurons)
    if not n_entries:
        return products
    scale = np.sqrt(variance + EXTRA_VARIANCE)
    for block in _blocks(counts, train):
        standardised = ((block - mean) / scale).astype(np.float32)
        smoothed = smooth(standardised, width_s=SMOOTHING_BINS, bin_size_s=1.0).astype(np.float32)
        rows = smoothed.reshape(-1, n_neurons)
        products += rows.T @ rows
        total += rows.sum(0, dtype=np.float64)
    return products / n_entries - np.outer(total, total) / n_entries**2


def principal_axes(covariance: np.ndarray) -> np.ndarray:
    """The principal axes, scaled: the smoothed, standardised training trials have variance 1 along each axis.

    Axes along which the standard deviation is below 0.3 are divided by 0.3 only. The entry of an axis that is largest
    in size is positive.

    Args:
        covariance: (neuron, neuron), see `smoothed_covariance`.

    Returns:
        (component, neuron) float32, from the largest variance down; at most 256, and none whose variance is below
        1e-5 of the largest.
    """
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = variance[::-1][:MOST_AXES], axes.T[::-1][:MOST_AXES]
    kept = (variance > 0) & (variance >= LEFT_OUT * variance[:1])
    variance, axes = variance[kept], axes[kept]
    largest = np.take_along_axis(axes, np.abs(axes).argmax(1, keepdims=True), axis=1)
    scale = np.sign(largest) / np.maximum(np.sqrt(variance), SMALLEST_DEVIATION)[:, None]
    return (axes * scale).astype(np.float32)


def are_principal_axes(axes: np.ndarray, covariance: np.ndarray) -> bool:
    """Whether these are the scaled principal axes of the covariance, within the precision of float32.

    Axes of nearly equal variance may be rotated among each other, as another machine's rounding rotates them; so they
    are not compared with axes computed anew.

    Args:
        axes: (component, neuron).
        covariance: (neuron, neuron), see `smoothed_covariance`.
    """
    expected = np.linalg.eigvalsh(covariance)[::-1]
    precision = 1e-3 * max(expected[0], 0.0)
    n_axes = len(axes)
    if n_axes > min(MOST_AXES, len(expected)) or not np.isfinite(axes).all():
        return False
    if n_axes < MOST_AXES and (expected[n_axes:] > 2 * LEFT_OUT * expected[0]).any():
        return False
    length = np.linalg.norm(axes, axis=1, keepdims=True)
    if not length.all():
        return False
    unit = axes / length
    along = unit @ covariance
    variance = np.einsum("cn,cn->c", along, unit)
    wanted_length = 1 / np.maximum(np.sqrt(np.maximum(variance, 0)), SMALLEST_DEVIATION)
    return bool(
        np.allclose(unit @ unit.T, np.eye(n_axes), atol=1e-3)
        and np.allclose(along, variance[:, None] * unit, atol=precision)
        and np.allclose(variance, expected[:n_axes], atol=precision)
        and np.allclose(length[:, 0], wanted_length, rtol=1e-2)
    )


def _blocks(counts: np.ndarray, train: np.ndarray) -> Iterator[np.ndarray]:
    """Some training trials at a time: the counts of a long session do not fit into memory as float64."""
    for start in range(0, len(train), TRIALS_AT_ONCE):
        # in one layout, because sums of numbers that lie otherwise in memory are rounded otherwise
        yield np.ascontiguousarray(counts[train[start : start + TRIALS_AT_ONCE]])

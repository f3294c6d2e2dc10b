"""Smoothing over the bins of a trial: the one place where a Gaussian is laid over counts."""

from typing import Literal

import numpy as np

Edges = Literal["renormalise", "repeat"]
"""What stands beyond the ends of a trial: nothing, so that the weights within are scaled up to 1; or the outermost
bin again and again."""


def gaussian_weights(n_bins: int, *, width_s: float, bin_size_s: float) -> np.ndarray:
    """Weights of a Gaussian around each bin; they add up to 1 at the ends of the trial as well.

    Args:
        n_bins: bins a trial.
        width_s: standard deviation; 0 leaves everything as it is.
        bin_size_s: width of a bin.

    Returns:
        (bin, bin') weights.
    """
    if width_s == 0:
        return np.eye(n_bins)
    bins, width = np.arange(n_bins), width_s / bin_size_s
    weights = np.exp(-0.5 * np.square((bins[:, None] - bins[None, :]) / width))
    return weights / weights.sum(axis=1, keepdims=True)


def smooth(values: np.ndarray, *, width_s: float, bin_size_s: float, edges: Edges = "renormalise") -> np.ndarray:
    """Smooth over bins with a Gaussian.

    Args:
        values: (..., bin, neuron) e.g. spikes per bin.
        width_s: standard deviation; 0 leaves everything as it is.
        bin_size_s: width of a bin.
        edges: what stands beyond the ends of a trial. With `repeat` the Gaussian is cut off at four standard
            deviations and the result has the type of `values`.

    Returns:
        Of the shape of `values`.
    """
    if edges == "renormalise":
        return gaussian_weights(values.shape[-2], width_s=width_s, bin_size_s=bin_size_s) @ values
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(values, width_s / bin_size_s, axis=-2, mode="nearest") if width_s else values

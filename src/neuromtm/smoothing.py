"""Gaussian smoothing over the bins of a trial. All smoothing of counts happens here."""

from typing import Literal

import numpy as np

Edges = Literal["renormalise", "repeat"]
"""What is assumed beyond the ends of a trial. `renormalise`: nothing, and the weights inside the trial are scaled up
to a sum of 1. `repeat`: the first or the last bin, repeated."""


def gaussian_weights(n_bins: int, *, width_s: float, bin_size_s: float) -> np.ndarray:
    """Weights of a Gaussian around each bin. For each bin they sum to 1, also at the ends of the trial.

    Args:
        n_bins: bins per trial.
        width_s: standard deviation in seconds; 0 means no smoothing.
        bin_size_s: width of a bin in seconds.

    Returns:
        (bin, bin') weight of bin' in the smoothed value of bin.
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
        width_s: standard deviation in seconds; 0 means no smoothing.
        bin_size_s: width of a bin in seconds.
        edges: what is assumed beyond the ends of a trial. With `repeat` the Gaussian is cut off at four standard
            deviations and the result has the type of `values`.

    Returns:
        (..., bin, neuron) smoothed values.
    """
    if edges == "renormalise":
        return gaussian_weights(values.shape[-2], width_s=width_s, bin_size_s=bin_size_s) @ values
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(values, width_s / bin_size_s, axis=-2, mode="nearest") if width_s else values

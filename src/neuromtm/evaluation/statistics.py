"""How certain a mean over neurons is: bootstrap intervals. The name of the values seeds the draws.

They hold for neurons that are independent of each other, which those of one session are not quite: intervals of
differences between runs are in `metrics.intervals`.
"""

from collections.abc import Sequence

import numpy as np

from neuromtm.metrics.intervals import CONFIDENCE, N_RESAMPLES, Interval
from neuromtm.randomness import numpy_generator_for

FEWEST_FOR_AN_INTERVAL = 5
"""values; fewer have too few different resamples, and their interval is far too narrow"""


def bootstrap_mean(values: np.ndarray, *name: int | str) -> Interval | None:
    """Percentile bootstrap interval of a mean. Efron and Tibshirani 1993, chapter 13.

    Args:
        values: (value,) finite, independent of each other.
        name: name of the values. It seeds the draws: the same name and values give the same interval.

    Returns:
        The interval; None for fewer values than `FEWEST_FOR_AN_INTERVAL`.
    """
    return bootstrap_mean_of_means([values], *name)


def bootstrap_mean_of_means(groups: Sequence[np.ndarray], *name: int | str) -> Interval | None:
    """Percentile bootstrap interval of the mean over groups of each group's mean; values are drawn within a group.

    The groups themselves are not drawn: the interval says nothing about other groups.

    Args:
        groups: (value,) each, finite.
        name: seeds the draws.

    Returns:
        The interval; None if a group has no value, or all together have too few.
    """
    if not groups or min(map(len, groups)) == 0 or sum(map(len, groups)) < FEWEST_FOR_AN_INTERVAL:
        return None
    generator = numpy_generator_for("bootstrap", *name)
    # one resample at a time: all at once would take a matrix of resamples x values
    means = [
        np.mean([values[generator.integers(0, len(values), len(values))].mean() for values in groups])
        for _ in range(N_RESAMPLES)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(low), float(high))

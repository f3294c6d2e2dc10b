"""Which split each trial belongs to: a pure function."""

import numpy as np

from neuromtm.data.shards import SPLITS
from neuromtm.randomness import numpy_generator_for


def split_trials(n_trials: int, *, fractions: tuple[float, float, float], seed: int, eid: str) -> dict[str, np.ndarray]:
    """Divide trials at random, the same for the same seed and session on every machine.

    Args:
        n_trials: at least 3, so that no split is empty.
        fractions: parts for train, val, test; train takes what rounding leaves.
        seed: of the permutation.
        eid: the session.

    Returns:
        split -> sorted int32 trial numbers, disjoint and together all trials.
    """
    n_val, n_test = (max(1, round(fraction * n_trials)) for fraction in fractions[1:])
    while n_trials - n_val - n_test < 1:
        n_val, n_test = (n_val, n_test - 1) if n_test >= n_val else (n_val - 1, n_test)
    order = numpy_generator_for(seed, "split", eid).permutation(n_trials).astype(np.int32)
    parts = np.split(order, [n_trials - n_val - n_test, n_trials - n_test])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}

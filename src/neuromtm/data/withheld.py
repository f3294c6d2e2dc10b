"""Trials of which a benchmark keeps back the counts of the held-out neurons. Nothing can be scored on them.

A shard holds such trials for the sake of their other neurons: counts that are kept back are 0, and the column
`trials/heldout_known` is 0, where it is 1 for all other trials. A shard without the column holds no such trial.
"""

from collections.abc import Mapping

import numpy as np

from neuromtm.data.shards import ShardHeader
from neuromtm.errors import DataError

KNOWN_COLUMN = "heldout_known"
"""name of the column"""
WITHHELD = "its source keeps back the counts of the held-out neurons"


def withheld(columns: Mapping[str, np.ndarray], trials: np.ndarray) -> np.ndarray:
    """(trial,) bool: whether counts of a trial are kept back.

    Args:
        columns: further columns of the session's trials.
        trials: (trial,) numbers in the shard.
    """
    known = columns.get(KNOWN_COLUMN)
    return np.zeros(len(trials), bool) if known is None else known[trials] == 0


def require_known(header: ShardHeader, split: str) -> None:
    """Refuse to read a split as if all its counts were known.

    Args:
        header: of the session.
        split: which one.

    Raises:
        DataError: if counts of one of its trials are kept back.
    """
    n_unknown = int(withheld(header.trials.columns, header.splits[split]).sum())
    if n_unknown:
        raise DataError(
            f"{header.eid}: {WITHHELD} in {n_unknown} trials of the split {split}, so that nothing can be scored "
            "there. neuromtm validate scores the split val, and neuromtm export writes what the benchmark scores."
        )

"""What the training trials of a session say of its traces of behaviour."""

from collections.abc import Sequence

import numpy as np
import torch

from neuromtm.batch import TraceStatistics
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import DataError


def trace_statistics(data: SessionDataModule, eid: str, names: Sequence[str]) -> TraceStatistics:
    """Mean and standard deviation of a session's traces over the known entries of its training trials.

    Args:
        data: set up.
        eid: the session.
        names: of the traces; it may lack some.
    """
    trials, found = data.headers[eid].splits["train"], []
    for name in names:
        trace = data.behavior(eid, name)
        known = np.empty(0) if trace is None else trace[trials].astype(np.float64)
        known = known[np.isfinite(known)]
        # a trace that does not vary has a deviation of 0, and nothing can be divided by that
        found.append((known.mean(), known.std() or 1.0) if known.size else (0.0, 1.0))
    return TraceStatistics(*torch.tensor(found, dtype=torch.float32).unbind(dim=1))


def require_traces(data: SessionDataModule, names: Sequence[str]) -> None:
    """Refuse names that none of the sessions has a trace of. A single session may lack any.

    Args:
        data: set up.
        names: of the traces.

    Raises:
        DataError: naming those that are absent and those that are there.
    """
    there = {name for header in data.headers.values() for name in header.behaviors}
    if absent := [repr(name) for name in names if name not in there]:
        raise DataError(
            f"{data.root}: model.backbone.behaviors names {', '.join(absent)}, but the traces of the chosen sessions "
            f"are {', '.join(sorted(there)) or 'none'}."
        )

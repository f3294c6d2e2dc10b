"""Metrics whose states are sums that begin at 0."""

from torchmetrics import Metric


class Sums(Metric):
    """A metric that is the same for nothing seen as for batches that add nothing: its `compute` then gives NaN or 0.

    A task that no session allows is never updated, e.g. one between regions if there is one region. It must be computed
    all the same: ranks add their sums together, and another rank may have the sessions that allow it. torchmetrics
    would warn of that.
    """

    full_state_update = False
    is_differentiable = False

    @property
    def update_called(self) -> bool:
        """True, so that `compute` gives no warning."""
        return True

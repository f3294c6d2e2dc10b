"""A metric that the data does not allow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Absent:
    """Stands in the place of a metric, and says why there is none."""

    reason: str

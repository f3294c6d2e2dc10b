"""The mark of a metric that the data does not allow."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Absent:
    """Stands in place of a metric and says why it is missing."""

    reason: str

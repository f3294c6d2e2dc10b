"""How many sessions fit into memory beside each other: pure functions of estimates and measurements."""

from collections.abc import Sequence
from typing import NamedTuple

PROGRAM_BYTES = 400_000_000
"""of a process that prepares a small session; most of it are the libraries"""
BYTES_PER_BYTE = 5
"""of memory for each byte of spikes: the spikes, their copies while they are put in order and counted, and the counts.
Measured: 1.7 for arrays of 15 million spikes, 3.2 for two probes of 25 million in the format of the International Brain
Laboratory, 5 for a sorting of Phy of 15 million."""


class Measured(NamedTuple):
    """What a session took."""

    spike_bytes: int | None
    """memory of the spikes that are read at a time, as the source said before; None if it did not"""
    peak_bytes: int
    """most memory of its process"""


class Running(NamedTuple):
    """What a session takes that is being prepared."""

    need_bytes: int
    used_bytes: int
    """by now"""


def estimated_need(spike_bytes: int | None, measured: Sequence[Measured]) -> int | None:
    """Bytes that the process of a session will take.

    If the source says how much it reads, this is what it says times a factor, and not less than any session took that
    reads no more. If not, it is a quarter more than the most that any session took.

    Args:
        spike_bytes: as in `Measured`.
        measured: the sessions that have ended.

    Returns:
        The estimate; None if nothing is known.
    """
    if spike_bytes is None:
        return max((session.peak_bytes for session in measured), default=0) * 5 // 4 or None
    smaller = [s.peak_bytes for s in measured if s.spike_bytes is not None and s.spike_bytes <= spike_bytes]
    return max([PROGRAM_BYTES + BYTES_PER_BYTE * spike_bytes, *smaller])


def fits_beside(need_bytes: int | None, running: Sequence[Running], *, free_at_start: int, free_now: int) -> bool:
    """Whether a session can begin without taking memory from those that run.

    Args:
        need_bytes: as `estimated_need` gives it. A session of which nothing is known begins only when no other runs.
        running: those that run.
        free_at_start: bytes that were free before the first one began.
        free_now: bytes that are free now; some of them are already spoken for.
    """
    if need_bytes is None:
        return not running
    spoken_for = sum(max(session.need_bytes - session.used_bytes, 0) for session in running)
    in_all = need_bytes + sum(session.need_bytes for session in running)
    return in_all <= free_at_start and need_bytes + spoken_for <= free_now

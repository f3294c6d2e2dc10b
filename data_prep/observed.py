"""When the neurons of a recording were recorded: pure functions. Outside these times no spike means nothing."""

import numpy as np

from data_prep.recording import Recording
from data_prep.spikes import FARTHEST_S, LONG_S, ProbeActivity, Silences, SpikeSummary, silences_of
from neuromtm.data.windows import microseconds
from neuromtm.errors import SourceError

LEAST_HOLE_S = LONG_S
"""a shorter silence of all neurons is no hole in the recording"""
HOLE_PROBABILITY = 1e-9
"""a longer silence is a hole if neurons at the session's rate would be silent for so long with less than this"""

LEAST_NEURONS = 3
"""must fire on a probe just before and just after a hole of this probe alone"""
MOST_WINDOWS = 200_000
"""of continuous time; two days and more in seconds"""
MOST_PIECES = 1_000_000
"""pieces of the time, of one second each in recordings of less than eleven days"""


def observed_intervals(recording: Recording) -> np.ndarray:
    """(interval, 2) times at which all neurons were recorded, sorted and apart: the source's, or those inferred.

    Raises:
        SourceError: if there is no such time, or the spikes cannot be read.
    """
    if recording.observed_s is not None:
        return merged(recording.observed_s)
    summary = recording.summary
    recorded_s = of_silences(summary.silences)
    for holes_s in probe_holes(summary).values():
        recorded_s = without_holes(recorded_s, holes_s)
    if not len(recorded_s):
        spans = ", ".join(_span(name, probe) for name, probe in summary.probes.items())
        raise SourceError(f"at no time do all probes record: {spans}. Leave a probe out, or give the recorded times.")
    return recorded_s


def _span(name: str, probe: ProbeActivity) -> str:
    return f"{name} has spikes from {probe.silences.first_s:g} to {probe.silences.last_s:g} s"


def probe_holes(summary: SpikeSummary) -> dict[str, np.ndarray]:
    """Name of a probe -> (hole, 2) times at which it was not recorded, as far as its spikes tell; sorted.

    A silence of a probe is a hole by the rules of `inferred_intervals`, also one before its first or after its last
    spike. Its rate is that over the whole session. As a few neurons can be lost, or fall silent, while the recording
    goes on, at least `LEAST_NEURONS` neurons must fire just before the hole, and as many just after it. A probe of
    fewer neurons has no holes.

    Args:
        summary: of a session; if it has one probe, its holes are those of the session.
    """
    if len(summary.probes) < 2:
        return {}
    holes = {name: _holes(probe, summary.first_s, summary.last_s) for name, probe in summary.probes.items()}
    return {name: found for name, found in holes.items() if len(found)}


def _holes(probe: ProbeActivity, first_s: float, last_s: float) -> np.ndarray:
    own = probe.silences
    starts_s, ends_s = np.r_[first_s, own.starts_s, own.last_s], np.r_[own.first_s, own.ends_s, last_s]
    silence_s, n_beside = ends_s - starts_s, np.r_[probe.n_first, probe.n_beside, probe.n_last]
    is_long = silence_s > _longest_chance(Silences(first_s, last_s, starts_s, ends_s))
    margin_s = silence_s[1:-1][~is_long[1:-1]].max(initial=0.0)
    of_hole_s = np.minimum(margin_s, silence_s / 2)
    # before its first and after its last spike nothing was recorded at all
    starts_s, ends_s = np.r_[-np.inf, (starts_s + of_hole_s)[1:]], np.r_[(ends_s - of_hole_s)[:-1], np.inf]
    return np.stack([starts_s, ends_s], axis=1)[is_long & (n_beside >= LEAST_NEURONS)]


def without_holes(intervals_s: np.ndarray, holes_s: np.ndarray) -> np.ndarray:
    """(interval, 2) what is left of intervals.

    Args:
        intervals_s: (interval, 2), sorted and apart.
        holes_s: (hole, 2) to take out, sorted and apart.
    """
    starts_s, ends_s = np.r_[-np.inf, holes_s[:, 1]], np.r_[holes_s[:, 0], np.inf]
    left_s = np.maximum(intervals_s[:, None, 0], starts_s), np.minimum(intervals_s[:, None, 1], ends_s)
    found = np.stack(left_s, axis=2).reshape(-1, 2)
    return found[found[:, 0] < found[:, 1]]


def merged(intervals_s: np.ndarray) -> np.ndarray:
    """(interval, 2) sorted intervals; those that overlap or touch are one."""
    intervals_s = intervals_s[np.argsort(intervals_s[:, 0], kind="stable")]
    ends = np.maximum.accumulate(intervals_s[:, 1])
    begins = np.r_[True, microseconds(intervals_s[1:, 0]) > microseconds(ends[:-1])]
    last = np.r_[np.flatnonzero(begins)[1:] - 1, len(ends) - 1]
    return np.stack([intervals_s[begins, 0], ends[last]], axis=1)


def inferred_intervals(spike_times_s: np.ndarray) -> np.ndarray:
    """(interval, 2) times at which the recording was on, as far as the spikes tell.

    A silence of all neurons is a hole if it is longer than `LEAST_HOLE_S`, and so long that its probability is below
    `HOLE_PROBABILITY` for independent spikes at the session's rate. As neurons burst together, the rate is not that of
    the spikes but the lower one of seconds with a spike: sparse neurons keep their trials. Before the first and after
    the last spike of an interval as much time counts as recorded as the longest silence that is no hole.

    Args:
        spike_times_s: (spike,) sorted times of all neurons.
    """
    return of_silences(silences_of(spike_times_s))


def of_silences(found: Silences) -> np.ndarray:
    """(interval, 2) of `inferred_intervals`, from the longest silences among the spikes."""
    silence_s = found.ends_s - found.starts_s
    is_hole = silence_s > _longest_chance(found)
    margin_s = silence_s[~is_hole].max(initial=0.0)
    of_hole_s = np.minimum(margin_s, silence_s[is_hole] / 2)
    starts = np.r_[found.first_s - margin_s, found.ends_s[is_hole] - of_hole_s]
    ends = np.r_[found.starts_s[is_hole] + of_hole_s, found.last_s + margin_s]
    return np.stack([starts, ends], axis=1)


def _longest_chance(found: Silences) -> float:
    """The longest silence, in seconds, that independent spikes make by chance."""
    span_s = found.last_s - found.first_s
    n_pieces = int(np.clip(np.ceil(span_s), 1, MOST_PIECES))
    piece_s = span_s / n_pieces
    edges_s = np.r_[found.first_s, found.first_s + piece_s * np.arange(1, n_pieces), np.inf]
    # a piece has no spike if a silence spans it: from an edge after the spike before it to the edge at its end
    first = np.searchsorted(edges_s, found.starts_s, side="right")
    end = np.searchsorted(edges_s, found.ends_s, side="right") - 1
    n_occupied = n_pieces - int(np.maximum(end - first, 0).sum())
    share = min(n_occupied, n_pieces - 0.5) / n_pieces
    return max(LEAST_HOLE_S, piece_s * np.log(HOLE_PROBABILITY) / np.log1p(-share))


def inside(starts_s: np.ndarray, intervals_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(window,) bool: whether a window lies wholly in one of the intervals. NaN does not.

    Args:
        starts_s: (window,) starts; an infinite one, or one beyond all recordings, is in none.
        intervals_s: (interval, 2), sorted and apart.
        duration_s: length of every window.
    """
    known = np.abs(starts_s) <= FARTHEST_S
    starts = microseconds(np.where(known, starts_s, 0))
    intervals = microseconds(intervals_s)
    number = np.searchsorted(intervals[:, 0], starts, side="right") - 1
    return known & (number >= 0) & (starts + microseconds(duration_s) <= intervals[number, 1])


def windows_inside(intervals_s: np.ndarray, *, duration_s: float) -> np.ndarray:
    """(window,) starts of as many windows, one after the other, as each interval holds.

    Args:
        intervals_s: (interval, 2), sorted and apart.
        duration_s: length of every window.

    Raises:
        SourceError: if there would be more than `MOST_WINDOWS`.
    """
    length = int(microseconds(duration_s))
    intervals = microseconds(intervals_s)
    n_windows = int(((intervals[:, 1] - intervals[:, 0]) // length).sum())
    if n_windows > MOST_WINDOWS:
        raise SourceError(
            f"{n_windows:,} windows of {duration_s:g} s, more than {MOST_WINDOWS:,}: give a longer --length-s, if the "
            "times are in seconds and not in milliseconds or samples."
        )
    found = [start + length * np.arange((end - start) // length) for start, end in intervals]
    return np.concatenate(found) * 1e-6

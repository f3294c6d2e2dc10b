"""What looks wrong in a recording, mostly times in another unit than seconds. Nothing is refused here."""

import math
from collections.abc import Mapping

import numpy as np

from data_prep.recording import EVENTS, Recording, TrialTable

MOST_PLAUSIBLE_HZ = 500.0
"""a neuron that fires faster on average is not one neuron in seconds"""
SHORTEST_TRIAL_S = 1e-3
LONGEST_SPAN_S = 86_400.0
"""a recording that goes over more than a day is likely in another unit than seconds"""
TIME_ENDINGS = ("_time", "_times", "_s")
MOSTLY_MISSING = 0.9
"""of the bins of a trace"""
FAR_APART = 200
"""a ratio of the last times of events and spikes that another unit explains best"""


def warnings_of(recording: Recording, observed_s: np.ndarray, *, event: str | None = None) -> list[str]:
    """One sentence for each thing that looks wrong.

    Args:
        recording: of any source, with or without trials.
        observed_s: (interval, 2) when it was recorded, sorted.
        event: column of the trial table that is a time, too, whatever its name.
    """
    first_s, last_s = recording.summary.first_s, recording.summary.last_s
    warnings = _rate_warnings(recording, last_s - first_s)
    if first_s < 0:
        warnings.append(f"spike times start at {first_s:g} s, before 0: they may be relative to another clock")
    if recording.trials is not None:
        events = named_times(recording.trials)
        if event is not None and event in recording.trials.columns:
            events[event] = recording.trials.event(event)
        warnings += _order_warnings(recording.trials, events)
        warnings += _range_warnings(events, first_s, last_s, observed_s)
        warnings += _choice_warnings(recording.trials.choice)
    return warnings


def missing_traces(behavior: Mapping[str, np.ndarray]) -> list[str]:
    """One sentence for each trace that is missing in nearly all of the kept trials.

    Args:
        behavior: name -> (trial, bin), NaN where it is missing.
    """
    warnings = []
    for name, values in sorted(behavior.items()):
        missing = float(np.isnan(values).mean())
        if missing == 1:
            warnings.append(f"trace {name} is missing in all trials")
        elif missing >= MOSTLY_MISSING:
            warnings.append(f"trace {name} is missing in {math.floor(100 * missing)} % of the bins of the trials")
    return warnings


def named_times(trials: TrialTable) -> dict[str, np.ndarray]:
    """Name -> times of session time: the known fields, and columns that are named as times and increase over trials."""
    known = {name: values for name in EVENTS.values() if (values := getattr(trials, name)) is not None}
    named = {
        name: values
        for name, values in trials.columns.items()
        if values.dtype.kind == "f" and (name.endswith(TIME_ENDINGS) or name in ("start", "stop"))
    }
    # durations and reaction times have such names, too, but do not increase
    return known | {name: values for name, values in named.items() if (np.diff(values[np.isfinite(values)]) >= 0).all()}


def _rate_warnings(recording: Recording, span_s: float) -> list[str]:
    if not span_s > 0:
        return [f"all {recording.summary.n_all_spikes} spikes are at {recording.summary.first_s:g} s"]
    rate_hz = recording.summary.n_spikes / span_s
    if span_s > LONGEST_SPAN_S:
        return [
            f"the spikes go over {span_s:g} s, which are {span_s / 3600:.0f} hours, at a median rate of "
            f"{np.median(rate_hz):.3g} Hz: are the times in seconds? They may be in milliseconds or samples"
        ]
    fast = int((rate_hz > MOST_PLAUSIBLE_HZ).sum())
    if not fast:
        return []
    return [
        f"{fast} neurons fire at more than {MOST_PLAUSIBLE_HZ:g} Hz on average (the fastest at {rate_hz.max():.0f} Hz, "
        f"over {span_s:g} s): are the times in seconds?"
    ]


def _order_warnings(trials: TrialTable, events: Mapping[str, np.ndarray]) -> list[str]:
    warnings = []
    for start, stop in (("start_time", "stop_time"), ("start_s", "end_s"), ("intervals_0", "intervals_1")):
        both = [trials.columns.get(name) for name in (start, stop)]
        if all(values is not None and values.dtype.kind == "f" for values in both):
            length_s = trials.columns[stop] - trials.columns[start]
            if short := int((length_s < SHORTEST_TRIAL_S).sum()):
                warnings.append(f"{short} trials are shorter than 1 ms or end before they start ({start} to {stop})")
    for name, times_s in events.items():
        known = times_s[np.isfinite(times_s)]
        if not len(known):
            warnings.append(f"{name} has no number")
        elif len(known) > 1 and np.median(np.abs(np.diff(known))) < SHORTEST_TRIAL_S:
            warnings.append(f"{name}: consecutive trials are less than 1 ms apart: are the times in seconds?")
        if negative := int((known < 0).sum()):
            warnings.append(f"{name} is negative in {negative} trials")
    return warnings


def _range_warnings(
    events: Mapping[str, np.ndarray], first_s: float, last_s: float, observed_s: np.ndarray
) -> list[str]:
    warnings = []
    for name, times_s in events.items():
        known = times_s[np.isfinite(times_s)]
        outside = int(((known < observed_s[0, 0]) | (known > observed_s[-1, 1])).sum())
        if not len(known):
            continue
        ranges = f"{name} from {known.min():g} to {known.max():g}, spikes from {first_s:g} to {last_s:g} s"
        if outside == 0 and 0 < known.max() < last_s / FAR_APART:
            warnings.append(
                f"all events are at the very start of the spikes: {ranges}{_unit_guess(known.max(), last_s)}"
            )
        elif 0 < outside < len(known):
            warnings.append(f"{outside} of {len(known)} are outside the recording ({ranges})")
        elif outside:
            warnings.append(f"events and spikes do not meet: {ranges}{_unit_guess(known.max(), last_s)}")
    return warnings


def _choice_warnings(choice: np.ndarray | None) -> list[str]:
    if choice is None or {*choice[np.isfinite(choice)].tolist()} != {0.0, 1.0}:
        return []
    return [
        f"choice has only the values 0 ({np.count_nonzero(choice == 0)} trials) and 1, but 0 means that the choice is "
        "unknown, and such trials are removed. If 0 is one of two choices, write -1 for it"
    ]


def _unit_guess(last_event: float, last_spike: float) -> str:
    if not (last_event > 0 and last_spike > 0):
        return ""
    which, factor = (
        ("events", last_event / last_spike) if last_event > last_spike else ("spikes", last_spike / last_event)
    )
    if FAR_APART <= factor <= 5000:
        return f"; the {which} are likely in milliseconds"
    return f"; the {which} are likely in samples" if factor > 5000 else ""

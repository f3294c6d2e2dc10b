"""What `--inspect` prints of a recording: what is there, what looks wrong, and the command that would prepare it."""

import shlex
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from data_prep.observed import observed_intervals
from data_prep.plausibility import named_times, warnings_of
from data_prep.recording import EVENTS, Recording, Trace, TrialTable
from neuromtm.errors import SourceError

MOST_NAMES = 12
MOSTLY = 0.5
"""of the values of an event lie within the time of the spikes"""


def inspection_text(recording: Recording) -> str:
    """What is in a recording, one line a thing.

    Args:
        recording: of any source, whole.
    """
    spikes, observed_s = recording.summary, observed_intervals(recording)
    lines = [
        f"session   {recording.eid} (animal {recording.subject or 'unknown'}, lab {recording.lab or 'unknown'})",
        f"spikes    {spikes.n_all_spikes}, from {spikes.first_s:.3f} to {spikes.last_s:.3f} s",
        f"neurons   {recording.n_neurons}{_rates(recording)}",
        f"regions   {_counted(recording.neurons.region)}",
        f"probes    {_counted(recording.neurons.probe)}",
        f"observed  {_observed(recording, observed_s)}",
        *_trial_lines(recording.trials),
        *(f"trace     {name}: {_trace(trace)}" for name, trace in sorted(recording.traces.items())),
        *(f"{name:<9} {value}" for name, value in sorted(recording.attributes.items())),
        *(f"note      {note}" for note in recording.notes),
        *(f"WARNING   {warning}" for warning in warnings_of(recording, observed_s)),
    ]
    if recording.neurons.heldout is not None:
        lines.insert(3, f"held out  {int(recording.neurons.heldout.sum())} neurons, by the source")
    return "\n".join(lines)


def inspect_folders(
    source: str, arguments: Sequence[object], sessions: Iterable[tuple[Path, Callable[[], Recording]]]
) -> str:
    """What is in each session of a source that has a folder a session, and the command that would prepare them all.

    Args:
        source: name of the command.
        arguments: what names the sessions.
        sessions: folder and reading of each; one that cannot be read is named with the reason.
    """
    parts, command = [], ""
    for folder, read in sessions:
        try:
            recording = read()
        except SourceError as error:
            parts.append(f"folder    {folder.name}: cannot be prepared: {error}")
        else:
            parts.append(f"folder    {folder.name}\n{inspection_text(recording)}")
            command = command or prepare_command(source, arguments, recording)
    return "\n\n".join([*parts, command] if command else parts)


def prepare_command(source: str, arguments: Sequence[object], recording: Recording) -> str:
    """One command that would prepare a recording, for a shell.

    Args:
        source: name of the command.
        arguments: what names the recording.
        recording: what was found; decides between an event and continuous windows.
    """
    how = ["--continuous"]
    if recording.trials is not None and recording.trials.event_names:
        how = ["--align-event", _likely_event(recording) or "EVENT"]
    return shlex.join(["python", "-m", "data_prep", source, *map(str, arguments), *how, "--out", "data/mine"])


def _likely_event(recording: Recording) -> str | None:
    """A column that is named as times, or else looks like times of the recording; None if there is none."""
    assert recording.trials is not None
    timely, spikes = named_times(recording.trials), recording.summary
    for name in recording.trials.event_names:
        if EVENTS.get(name, name) in timely:
            return name
    for name in recording.trials.event_names:
        values = recording.trials.event(name)
        known = values[np.isfinite(values)]
        steps = np.diff(known)
        counts = not (known % 1).any() and not (steps - 1).any()  # a counter of the rows
        during = (known > spikes.first_s) & (known < spikes.last_s)
        if len(known) > 1 and (steps > 0).all() and not counts and during.mean() > MOSTLY:
            return name
    return None


def _counted(values: np.ndarray) -> str:
    names, times = np.unique(values, return_counts=True)
    most = np.argsort(-times, kind="stable")[:MOST_NAMES]
    more = f", and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(f"{names[i]} {times[i]}" for i in most) + more


def _rates(recording: Recording) -> str:
    span_s = recording.summary.last_s - recording.summary.first_s
    if not span_s > 0:
        return ""
    low, middle, high = np.quantile(recording.summary.n_spikes / span_s, (0.05, 0.5, 0.95))
    return f", mean rates {low:.2f} to {high:.2f} Hz (5 % to 95 %), median {middle:.2f} Hz"


def _observed(recording: Recording, intervals_s: np.ndarray) -> str:
    how = "inferred from the spikes" if recording.observed_s is None else "given by the source"
    seconds = (intervals_s[:, 1] - intervals_s[:, 0]).sum()
    shown = ", ".join(f"{start:.3f} to {end:.3f} s" for start, end in intervals_s[:MOST_NAMES])
    more = f", and {len(intervals_s) - MOST_NAMES} more" if len(intervals_s) > MOST_NAMES else ""
    return f"{seconds:.0f} s, {how}: {shown}{more}"


def _trial_lines(trials: TrialTable | None) -> list[str]:
    if trials is None:
        return ["trials    none: prepare with --continuous"]
    lines = [f"trials    {trials.n_trials}", f"events    {', '.join(trials.event_names) or 'none'}"]
    if text := [name for name, values in trials.columns.items() if values.dtype.kind != "f"]:
        lines.append(f"texts     {', '.join(text)}")
    if trials.split is not None:
        lines.append(f"splits    {_counted(np.where(trials.split == '', 'none', trials.split))}, by the source")
    return lines


def _trace(trace: Trace) -> str:
    if len(trace.times_s) < 2:
        return f"{len(trace.times_s)} samples"
    missing = np.isnan(trace.values).mean()
    every_s = np.median(np.diff(trace.times_s))
    span = f"from {trace.times_s[0]:.3f} to {trace.times_s[-1]:.3f} s"
    gone = f", {100 * missing:.1f} % missing" if missing else ""
    return f"{len(trace.times_s)} samples at {1 / every_s:.1f} Hz, {span}{gone}"

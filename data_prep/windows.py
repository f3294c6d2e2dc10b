"""Cut a recording into windows: which trials are kept, with which behaviour, in which split."""

from dataclasses import dataclass

import numpy as np

from data_prep.binning import bin_centres, covers, interpolate, mean_in_bins
from data_prep.observed import inside, observed_intervals, of_silences, probe_holes, windows_inside, without_holes
from data_prep.options import PrepareOptions
from data_prep.recording import WHISKER, Recording, Trace
from data_prep.splitting import assign_splits
from data_prep.trials import one_sided, trial_criteria
from neuromtm.data.host_memory import free_host_memory, size_text
from neuromtm.data.shards import SPLITS
from neuromtm.errors import SourceError


@dataclass(frozen=True)
class Windows:
    """The windows of a session. The first fields are of all windows, the others of those that are kept."""

    starts_s: np.ndarray
    """(window,) start of each window, in session time"""
    event_s: np.ndarray
    """(window,) time of its event"""
    behavior: dict[str, np.ndarray]
    """name -> (window, bin) float32"""
    index: np.ndarray
    """(kept,) rows of the kept windows"""
    split: np.ndarray
    """(kept,) train, val or test"""
    removed: dict[str, int]
    """criterion -> number of windows that fail it; a window can fail several criteria"""
    observed_s: np.ndarray
    """(interval, 2) when the neurons were recorded"""
    notes: tuple[str, ...]


def cut_windows(recording: Recording, options: PrepareOptions) -> Windows:
    """Choose the windows of a session and their splits.

    Args:
        recording: the session.
        options: window, bins, filters and splits.

    Raises:
        SourceError: if too few windows are left, or the trial table lacks the event at time 0.
    """
    observed_s = observed_intervals(recording)
    if options.continuous:
        event_s = starts_s = windows_inside(observed_s, duration_s=options.duration_s)
    elif recording.trials is None:
        raise SourceError("no trials. Give --continuous to cut windows from the whole recorded time.")
    else:
        event_s = recording.trials.event(options.align_event)
        starts_s = event_s + options.window_s[0]
    require_memory(
        8 * len(starts_s) * options.n_bins * (1 + len(recording.traces)),
        f"the traces in {len(starts_s)} windows of {options.n_bins} bins",
    )
    behavior = {name: _binned(trace, starts_s, options) for name, trace in recording.traces.items()}
    table, given, passes = None, None, {}
    if not options.continuous and recording.trials is not None:
        table = recording.trials
        covered = _whisker_covered(recording, behavior, starts_s, options)
        passes = trial_criteria(table, options=options, whisker_covered=covered)
        # windows without a time fail by the event that they lack
        passes["not observed"] = inside(starts_s, observed_s, duration_s=options.duration_s) | ~np.isfinite(starts_s)
        if table.split is not None:
            passes["in no split of the source"] = table.split != ""
            given = table.split
    removed = {criterion: int((~ok).sum()) for criterion, ok in passes.items() if not ok.all()}
    kept = np.logical_and.reduce(list(passes.values())) if passes else np.full(len(starts_s), True)
    index = np.flatnonzero(kept)
    _require_three(index, len(starts_s), removed, options)
    assigned = assign_splits(
        starts_s[index], options=options, eid=recording.eid, given=None if given is None else given[index]
    )
    has_split = assigned.split != ""
    index, split = index[has_split], assigned.split[has_split]
    _require_three(index, len(starts_s), removed | assigned.removed, options)
    notes = (*_hole_notes(recording), *assigned.notes, *(one_sided(table, index) if table else ()))
    return Windows(starts_s, event_s, behavior, index, split, removed | assigned.removed, observed_s, notes)


def require_memory(n_bytes: int, what: str) -> None:
    """Refuse what does not fit into memory before it is made.

    Args:
        n_bytes: that it takes.
        what: it is, in plural, for the message.

    Raises:
        SourceError: if less is free.
    """
    free = free_host_memory()
    if n_bytes > free:
        raise SourceError(
            f"{what} take {size_text(n_bytes)} of memory while they are prepared, but {size_text(free)} are free. Are "
            "the times in seconds? Otherwise choose wider bins or a narrower window."
        )


def in_words(removed: dict[str, int]) -> str:
    """The removed trials in words, e.g. `reaction time 12, choice unknown 3`."""
    return ", ".join(f"{criterion} {n}" for criterion, n in removed.items())


def _require_three(index: np.ndarray, n_windows: int, removed: dict[str, int], options: PrepareOptions) -> None:
    if len(index) >= len(SPLITS):
        return
    what = f"windows of {options.duration_s:g} s" if options.continuous else "trials"
    why = f"removed: {in_words(removed)}" if removed else "no filter removed any"
    raise SourceError(f"{len(index)} of {n_windows} {what} left, but the three splits need at least 3 ({why}).")


def _binned(trace: Trace, starts_s: np.ndarray, options: PrepareOptions) -> np.ndarray:
    """(window, bin) float32"""
    binning = {"n_bins": options.n_bins, "bin_size_s": options.bin_size_s}
    if trace.averaged:
        return mean_in_bins(trace.times_s, trace.values, starts_s, **binning)
    return interpolate(trace.times_s, trace.values, bin_centres(starts_s, **binning))


def _whisker_covered(
    recording: Recording, behavior: dict[str, np.ndarray], starts_s: np.ndarray, options: PrepareOptions
) -> np.ndarray | None:
    if WHISKER not in behavior:
        return None
    # a NaN inside the window is a hole in the trace, so the trace does not cover this trial
    covered = covers(recording.traces[WHISKER].times_s, starts_s, duration_s=options.duration_s)
    return covered & np.isfinite(behavior[WHISKER]).all(1)


def _hole_notes(recording: Recording) -> list[str]:
    if recording.observed_s is not None:
        return []
    notes, of_all = [], of_silences(recording.summary.silences)
    if len(of_all) > 1:
        holes_s = of_all[1:, 0] - of_all[:-1, 1]
        notes.append(
            f"{len(holes_s)} silences of all neurons, {holes_s.sum():.0f} s in all, count as not recorded, the longest "
            f"after {of_all[holes_s.argmax(), 1]:.1f} s"
        )
    for name, holes_s in probe_holes(recording.summary).items():
        silent_s = _seconds(of_all) - _seconds(without_holes(of_all, holes_s))
        if silent_s > 0:
            begin_s = max(holes_s[0, 0], of_all[0, 0])
            notes.append(
                f"{name} is silent for {silent_s:.0f} s while another probe records, first from {begin_s:.1f} s; this "
                "counts as not recorded"
            )
    return notes


def _seconds(intervals_s: np.ndarray) -> float:
    return float((intervals_s[:, 1] - intervals_s[:, 0]).sum())

"""Make a shard from a recording of any source: filter the trials, bin, filter the neurons, split the trials."""

import math
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from data_prep.binning import count_parts
from data_prep.observed import observed_intervals
from data_prep.options import PrepareOptions
from data_prep.plausibility import missing_traces, warnings_of
from data_prep.recording import Recording, SortedNeurons, TrialTable
from data_prep.trials import signed_contrast
from data_prep.windows import Windows, cut_windows, require_memory
from neuromtm import __version__
from neuromtm.data.shard_layout import OWN_TRIAL_COLUMNS
from neuromtm.data.shards import SPLITS, Neurons, Shard, ShardHeader, Trials
from neuromtm.errors import SourceError

BYTES_PER_ENTRY = 4
"""of the counts, while a shard is made: two bytes at worst when they are counted, and two for the kept neurons"""


@dataclass(frozen=True)
class Prepared:
    """A shard, and what was left out of it."""

    shard: Shard
    removed_trials: dict[str, int]
    """criterion -> number of trials that fail it; a trial can fail several criteria"""
    n_table_trials: int
    """number of trials in the source's table"""
    n_source_neurons: int
    notes: tuple[str, ...]


def prepare(recording: Recording, *, options: PrepareOptions, preparation: dict[str, Any]) -> Prepared:
    """Make a session's shard.

    Args:
        recording: the session.
        options: window, bins, filters and splits.
        preparation: every option that decides the content; the shard stores them.

    Raises:
        SourceError: if too few trials, no neurons or no spikes are left, the trial table lacks the event at time 0, or
            the counts do not fit into memory.
    """
    try:
        return _prepare(recording, options, preparation)
    except SourceError as error:
        warnings = [note.removeprefix("warning: ") for note in recording.notes if note.startswith("warning: ")]
        warnings += warnings_of(recording, observed_intervals(recording), event=options.align_event)
        if not warnings:
            raise
        raise SourceError(f"{error} Also: {'; '.join(warnings)}.") from error


def _prepare(recording: Recording, options: PrepareOptions, preparation: dict[str, Any]) -> Prepared:
    windows = cut_windows(recording, options)
    shape = len(windows.index), options.n_bins, recording.n_neurons
    require_memory(BYTES_PER_ENTRY * math.prod(shape), "{} windows of {} bins and {} neurons".format(*shape))
    binning = {"n_bins": options.n_bins, "bin_size_s": options.bin_size_s}
    starts_s = windows.starts_s[windows.index]
    counts = count_parts(recording.parts(), starts_s, n_neurons=recording.n_neurons, **binning)
    splits = {name: np.flatnonzero(windows.split == name).astype(np.int32) for name in SPLITS}
    # of the training trials alone: which neurons there are must not follow from the trials of a test
    rate_hz = _mean_counts(counts, splits["train"]) / options.bin_size_s
    keep = _kept_neurons(recording.neurons, rate_hz, options)
    if not keep.any():
        raise SourceError(
            f"none of {recording.n_neurons} neurons has a label of at least {options.min_label:g} and a firing "
            f"rate of at least {options.min_firing_rate_hz:g} Hz."
        )
    if not keep.all():
        counts = counts[:, :, keep]
    if not counts.any():
        raise SourceError(f"no spikes in the windows of the {len(starts_s)} kept trials.")
    header = ShardHeader(
        eid=recording.eid,
        subject=recording.subject,
        lab=recording.lab,
        source=recording.source,
        bin_size_s=options.bin_size_s,
        window_s=options.window_s,
        align_event=options.align_event,
        created_by=f"neuromtm {__version__}",
        neurons=_neurons(recording.neurons, keep, rate_hz),
        trials=_trials(None if options.continuous else recording.trials, windows),
        splits=splits,
        behaviors=tuple(sorted(windows.behavior)),
        preparation=preparation,
        attributes=recording.attributes,
    )
    shard = Shard(
        header,
        counts=counts,
        behavior={name: values[windows.index] for name, values in windows.behavior.items()},
        true_rates=None if recording.true_rates is None else recording.true_rates[windows.index][:, :, keep],
    )
    warnings = warnings_of(recording, windows.observed_s, event=options.align_event)
    warnings += missing_traces(shard.behavior)
    notes = recording.notes + windows.notes + tuple(f"warning: {warning}" for warning in warnings)
    return Prepared(shard, windows.removed, len(windows.starts_s), recording.n_neurons, notes)


def _mean_counts(counts: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """(neuron,) mean over some trials and all bins, without a copy of the trials."""
    total = sum(counts[trial].sum(0, dtype=np.int64) for trial in trials)
    return total / (len(trials) * counts.shape[1])


def _neurons(neurons: SortedNeurons, keep: np.ndarray, rate_hz: np.ndarray) -> Neurons:
    known = {f.name: values for f in fields(SortedNeurons) if (values := getattr(neurons, f.name)) is not None}
    return Neurons(firing_rate_hz=rate_hz[keep], **{name: values[keep] for name, values in known.items()})


def _kept_neurons(neurons: SortedNeurons, rate_hz: np.ndarray, options: PrepareOptions) -> np.ndarray:
    # a label of NaN means unknown quality: the neuron is kept only if min_label is 0, which keeps all neurons
    good = np.ones(len(rate_hz), bool) if options.min_label == 0 else neurons.label >= options.min_label
    return good & (rate_hz >= options.min_firing_rate_hz)


def _trials(table: TrialTable | None, windows: Windows) -> Trials:
    """The trials of a shard. Windows of continuous time have no values but their times."""
    index = windows.index

    def column(values: np.ndarray | None) -> np.ndarray:
        return np.full(len(index), np.nan) if values is None else np.asarray(values, np.float64)[index]

    own = table or TrialTable(columns={"start": windows.starts_s})
    choice = np.nan_to_num(column(own.choice), nan=0.0)
    return Trials(
        choice=np.sign(choice).astype(np.int8),
        stimulus_onset_s=column(own.stimulus_onset_s),
        contrast=signed_contrast(own.contrast_left, own.contrast_right, own.n_trials)[index],
        block=column(own.block),
        reward=column(own.feedback_type),
        reaction_time_s=column(own.first_movement_s) - column(own.stimulus_onset_s),
        index=index,
        start_s=windows.starts_s[index],
        event_s=windows.event_s[index],
        columns={}
        if table is None
        else {
            # every shard has columns of its own
            f"source_{name}" if name in OWN_TRIAL_COLUMNS else name: values[index]
            for name, values in table.columns.items()
        },
    )

"""Make a shard from a recording of any source: filter the trials, bin, filter the neurons, split the trials."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from data_prep.binning import bin_centres, count_spikes, covers, interpolate
from data_prep.options import PrepareOptions
from data_prep.recording import WHISKER, Recording, SortedNeurons, TrialTable
from data_prep.trials import signed_contrast, trial_criteria
from neuromtm import __version__
from neuromtm.data.shard_layout import OWN_TRIAL_COLUMNS
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials
from neuromtm.data.splits import split_trials
from neuromtm.errors import SourceError


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
        SourceError: if too few trials, no neurons or no spikes are left, or the trial table lacks the event at time 0.
    """
    table = recording.trials
    if table is None:
        raise SourceError("no trials. Give --continuous to cut windows from the whole recorded time.")
    event_s = table.event(options.align_event)
    starts_s = event_s + options.window_s[0]
    binning = {"n_bins": options.n_bins, "bin_size_s": options.bin_size_s}
    centres_s = bin_centres(starts_s, **binning)
    behavior = {name: interpolate(trace.times_s, trace.values, centres_s) for name, trace in recording.traces.items()}
    covered = None
    if WHISKER in behavior:
        # a NaN inside the window is a hole in the trace, so the trace does not cover this trial
        covered = covers(recording.traces[WHISKER].times_s, starts_s, duration_s=options.duration_s)
        covered &= np.isfinite(behavior[WHISKER]).all(1)
    passes = trial_criteria(table, options=options, whisker_covered=covered)
    removed = {criterion: int((~ok).sum()) for criterion, ok in passes.items() if not ok.all()}
    index = np.flatnonzero(np.logical_and.reduce(list(passes.values())))
    if len(index) < 3:
        raise SourceError(
            f"{len(index)} of {table.n_trials} trials left, but the three splits need at least 3 "
            f"(removed: {in_words(removed)})."
        )
    counts = count_spikes(
        recording.spike_times_s, recording.spike_neuron, starts_s[index], n_neurons=recording.n_neurons, **binning
    )
    splits = split_trials(len(index), fractions=options.split_fractions, seed=options.seed, eid=recording.eid)
    # of the training trials alone: which neurons there are must not follow from the trials of a test
    rate_hz = counts[splits["train"]].mean((0, 1)) / options.bin_size_s
    keep = _kept_neurons(recording.neurons, rate_hz, options)
    if not keep.any():
        raise SourceError(
            f"none of {recording.n_neurons} neurons has a label of at least {options.min_label:g} and a firing "
            f"rate of at least {options.min_firing_rate_hz:g} Hz."
        )
    if not counts[:, :, keep].any():
        raise SourceError(f"no spikes in the windows of the {len(index)} kept trials.")
    header = ShardHeader(
        eid=recording.eid,
        subject=recording.subject,
        lab=recording.lab,
        source=recording.source,
        bin_size_s=options.bin_size_s,
        window_s=options.window_s,
        align_event=options.align_event,
        created_by=f"neuromtm {__version__}",
        neurons=Neurons(
            firing_rate_hz=rate_hz[keep],
            **{
                f.name: values[keep]
                for f in fields(SortedNeurons)
                if (values := getattr(recording.neurons, f.name)) is not None
            },
        ),
        trials=_trials(table, index, starts_s=starts_s[index], event_s=event_s[index]),
        splits=splits,
        behaviors=tuple(sorted(behavior)),
        preparation=preparation,
        attributes=recording.attributes,
    )
    shard = Shard(
        header,
        counts=counts[:, :, keep],
        behavior={name: values[index] for name, values in behavior.items()},
        true_rates=None if recording.true_rates is None else recording.true_rates[index][:, :, keep],
    )
    return Prepared(shard, removed, table.n_trials, recording.n_neurons, recording.notes)


def in_words(removed: dict[str, int]) -> str:
    """The removed trials in words, e.g. `reaction time 12, choice unknown 3`."""
    return ", ".join(f"{criterion} {n}" for criterion, n in removed.items()) or "nothing"


def _kept_neurons(neurons: SortedNeurons, rate_hz: np.ndarray, options: PrepareOptions) -> np.ndarray:
    # a label of NaN means unknown quality: the neuron is kept only if min_label is 0, which keeps all neurons
    good = np.ones(len(rate_hz), bool) if options.min_label == 0 else neurons.label >= options.min_label
    return good & (rate_hz >= options.min_firing_rate_hz)


def _trials(table: TrialTable, index: np.ndarray, *, starts_s: np.ndarray, event_s: np.ndarray) -> Trials:
    def column(values: np.ndarray | None) -> np.ndarray:
        return np.full(len(index), np.nan) if values is None else np.asarray(values, np.float64)[index]

    choice = np.nan_to_num(column(table.choice), nan=0.0)
    return Trials(
        choice=np.sign(choice).astype(np.int8),
        stimulus_onset_s=column(table.stimulus_onset_s),
        contrast=signed_contrast(table.contrast_left, table.contrast_right, table.n_trials)[index],
        block=column(table.block),
        reward=column(table.feedback_type),
        reaction_time_s=column(table.first_movement_s) - column(table.stimulus_onset_s),
        index=index,
        start_s=starts_s,
        event_s=event_s,
        columns={
            # the shard has columns of its own
            f"source_{name}" if name in OWN_TRIAL_COLUMNS else name: values[index]
            for name, values in table.columns.items()
        },
    )

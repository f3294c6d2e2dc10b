"""Scores of a decoder's predictions of one behaviour."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from neuromtm.decoding.linear import N_FOLDS
from neuromtm.decoding.targets import Target
from neuromtm.files import table_text
from neuromtm.metrics.behavior import accuracy, further_metrics, majority_class_accuracy, r2, trial_average_r2
from neuromtm.metrics.keys import short_name


@dataclass(frozen=True, kw_only=True)
class DecoderScores:
    """A session's metrics; None where the data defines none."""

    metrics: Mapping[str, float | None]
    """key of metrics.json -> metric"""
    n_trials: int
    """trials with a known value that were scored"""
    n_trials_left_out: int
    """trials of the split that have no known value"""
    n_bins_left_out: int
    """missing entries of a trace in the trials scored"""


def score_decoded(target: Target, predicted: np.ndarray, trials: np.ndarray, train: np.ndarray) -> DecoderScores:
    """Score predictions against a behaviour.

    Args:
        target: the behaviour in all trials of the session.
        predicted: (scored,) classes or (scored, bin) trace, in the order of `trials`.
        trials: (scored,) numbers of the trials scored.
        train: numbers of the training trials, for the chance level.
    """
    true, short = target.values[trials], short_name(target.name)
    if target.is_trace:  # the same entries as those of the linear read-outs
        rare = np.isfinite(target.values[train]).sum(axis=0) < N_FOLDS
        true = np.where(rare, np.nan, true)
    known = ~np.isnan(true)
    if target.is_trace:
        score, measured, chance = "r2", r2(predicted, true), trial_average_r2(target.values[train], true)
    else:
        score, measured = "accuracy", accuracy(predicted, true)
        chance = majority_class_accuracy(target.values[train], true)
    found = {score: measured, **further_metrics(predicted, true, is_trace=target.is_trace), "chance": chance}
    metrics = {f"{short}_{name}": value for name, value in found.items()}
    some = known.any(axis=1) if target.is_trace else known
    if measured is None:  # a chance level is given only beside its metric
        metrics = dict.fromkeys(metrics)
    return DecoderScores(
        metrics=metrics,
        n_trials=int(some.sum()),
        n_trials_left_out=int((~some).sum()),
        n_bins_left_out=int((~known[some]).sum()),
    )


def decoded_text(name: str, sessions: Mapping[str, DecoderScores]) -> str:
    """The text of decoding.csv: one row per session. A field is empty where a metric is undefined.

    Args:
        name: name of the behaviour.
        sessions: eid -> its metrics.
    """
    keys = list(next(iter(sessions.values())).metrics)
    counted = ("n_trials", "n_trials_left_out", "n_bins_left_out")
    rows = [
        [eid, name, *(one.metrics[key] for key in keys), *(getattr(one, count) for count in counted)]
        for eid, one in sessions.items()
    ]
    return table_text(["eid", "target", *keys, *counted], rows)

"""Which trials are kept: pure functions."""

from math import isfinite

import numpy as np

from data_prep.options import PrepareOptions
from data_prep.recording import TrialTable

FEW_TRIALS = 5
"""fewer trials of a kind say nothing about a filter"""
FEW_LEFT = 0.05
"""share of the trials of a kind below which a filter has removed nearly all of them"""


def trial_criteria(
    trials: TrialTable, *, options: PrepareOptions, whisker_covered: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Test every trial against every criterion of the paper.

    If the source lacks the field of a criterion, the criterion is left out. A trial without a go cue passes the limit
    on the delay of the feedback, as in the paper's data: the go cue is not among the events that a trial must have.

    Args:
        trials: the session's trials.
        options: the limits.
        whisker_covered: (trial,) bool, whether the whisker trace covers the trial; None if the session has no trace.

    Returns:
        criterion -> (trial,) bool, True if the trial passes. A criterion is named after what removes a trial.
    """
    passes = {}
    onset_s, movement_s = trials.stimulus_onset_s, trials.first_movement_s
    shortest_s, longest_s = options.reaction_time_s
    # without a limit, a trial without a reaction time passes, too
    if onset_s is not None and movement_s is not None and (isfinite(shortest_s) or isfinite(longest_s)):
        reaction_s = movement_s - onset_s
        passes["reaction time"] = (reaction_s >= shortest_s) & (reaction_s <= longest_s)
    if trials.feedback_s is not None and trials.go_cue_s is not None:
        passes["feedback delay"] = ~(trials.feedback_s - trials.go_cue_s > options.max_feedback_delay_s)
    of_paper = {
        "stimOn_times": onset_s,
        "choice": trials.choice,
        "feedback_times": trials.feedback_s,
        "probabilityLeft": trials.block,
        "firstMovement_times": movement_s,
        "feedbackType": trials.feedback_type,
    }
    required = {} if options.keep_incomplete else of_paper
    for name, values in (required | {options.align_event: trials.event(options.align_event)}).items():
        if values is not None:
            passes[f"no {name}"] = np.isfinite(values)
    if trials.choice is not None and not options.keep_unknown_choice:
        passes["choice unknown"] = trials.choice != 0
    if whisker_covered is not None and not options.keep_incomplete:
        passes["whisker trace"] = whisker_covered
    return passes


def one_sided(trials: TrialTable, index: np.ndarray) -> list[str]:
    """Sentences about kinds of trials of which hardly any is left: choices, and trials rewarded or not.

    If there is one, a last sentence says how many of each kind are left.

    Args:
        trials: the session's trials.
        index: rows of the kept trials.
    """
    sentences, table = [], []
    for name, values in (("choice", trials.choice), ("feedback", trials.feedback_type)):
        for kind in (-1, 1):
            there = 0 if values is None else int((values == kind).sum())
            left = 0 if values is None else int((values[index] == kind).sum())
            table += [f"{name} {kind:+d}: {left} of {there}"] if there else []
            if there >= FEW_TRIALS and left < FEW_LEFT * there:
                sentences.append(f"warning: only {left} of {there} trials with {name} {kind:+d} are left")
    return [*sentences, f"left are {', '.join(table)}"] if sentences else []


def signed_contrast(left: np.ndarray | None, right: np.ndarray | None, n_trials: int) -> np.ndarray:
    """(trial,) right minus left contrast. A side without a stimulus counts as 0. NaN if the source has neither side."""
    if left is None and right is None:
        return np.full(n_trials, np.nan)
    left, right = (np.zeros(n_trials) if side is None else np.nan_to_num(side, nan=0.0) for side in (left, right))
    return right - left

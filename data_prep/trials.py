"""Which trials are kept, and which split each belongs to: pure functions."""

import numpy as np

from data_prep.options import PrepareOptions
from data_prep.recording import EVENTS, TrialTable
from neuromtm.data.shards import SPLITS
from neuromtm.randomness import numpy_generator_for


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
    if onset_s is not None and movement_s is not None:
        shortest_s, longest_s = options.reaction_time_s
        reaction_s = movement_s - onset_s
        passes["reaction time"] = (reaction_s >= shortest_s) & (reaction_s <= longest_s)
    if trials.feedback_s is not None and trials.go_cue_s is not None:
        passes["feedback delay"] = ~(trials.feedback_s - trials.go_cue_s > options.max_feedback_delay_s)
    required = {
        "stimOn_times": onset_s,
        "choice": trials.choice,
        "feedback_times": trials.feedback_s,
        "probabilityLeft": trials.block,
        "firstMovement_times": movement_s,
        "feedbackType": trials.feedback_type,
        options.align_event: getattr(trials, EVENTS[options.align_event]),
    }
    for name, values in required.items():
        if values is not None:
            passes[f"no {name}"] = np.isfinite(values)
    if trials.choice is not None and not options.keep_unknown_choice:
        passes["choice unknown"] = trials.choice != 0
    if whisker_covered is not None:
        passes["whisker trace"] = whisker_covered
    return passes


def signed_contrast(left: np.ndarray | None, right: np.ndarray | None, n_trials: int) -> np.ndarray:
    """(trial,) right minus left contrast. A side without a stimulus counts as 0. NaN if the source has neither side."""
    if left is None and right is None:
        return np.full(n_trials, np.nan)
    left, right = (np.zeros(n_trials) if side is None else np.nan_to_num(side, nan=0.0) for side in (left, right))
    return right - left


def split_trials(n_trials: int, *, fractions: tuple[float, float, float], seed: int, eid: str) -> dict[str, np.ndarray]:
    """Divide trials at random, the same for the same seed and session on every machine.

    Args:
        n_trials: at least 3, so that no split is empty.
        fractions: parts for train, val, test; train takes what rounding leaves.
        seed: of the permutation.
        eid: the session.

    Returns:
        split -> sorted int32 trial numbers, disjoint and together all trials.
    """
    n_val, n_test = (max(1, round(fraction * n_trials)) for fraction in fractions[1:])
    while n_trials - n_val - n_test < 1:
        n_val, n_test = (n_val, n_test - 1) if n_test >= n_val else (n_val - 1, n_test)
    order = numpy_generator_for(seed, "split", eid).permutation(n_trials).astype(np.int32)
    parts = np.split(order, [n_trials - n_val - n_test, n_trials - n_test])
    return {name: np.sort(part) for name, part in zip(SPLITS, parts, strict=True)}

"""How well behaviour is decoded, and what chance gives; None, never NaN, where the data defines no figure."""

import warnings

import numpy as np


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Share of the trials with a known choice that are predicted right; None if no choice is known.

    Args:
        predicted: (trial,) -1 or +1.
        true: (trial,) -1 or +1; 0 unknown.
    """
    known = true != 0
    return float(np.mean(predicted[known] == true[known])) if known.any() else None


def majority_class_accuracy(train_choice: np.ndarray, test_choice: np.ndarray) -> float | None:
    """Chance level of the choice: the test accuracy of always saying the train trials' more frequent choice.

    Args:
        train_choice: (trial,) -1 or +1; 0 unknown.
        test_choice: likewise.

    Returns:
        The accuracy; None if no train or no test trial has a known choice.
    """
    classes, trials = np.unique(train_choice[train_choice != 0], return_counts=True)
    if len(classes) == 0:
        return None
    return accuracy(np.full(len(test_choice), classes[trials.argmax()]), test_choice)


def r2(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Share of a trace's variance, over all trials and bins at once, that the prediction explains.

    The null is one number, the mean of the true entries, so that the trial average already scores above 0.

    Args:
        predicted: (trial, bin) predicted trace.
        true: (trial, bin) trace, NaN where missing; missing entries are left out.

    Returns:
        R2; None if no entry is there or the trace does not vary.
    """
    there = np.isfinite(true) & np.isfinite(predicted)
    predicted, true = predicted[there].astype(np.float64), true[there].astype(np.float64)
    if len(true) == 0 or np.ptp(true) == 0:
        return None
    return float(1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum())


def trial_average_r2(train_trace: np.ndarray, test_trace: np.ndarray) -> float | None:
    """Chance level of a trace: R2 of the train trials' average, the same for every test trial.

    Args:
        train_trace: (trial, bin) trace, NaN where missing.
        test_trace: likewise.
    """
    with warnings.catch_warnings():
        # a bin that no train trial has is NaN in the average, and `r2` leaves it out
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        average = np.nanmean(train_trace, axis=0, dtype=np.float64)
    return r2(np.broadcast_to(average, test_trace.shape), test_trace)

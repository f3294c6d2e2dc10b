"""Scores of decoded behaviour, and their chance levels. A score that the data does not define is None, never NaN."""

import warnings
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np


def accuracy(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Share of the trials with a known class that are predicted correctly; None if no class is known.

    Args:
        predicted: (trial,) classes.
        true: (trial,) classes; NaN where unknown. A class without a train trial cannot be predicted, so a trial of this
            class counts as wrong.
    """
    known = ~np.isnan(true)
    return float(np.mean(predicted[known] == true[known])) if known.any() else None


def balanced_accuracy(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Mean over the classes of the accuracy on the trials of each class: rare and common classes count equally.

    Always predicting the same class gives 1 / (number of classes), whatever the shares of the classes. Source:
    Brodersen et al. 2010.

    Args:
        predicted: (trial,) classes.
        true: (trial,) classes; NaN where unknown.
    """
    classes = np.unique(true[~np.isnan(true)])
    return float(np.mean([np.mean(predicted[true == c] == c) for c in classes])) if len(classes) else None


def majority_class_accuracy(train: np.ndarray, test: np.ndarray) -> float | None:
    """Chance level of classes: the test accuracy of always predicting the most frequent class of the train trials.

    Args:
        train: (trial,) classes; NaN where unknown.
        test: (trial,) classes; NaN where unknown.

    Returns:
        The accuracy; None if no train or no test trial has a known class.
    """
    classes, trials = np.unique(train[~np.isnan(train)], return_counts=True)
    if len(classes) == 0:
        return None
    return accuracy(np.full(len(test), classes[trials.argmax()]), test)


def r2(predicted: np.ndarray, true: np.ndarray) -> float | None:
    """Share of a trace's variance, over all trials and bins at once, that the prediction explains.

    The null is one number, the mean of the true entries. The trial average therefore already scores above 0.

    Args:
        predicted: (trial, bin) predicted trace.
        true: (trial, bin) trace, NaN where missing; missing entries are left out.

    Returns:
        R2; None if no entry is known or the trace does not vary.
    """
    there = np.isfinite(true) & np.isfinite(predicted)
    predicted, true = predicted[there].astype(np.float64), true[there].astype(np.float64)
    if len(true) == 0 or np.ptp(true) == 0:
        return None
    return float(1 - np.square(true - predicted).sum() / np.square(true - true.mean()).sum())


def trial_average_r2(train_trace: np.ndarray, test_trace: np.ndarray) -> float | None:
    """Chance level of a trace: R2 of predicting the train trials' average for every test trial.

    Args:
        train_trace: (trial, bin) trace, NaN where missing.
        test_trace: (trial, bin) trace, NaN where missing.
    """
    with warnings.catch_warnings():
        # a bin that is missing in all train trials is NaN in the average, and `r2` leaves it out
        warnings.filterwarnings("ignore", message="Mean of empty slice", category=RuntimeWarning)
        average = np.nanmean(train_trace, axis=0, dtype=np.float64)
    return r2(np.broadcast_to(average, test_trace.shape), test_trace)


class BehaviorMetric(NamedTuple):
    """A metric of decoded behaviour that stands beside its score."""

    measure: Callable[[np.ndarray, np.ndarray], float | None]
    """what is predicted of the test trials and what is true, as `accuracy` or `r2` take them -> the metric"""
    applies_to: Literal["classes", "traces"]
    title: str
    """of its column in the pages"""
    meaning: str
    """what it means, in a sentence or two"""


FURTHER_METRICS: dict[str, BehaviorMetric] = {
    "balanced_accuracy": BehaviorMetric(
        balanced_accuracy,
        "classes",
        "balanced",
        "Accuracy in the trials of each class, averaged over the classes. Always naming one class "
        "gives 1 / (number of classes), even if that class is frequent.",
    ),
}
"""by their names in the keys of metrics.json; the scores themselves are `accuracy` and `r2`"""


def further_metrics(predicted: np.ndarray, true: np.ndarray, *, is_trace: bool) -> dict[str, float | None]:
    """All of `FURTHER_METRICS` that apply to a behaviour.

    Args:
        predicted: (trial,) classes or (trial, bin) trace.
        true: likewise; NaN where unknown.
        is_trace: which of the two.
    """
    kind = "traces" if is_trace else "classes"
    return {
        name: metric.measure(predicted, true) for name, metric in FURTHER_METRICS.items() if metric.applies_to == kind
    }

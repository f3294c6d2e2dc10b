"""Linear read-outs of behaviour: from the features of a whole trial to its class, or to every bin of a trace.

The features of each bin are predicted rates, hidden states or spike counts. A trial has many more features (bins x
features) than there are trials. By the representer theorem the weights of an L2-penalised linear model lie in the span
of the train trials. The features are therefore first rotated into that span. It has at most one dimension per train
trial, the predictions stay the same, and no number of dimensions has to be chosen.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from einops import rearrange
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import StratifiedKFold

from neuromtm.metrics.absent import Absent

N_FOLDS = 5
"""folds of the cross-validation that chooses the logistic read-out's strength; nothing is fitted to fewer trials"""

# The projection gives a train trial a squared norm of 1 on average, so one grid serves every session
CLASS_STRENGTHS = tuple(np.logspace(-1, 4, 6))
"""inverse penalties C tried for classes"""
TRACE_STRENGTHS = tuple(np.logspace(-5, 2, 15))
"""penalties alpha tried for a trace"""


class Splits(NamedTuple):
    """The same quantity of a session's train, validation and test trials; the first axis is trials."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Standard:
    """Features on a common scale: a train trial has a squared norm of 1 on average.

    Each feature of each bin is centred. Each feature is scaled as a whole, so that a bin in which it hardly varies
    weighs less than a bin in which it varies much.
    """

    mean: np.ndarray
    """(bin, feature) of the train trials"""
    scale: np.ndarray
    """(feature,) factor that multiplies the centred features; 0 for a feature that does not vary"""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """(trial, bin, feature) float32, from features of that shape."""
        standard = np.asarray(features, np.float32) - self.mean
        standard *= self.scale
        return standard


@dataclass(frozen=True)
class Projection:
    """Features -> their components in the span of the standardised train trials."""

    standard: Standard
    basis: np.ndarray
    """(bin * feature, component) orthonormal"""
    train: np.ndarray
    """(trial, component) float64, the train trials"""

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Project trials.

        Args:
            features: (trial, bin, feature), such as a neuron's expected spikes per bin.

        Returns:
            (trial, component) float64.
        """
        return (_flat(self.standard(features)) @ self.basis).astype(np.float64)


@dataclass(frozen=True)
class ClassReadout:
    """L2 logistic regression from a whole trial to its class."""

    classes: np.ndarray
    """(class,) the values that can be predicted: those of the train trials"""
    model: LogisticRegression
    """from components to places in `classes`"""

    @property
    def strength(self) -> float:
        """The inverse penalty C that was chosen."""
        return float(self.model.C)

    def predict(self, components: np.ndarray) -> np.ndarray:
        """(trial,) classes, from (trial, component)."""
        return self.classes[self.model.predict(components)]


@dataclass(frozen=True)
class TraceReadout:
    """Ridge regression from a whole trial to every bin of a trace."""

    models: tuple[tuple[np.ndarray, Ridge], ...]
    """(bin',) bins, and the regression that predicts them; bins that are known in the same train trials share one"""
    n_bins: int

    @property
    def strength(self) -> float:
        """The penalty alpha that was chosen, the same for all bins."""
        return float(self.models[0][1].alpha)

    def predict(self, components: np.ndarray) -> np.ndarray:
        """(trial, bin) trace, from (trial, component); NaN in bins that no train trial has."""
        trace = np.full((len(components), self.n_bins), np.nan)
        for bins, model in self.models:
            trace[:, bins] = model.predict(components).reshape(len(components), -1)
        return trace


def standardise(features: np.ndarray) -> Standard:
    """The mean and scale of train trials.

    Args:
        features: (trial, bin, feature) of all train trials.
    """
    features = np.asarray(features, np.float32)
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean([np.square(trial - mean).mean(axis=0) for trial in features], axis=0))
    # a feature that varies less than single precision resolves is a rounded constant
    varies = deviation > 1e-6 * np.abs(mean).max(axis=0)
    n_features = mean.shape[0] * max(int(varies.sum()), 1)
    return Standard(mean, np.divide(1 / np.sqrt(n_features), deviation, out=np.zeros_like(deviation), where=varies))


def project(features: np.ndarray) -> Projection:
    """The projection onto the span of the train trials, without loss for an L2-penalised linear read-out.

    Args:
        features: (trial, bin, feature) of all train trials.
    """
    standard = standardise(features)
    flat = _flat(standard(features))
    # eigenvectors of the trials' inner products, far cheaper than an SVD of the features; in double
    # precision, since squaring doubles the digits that a weak component needs
    blocks = (block.astype(np.float64) for block in np.array_split(flat, 16, axis=1))
    variances, vectors = np.linalg.eigh(sum(block @ block.T for block in blocks))
    spanned = variances > 1e-8 * max(variances[-1], np.finfo(np.float32).tiny)
    lengths = np.sqrt(variances[spanned])
    basis = flat.T @ (vectors[:, spanned] / lengths).astype(np.float32)
    return Projection(standard, basis, train=vectors[:, spanned] * lengths)


def _flat(standard: np.ndarray) -> np.ndarray:
    return rearrange(standard, "trial bin feature -> trial (bin feature)")


def fit_classes(components: np.ndarray, labels: np.ndarray) -> ClassReadout | Absent:
    """Fit a read-out of classes. Its strength is that of the least cross-validated log loss.

    Args:
        components: (trial, component) of the train trials.
        labels: (trial,) their classes; each class has `N_FOLDS` trials or more. Trials of NaN (unknown) are left out.
    """
    known = ~np.isnan(labels)
    classes, number = np.unique(labels[known], return_inverse=True)
    if len(classes) == 0:
        return Absent(f"no class is known in {N_FOLDS} train trials")
    if len(classes) == 1:
        return Absent(f"only one class, {classes[0]:g}, has {N_FOLDS} train trials")
    if components.shape[1] == 0:
        return Absent("the features are the same in every train trial")
    costs = [_cross_validated_cost(components[known], number, strength) for strength in CLASS_STRENGTHS]
    model = LogisticRegression(C=CLASS_STRENGTHS[int(np.argmin(costs))], tol=1e-8, max_iter=5000)
    return ClassReadout(classes, model.fit(components[known], number))


def _cross_validated_cost(components: np.ndarray, number: np.ndarray, strength: float) -> float:
    """The log loss of left-out folds, in nats.

    `GridSearchCV` gives the same in twice the time: half of it goes into checks of what is known here.
    """
    # shuffled, as the splits are; the seed is fixed, so that the folds are part of the method
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(components, number)
    model = LogisticRegression(C=strength, tol=1e-5, max_iter=2000)  # precise enough to tell strengths apart
    costs, smallest = [], np.finfo(np.float64).eps
    for train, left_out in folds:
        probability = model.fit(components[train], number[train]).predict_proba(components[left_out])
        costs.append(-np.log(probability[np.arange(len(left_out)), number[left_out]].clip(min=smallest)).mean())
    return float(np.mean(costs))


def fit_trace(components: np.ndarray, trace: np.ndarray) -> TraceReadout | Absent:
    """Fit a trace read-out. One strength serves all bins: that of the least leave-one-out squared error.

    Args:
        components: (trial, component) of the train trials.
        trace: (trial, bin) their trace. Each bin is fitted on the trials in which it is known (not NaN). A bin that is
            known in any trial is known in `N_FOLDS` or more.
    """
    trace = np.asarray(trace, np.float64)
    patterns, number = np.unique(np.isfinite(trace), axis=1, return_inverse=True)
    # bins that are known in the same trials share a fit; if nothing is missing, there is one fit
    groups = [(rows, np.flatnonzero(number.ravel() == i)) for i, rows in enumerate(patterns.T) if rows.any()]
    if not groups:
        return Absent(f"no bin is known in {N_FOLDS} train trials")
    if components.shape[1] == 0:
        return Absent("the features are the same in every train trial")
    errors = np.zeros(len(TRACE_STRENGTHS))
    for rows, bins in groups:
        # without `cv` scikit-learn leaves out one trial at a time, in closed form
        ridge = RidgeCV(TRACE_STRENGTHS, store_cv_results=True).fit(components[rows], trace[np.ix_(rows, bins)])
        errors += ridge.cv_results_.reshape(-1, len(TRACE_STRENGTHS)).sum(axis=0)
    alpha = TRACE_STRENGTHS[int(errors.argmin())]
    models = [(bins, Ridge(alpha).fit(components[rows], trace[np.ix_(rows, bins)])) for rows, bins in groups]
    return TraceReadout(tuple(models), trace.shape[1])

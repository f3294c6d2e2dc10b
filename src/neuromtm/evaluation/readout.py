"""Behaviour read linearly from predicted rates: a whole trial -> its choice, and -> every bin of a trace.

A trial has bins x neurons features, many more than there are trials. By the representer theorem the weights
of an L2-penalised linear model lie in the span of the train trials, so the features are first rotated into
that span: at most one dimension a train trial, the same predictions, and no dimension to choose.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from einops import rearrange
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from threadpoolctl import threadpool_limits

from neuromtm.metrics.behavior import accuracy, majority_class_accuracy, r2, trial_average_r2

WHISKER = "whisker_motion_energy"
"""name of the trace that the protocol decodes"""

N_FOLDS = 5
"""folds of the cross-validation that chooses the logistic read-out's strength"""

# The projection gives a train trial a squared norm of 1 on average, so one grid serves every session
CHOICE_STRENGTHS = tuple(np.logspace(-1, 4, 6))
"""inverse penalties C tried for the choice"""
TRACE_STRENGTHS = tuple(np.logspace(-5, 2, 15))
"""penalties alpha tried for a trace"""


class Splits(NamedTuple):
    """The same quantity of a session's train, validation and test trials; the first axis is trials."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Absent:
    """A figure that the data does not allow, and why."""

    reason: str


@dataclass(frozen=True)
class Projection:
    """Rates -> their components in the train trials' span, standardised by the train trials.

    Each feature (bin, neuron) is centred; each neuron is scaled as a whole, so that a bin in which it hardly
    varies does not weigh as much as one in which it does.
    """

    mean: np.ndarray
    """(bin, neuron) of the train trials"""
    scale: np.ndarray
    """(neuron,) by which centred rates are multiplied; 0 for a neuron whose rates do not vary"""
    basis: np.ndarray
    """(bin * neuron, component) orthonormal"""
    train: np.ndarray
    """(trial, component) float64, the train trials"""

    def __call__(self, rates: np.ndarray) -> np.ndarray:
        """Project trials.

        Args:
            rates: (trial, bin, neuron) expected spikes per bin.

        Returns:
            (trial, component) float64.
        """
        return (_standardise(rates, self.mean, self.scale) @ self.basis).astype(np.float64)


@dataclass(frozen=True)
class ChoiceReadout:
    """L2 logistic regression from a whole trial to its choice."""

    projection: Projection
    model: LogisticRegression

    def predict(self, rates: np.ndarray) -> np.ndarray:
        """(trial,) choice, -1 or +1, from (trial, bin, neuron) rates."""
        return self.model.predict(self.projection(rates))


@dataclass(frozen=True)
class TraceReadout:
    """Ridge regression from a whole trial to every bin of a trace."""

    projection: Projection
    model: RidgeCV

    def predict(self, rates: np.ndarray) -> np.ndarray:
        """(trial, bin) trace from (trial, bin, neuron) rates."""
        return self.model.predict(self.projection(rates))


@dataclass(frozen=True, kw_only=True)
class BehaviorScores:
    """A session's decoding on test trials; None where the data does not allow a figure.

    A chance level stands only beside its figure, so that their means are over the same sessions.
    """

    choice_accuracy: float | None = None
    choice_chance: float | None = None
    whisker_r2: float | None = None
    whisker_chance: float | None = None
    choice_prompt: str | None = None
    """the prompt whose rates decode the choice best on validation"""
    whisker_prompt: str | None = None
    choice_absent: str | None = None
    """why there is no choice accuracy"""
    whisker_absent: str | None = None


def project(rates: np.ndarray) -> Projection:
    """The projection onto the span of the train trials, without loss for an L2-penalised linear read-out.

    Args:
        rates: (trial, bin, neuron) expected spikes per bin of all train trials.
    """
    rates = np.asarray(rates, np.float32)
    mean = rates.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.mean([np.square(trial - mean).mean(axis=0) for trial in rates], axis=0))
    # what varies less than single precision resolves is a constant rate and its rounding
    varies = deviation > 1e-6 * np.abs(mean).max(axis=0)
    n_features = mean.shape[0] * max(int(varies.sum()), 1)
    scale = np.divide(1 / np.sqrt(n_features), deviation, out=np.zeros_like(deviation), where=varies)
    standard = _standardise(rates, mean, scale)
    # eigenvectors of the trials' inner products, far cheaper than an SVD of the features; in double
    # precision, since squaring doubles the digits that a weak component needs
    blocks = (block.astype(np.float64) for block in np.array_split(standard, 16, axis=1))
    variances, vectors = np.linalg.eigh(sum(block @ block.T for block in blocks))
    spanned = variances > 1e-8 * max(variances[-1], np.finfo(np.float32).tiny)
    lengths = np.sqrt(variances[spanned])
    basis = standard.T @ (vectors[:, spanned] / lengths).astype(np.float32)
    return Projection(mean, scale, basis, train=vectors[:, spanned] * lengths)


def _standardise(rates: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """(trial, bin * neuron) float32."""
    standard = np.asarray(rates, np.float32) - mean
    standard *= scale
    return rearrange(standard, "trial bin neuron -> trial (bin neuron)")


def fit_choice(projection: Projection, choice: np.ndarray) -> ChoiceReadout | Absent:
    """Fit the choice read-out; its strength is the one of least cross-validated log loss.

    Args:
        projection: of the train trials.
        choice: (trial,) their choices, -1 or +1; trials with 0 (unknown) are left out.
    """
    choice = np.asarray(choice)
    known = choice != 0
    classes, trials = np.unique(choice[known], return_counts=True)
    if len(classes) < 2:
        return Absent("the train trials do not have both choices")
    if trials.min() < N_FOLDS:
        return Absent(f"a choice has {trials.min()} train trials, fewer than the {N_FOLDS} of cross-validation")
    if projection.train.shape[1] == 0:
        return Absent("the rates are the same in every train trial")
    search = GridSearchCV(
        LogisticRegression(tol=1e-8, max_iter=2000),
        {"C": CHOICE_STRENGTHS},
        scoring="neg_log_loss",
        # interleaved like the splits themselves; the fixed seed makes it part of the method
        cv=StratifiedKFold(N_FOLDS, shuffle=True, random_state=0),
    )
    return ChoiceReadout(projection, search.fit(projection.train[known], choice[known]).best_estimator_)


def fit_trace(projection: Projection, trace: np.ndarray) -> TraceReadout | Absent:
    """Fit a trace read-out; its strength, one for all bins, is the one of least leave-one-out squared error.

    Args:
        projection: of the train trials.
        trace: (trial, bin) their trace; trials with a missing entry (NaN) are left out.
    """
    trace = np.asarray(trace, np.float64)
    whole = np.isfinite(trace).all(axis=1)
    if whole.sum() < N_FOLDS:
        return Absent(f"{whole.sum()} train trials have a whole trace, fewer than {N_FOLDS}")
    if projection.train.shape[1] == 0:
        return Absent("the rates are the same in every train trial")
    # without `cv` scikit-learn leaves out one trial at a time, in closed form
    return TraceReadout(projection, RidgeCV(TRACE_STRENGTHS).fit(projection.train[whole], trace[whole]))


def decode(
    rates_of: Callable[[str], Splits],
    *,
    prompts: Sequence[str],
    choice: Splits | None = None,
    whisker: Splits | None = None,
) -> BehaviorScores:
    """Decode behaviour from the rates under each prompt; report the test figures of the best on validation.

    One prompt's rates are held at a time.

    Args:
        rates_of: prompt -> (trial, bin, neuron) expected spikes per bin of each split, nothing hidden.
        prompts: the prompts to try; the first of equals is taken, so also if there is nothing to validate on.
        choice: (trial,) -1 or +1, 0 unknown; None where the session has none.
        whisker: (trial, bin) motion energy, NaN where missing; None where the session has none.
    """
    tried = [_try_prompt(prompt, rates_of(prompt), choice, whisker) for prompt in prompts]
    best_choice = _best([one.choice for one in tried])
    best_whisker = _best([one.whisker for one in tried])
    return BehaviorScores(
        choice_accuracy=best_choice.test,
        choice_chance=None if best_choice.test is None else majority_class_accuracy(choice.train, choice.test),
        whisker_r2=best_whisker.test,
        whisker_chance=None if best_whisker.test is None else trial_average_r2(whisker.train, whisker.test),
        choice_prompt=best_choice.prompt,
        whisker_prompt=best_whisker.prompt,
        choice_absent=best_choice.absent,
        whisker_absent=best_whisker.absent,
    )


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """What one prompt gives."""

    prompt: str | None = None
    validation: float = -np.inf
    test: float | None = None
    absent: str | None = None


class _TriedPrompt(NamedTuple):
    choice: _Tried
    whisker: _Tried


# products this small gain nothing from threads, and lose several times over beside other busy processes
@threadpool_limits.wrap(limits=1)
def _try_prompt(prompt: str, rates: Splits, choice: Splits | None, whisker: Splits | None) -> _TriedPrompt:
    if len(rates.train) == 0:
        reason = "the session has no train trials"
    elif not all(np.isfinite(part).all() for part in rates):
        reason = "the predicted rates are not finite"
    else:
        projection = project(rates.train)
        components = Splits(projection.train, projection(rates.val), projection(rates.test))
        return _TriedPrompt(
            _try(prompt, fit_choice, projection, components, choice, accuracy),
            _try(prompt, fit_trace, projection, components, whisker, r2),
        )
    return _TriedPrompt(_Tried(absent=reason), _Tried(absent=reason))


def _try(
    prompt: str,
    fit: Callable[[Projection, np.ndarray], ChoiceReadout | TraceReadout | Absent],
    projection: Projection,
    components: Splits,
    labels: Splits | None,
    score: Callable[[np.ndarray, np.ndarray], float | None],
) -> _Tried:
    if labels is None:
        return _Tried(absent="the session has no such label")
    readout = fit(projection, labels.train)
    if isinstance(readout, Absent):
        return _Tried(absent=readout.reason)
    # scikit-learn refuses to predict no trials
    test = score(readout.model.predict(components.test), labels.test) if len(labels.test) else None
    if test is None:
        return _Tried(absent="no test trial has a label, or a trace that varies")
    validation = score(readout.model.predict(components.val), labels.val) if len(labels.val) else None
    return _Tried(prompt=prompt, validation=-np.inf if validation is None else validation, test=test)


def _best(tried: Sequence[_Tried]) -> _Tried:
    return max(tried, key=lambda one: (one.test is not None, one.validation))

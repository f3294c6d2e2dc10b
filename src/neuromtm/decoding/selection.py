"""Decoding of behaviour: a session's labels, the read-outs that were tried on them, and which read-out counts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from neuromtm.decoding.linear import (
    N_FOLDS,
    ClassReadout,
    Splits,
    TraceReadout,
    fit_classes,
    fit_trace,
    project,
)
from neuromtm.decoding.targets import Target
from neuromtm.files import table_text
from neuromtm.metrics.absent import Absent
from neuromtm.metrics.behavior import (
    FURTHER_METRICS,
    accuracy,
    further_metrics,
    majority_class_accuracy,
    r2,
    trial_average_r2,
)
from neuromtm.metrics.keys import short_name

WHISKER = "whisker_motion_energy"
DEFAULT_TARGETS = ("choice", WHISKER)
"""what the protocol decodes"""

Features = Literal["rates", "states", "counts", "counts_rrr", "counts_rrr_all_sessions"]
"""What behaviour is read from: predicted rates, hidden states or spike counts. Counts are read by a full linear
read-out, by one of low rank, or by one of low rank that all sessions share."""
OF_THE_MODEL: tuple[Features, ...] = ("rates", "states")
FULL_RANK: tuple[Features, ...] = ("counts",)
REDUCED_RANK: tuple[Features, ...] = ("counts_rrr", "counts_rrr_all_sessions")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A behaviour of one session as read-outs use it."""

    name: str
    is_trace: bool
    values: Splits
    """(trial,) classes or (trial, bin) trace; NaN where unknown, or known in too few train trials to be used"""
    n_trials_left_out: int
    """trials of all three splits of which nothing is known or used"""
    n_bins_left_out: int
    """missing or unused bins of the other trials"""

    @property
    def n_trials(self) -> tuple[int, int, int]:
        """Trials used of each split."""
        train, val, test = (int(_used(values).sum()) for values in self.values)
        return train, val, test

    @property
    def chance(self) -> float | None:
        """The score of a guess without neurons: the majority class, or the average over the train trials."""
        level = trial_average_r2 if self.is_trace else majority_class_accuracy
        return level(self.values.train, self.values.test)


def labels_of(target: Target, trials: Sequence[np.ndarray]) -> Labels:
    """A behaviour in a session's splits, without the classes and bins that cannot be learned.

    A class that has fewer train trials than cross-validation has folds is left out of the fit. If its trials are
    scored, they count as wrong, and so do trials of a class that no train trial has. A bin of a trace that is known in
    so few train trials is left out of the fit and of the scores.

    Args:
        target: the behaviour of all trials.
        trials: the trial numbers of the train, validation and test splits; another split may be scored in place of
            test.
    """
    parts = [np.array(target.values[numbers], np.float64) for numbers in trials]
    train = parts[0]
    if target.is_trace:
        rare = np.isfinite(train).sum(axis=0) < N_FOLDS
        for part in parts:
            part[:, rare] = np.nan
    else:
        classes, n_trials = np.unique(train[~np.isnan(train)], return_counts=True)
        train[np.isin(train, classes[n_trials < N_FOLDS])] = np.nan
    used = [_used(part) for part in parts]
    return Labels(
        name=target.name,
        is_trace=target.is_trace,
        values=Splits(*parts),
        n_trials_left_out=sum(int((~of).sum()) for of in used),
        n_bins_left_out=sum(int(np.isnan(part[of]).sum()) for part, of in zip(parts, used, strict=True)),
    )


def _used(values: np.ndarray) -> np.ndarray:
    """(trial,) bool, true where something is known of the trial."""
    if not values.size:
        return np.zeros(len(values), bool)
    return np.asarray(~np.isnan(values.reshape(len(values), -1)).all(axis=1))


@dataclass(frozen=True, kw_only=True)
class Tried:
    """A read-out that was fitted, and its scores: R2 of a trace, else accuracy."""

    features: Features
    prompt: str | None = None
    """prompt under which a model gave the features; None for counts"""
    smoothing_s: float | None = None
    """standard deviation of the Gaussian that smoothed the counts; None for the model's features"""
    rank: int | None = None
    """None if it is not restricted"""
    strength: float
    """C of a logistic read-out, alpha of a ridge; for a reduced-rank one, its penalty as a share of the strongest"""
    validation: float | None
    """None where no validation trial has a label"""
    test: float
    further: Mapping[str, float | None] = field(default_factory=dict)
    """those of `FURTHER_METRICS` that apply, for the test trials"""


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """All read-outs that were tried for one behaviour of one session."""

    eid: str
    labels: Labels
    tried: tuple[Tried | Absent, ...]

    @property
    def absent(self) -> str | None:
        """Why the model's features, which are tried first, gave no score; None if they gave one."""
        if self.best(OF_THE_MODEL) is not None:
            return None
        return next((one.reason for one in self.tried if isinstance(one, Absent)), "nothing was tried")

    def best(self, features: Sequence[Features]) -> Tried | None:
        """The best of these features on validation. Of equal ones, or if none has a score, the first one counts."""
        tried = [one for one in self.tried if isinstance(one, Tried) and one.features in features]
        return max(tried, key=lambda one: -np.inf if one.validation is None else one.validation, default=None)

    def metrics(self) -> dict[str, float]:
        """The session's metrics by their keys in metrics.json; empty if the model's features gave none.

        A chance level is given only beside its metric, so that the means of both are over the same sessions.
        """
        model, short = self.best(OF_THE_MODEL), short_name(self.labels.name)
        if model is None:
            return {}
        score = "r2" if self.labels.is_trace else "accuracy"
        metrics = {score: model.test, **model.further, "chance": self.labels.chance}
        for name, features in (("counts", FULL_RANK), ("rrr", REDUCED_RANK)):
            baseline = self.best(features)
            metrics[f"{score}_{name}"] = None if baseline is None else baseline.test
        return {f"{short}_{name}": value for name, value in metrics.items() if value is not None}


def behavior_metrics(decoded: Iterable[Decoded]) -> dict[str, float]:
    """A session's metrics of all its behaviours."""
    return {key: value for one in decoded for key, value in one.metrics().items()}


class Candidate(NamedTuple):
    """Features that behaviour may be read from."""

    features: Features
    values: Splits
    """(trial, bin, feature)"""
    prompt: str | None = None
    smoothing_s: float | None = None


def decode(eid: str, labels: Sequence[Labels], candidates: Iterable[Candidate]) -> list[Decoded]:
    """Fit and score a linear read-out of every behaviour from every candidate.

    Args:
        eid: the session.
        labels: its behaviours.
        candidates: features to try; of equally good ones the first counts. Only one is held in memory at a time.

    Returns:
        What was tried, one entry per behaviour.
    """
    tried = {one.name: [] for one in labels}
    for candidate in candidates if labels else ():
        for one, result in zip(labels, _try(candidate, labels), strict=True):
            tried[one.name].append(result)
    return [Decoded(eid=eid, labels=one, tried=tuple(tried[one.name])) for one in labels]


# products so small gain nothing from threads, and become several times slower beside other busy processes
@threadpool_limits.wrap(limits=1)
def _try(candidate: Candidate, labels: Sequence[Labels]) -> list[Tried | Absent]:
    values = candidate.values
    if len(values.train) == 0:
        return [Absent("the session has no train trials")] * len(labels)
    if not all(np.isfinite(part).all() for part in values):
        return [Absent(f"the model's {candidate.features} are not finite")] * len(labels)
    projection = project(values.train)
    components = Splits(projection.train, projection(values.val), projection(values.test))
    return [_fit_and_score(candidate, components, one) for one in labels]


def _fit_and_score(candidate: Candidate, components: Splits, labels: Labels) -> Tried | Absent:
    fit = fit_trace if labels.is_trace else fit_classes
    readout = fit(components.train, labels.values.train)
    if isinstance(readout, Absent):
        return readout
    return score_readout(
        labels,
        validation=_predict(readout, components.val, labels.values.val),
        test=_predict(readout, components.test, labels.values.test),
        features=candidate.features,
        prompt=candidate.prompt,
        smoothing_s=candidate.smoothing_s,
        strength=readout.strength,
    )


def _predict(readout: ClassReadout | TraceReadout, components: np.ndarray, labels: np.ndarray) -> np.ndarray:
    # scikit-learn refuses to predict no trials
    return readout.predict(components) if len(components) else labels


def score_readout(labels: Labels, *, validation: np.ndarray, test: np.ndarray, **about: Any) -> Tried | Absent:
    """Score predictions.

    Args:
        labels: the true values.
        validation: (trial,) predicted classes or (trial, bin) trace of the validation trials.
        test: (trial,) predicted classes or (trial, bin) trace of the test trials.
        about: the other fields of `Tried`.
    """
    measure = r2 if labels.is_trace else accuracy
    found = measure(test, labels.values.test)
    if found is None:
        return Absent("no test trial has a label, or a trace that varies")
    return Tried(
        validation=measure(validation, labels.values.val),
        test=found,
        further=further_metrics(test, labels.values.test, is_trace=labels.is_trace),
        **about,
    )


_FIRST = (
    *("eid", "target", "features", "prompt", "smoothing_s", "rank", "strength", "score", "validation", "test"),
    *("balanced_accuracy", "chance", "chosen", "n_train", "n_val", "n_test", "n_trials_left_out", "n_bins_left_out"),
)
BEHAVIOR_COLUMNS = tuple(dict.fromkeys((*_FIRST, *FURTHER_METRICS)))
"""of behavior.csv; new ones come at the end. `score` names the metric of `validation`, `test`, `chance`; `chosen` is 1
in rows of metrics.json."""


def behavior_text(decoded: Sequence[Decoded]) -> str:
    """The text of behavior.csv: a row for each read-out that was tried. A field is empty where it is undefined."""
    rows = []
    for one in decoded:
        chosen = [one.best(features) for features in (OF_THE_MODEL, FULL_RANK, REDUCED_RANK)]
        for tried in one.tried:
            if isinstance(tried, Tried):
                row = _row(one.labels, tried) | {"eid": one.eid, "chosen": int(any(tried is best for best in chosen))}
                rows.append([row[name] for name in BEHAVIOR_COLUMNS])
    return table_text(BEHAVIOR_COLUMNS, rows)


def _row(labels: Labels, tried: Tried) -> dict[str, object]:
    row = {name: getattr(tried, name) for name in BEHAVIOR_COLUMNS if hasattr(tried, name)}
    row |= {name: tried.further.get(name) for name in FURTHER_METRICS}
    row |= {"target": labels.name, "score": "r2" if labels.is_trace else "accuracy", "chance": labels.chance}
    row |= zip(("n_train", "n_val", "n_test"), labels.n_trials, strict=True)
    return row | {"n_trials_left_out": labels.n_trials_left_out, "n_bins_left_out": labels.n_bins_left_out}

"""Which settings a baseline gets: for each task, those that predict the validation trials at the least cost."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from neuromtm.baselines.kind import AHEAD_WIDTHS_S, BESIDE_WIDTHS_S, Baseline, SessionCounts
from neuromtm.baselines.prediction import FromOthers, Predictor
from neuromtm.baselines.psth import FLOORS
from neuromtm.baselines.regression import Regression
from neuromtm.baselines.views import Design, Problem, design
from neuromtm.evaluation.tasks import Task

Candidates = Callable[[Design, Sequence[Problem]], Iterator[Regression]]
"""a regression: train trials and the problems of a task -> the weights under each setting"""


class Chosen(NamedTuple):
    """A predictor under the best of its settings."""

    predictor: Predictor
    cost: float
    """nats per spike on validation trials, mean over neurons"""


def from_regression(
    candidates: Candidates, *, weak_to_strong: bool = True, widths_of: Candidates | None = None
) -> Baseline:
    """Make a baseline of a regression on the visible neurons.

    Args:
        candidates: the regression.
        weak_to_strong: whether its settings go from weak to strong in one direction. The first one that does not lower
            the cost then ends the search; otherwise all are tried.
        widths_of: a quicker regression, which chooses the smoothing; `candidates` is fitted at that smoothing only.
    """

    def fit(plain: Mapping[Task, Predictor], session: SessionCounts) -> dict[Task, Predictor]:
        widths = {task: AHEAD_WIDTHS_S if task == "forward_prediction" else BESIDE_WIDTHS_S for task in plain}
        if widths_of is not None:
            guide = _from_others(widths_of, plain, widths, session, weak_to_strong=True)
            widths = {task: (predictor.setting["width_s"],) for task, predictor in guide.items()}
        return _from_others(candidates, plain, widths, session, weak_to_strong=weak_to_strong)

    return Baseline("other neurons", fit)


def _from_others(
    candidates: Candidates,
    plain: Mapping[Task, Predictor],
    widths: Mapping[Task, Sequence[float]],
    session: SessionCounts,
    *,
    weak_to_strong: bool,
) -> dict[Task, Predictor]:
    """Search the settings, widths in the outer loop. A width that does not lower the cost ends a task's search."""
    best: dict[Task, Chosen] = {}
    views: dict[tuple[bool, float], list[Task]] = {}
    for task, own in widths.items():
        for width_s in own:
            views.setdefault((task == "forward_prediction", width_s), []).append(task)
    done: set[Task] = set()
    for (_, width_s), tasks in views.items():
        open_tasks = [task for task in tasks if task not in done]
        if not open_tasks:
            continue
        # one reading of the trials serves all tasks that read them alike
        samples = design(session.view(tasks[0], width_s), session.train, plain[tasks[0]].average)
        for task in open_tasks:
            tried = _predictors(candidates, plain[task], samples, width_s)
            chosen = _first_peak(tried, session.val) if weak_to_strong else least_cost(tried, session.val)
            if chosen is not None and (task not in best or chosen.cost < best[task].cost):
                best[task] = chosen
            elif task in best:
                done.add(task)
    return {task: best[task].predictor if task in best else plain[task] for task in plain}


def _predictors(candidates: Candidates, plain: Predictor, samples: Design, width_s: float) -> Iterator[FromOthers]:
    for setting, weights in candidates(samples, plain.problems):
        setting = plain.setting | {"width_s": width_s} | setting
        yield FromOthers(**fields_of(plain, setting), reader=samples.reader, weights=weights)


def fields_of(plain: Predictor, setting: dict[str, float]) -> dict[str, Any]:
    """The fields of a task's trial average with another setting, for a predictor that starts from it."""
    return {"problems": plain.problems, "bins": plain.bins, "average": plain.average, "floor": plain.floor} | {
        "setting": setting
    }


def least_cost(tried: Iterable[Predictor], val: np.ndarray) -> Chosen | None:
    """The first of the predictors of least cost on validation trials; None if there are no predictors.

    Args:
        tried: predictors; each gets the floor that suits it best.
        val: (trial, bin, neuron) float32 spikes per bin.
    """
    return min((_with_best_floor(one, val) for one in tried), key=lambda one: one.cost, default=None)


def _first_peak(tried: Iterable[Predictor], val: np.ndarray) -> Chosen | None:
    """The last predictor before the first one that does not lower the cost; None if there are no predictors."""
    best = None
    for one in tried:
        chosen = _with_best_floor(one, val)
        if best is not None and not chosen.cost < best.cost:
            break
        best = chosen
    return best


def _with_best_floor(predictor: Predictor, val: np.ndarray) -> Chosen:
    average = predictor.average
    costs: dict[float, list[np.ndarray]] = {floor: [] for floor in FLOORS}
    for place, problem in enumerate(predictor.problems):
        unbounded, counts = predictor.unbounded(place, val), val[:, predictor.bins][..., problem.hidden]
        for floor, own in costs.items():
            rates = average.bounded(unbounded, floor=floor, neurons=problem.hidden)
            own.append(average.cost(rates, counts, neurons=problem.hidden))
    means: Iterable[tuple[float, float]] = ((float(np.concatenate(own).mean()), floor) for floor, own in costs.items())
    cost, floor = min(means)
    return Chosen(replace(predictor, floor=floor, setting=predictor.setting | {"floor": floor}), cost)

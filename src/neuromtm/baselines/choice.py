"""Which settings a baseline gets: those that predict the validation trials at least cost, task by task."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np

from neuromtm.baselines.glm import poisson
from neuromtm.baselines.prediction import FromOthers, FromOwnPast, Predictor
from neuromtm.baselines.psth import FLOORS, fit_average
from neuromtm.baselines.regression import Regression, factor_analysis, reduced_rank, ridge
from neuromtm.baselines.views import Design, Problem, View, ahead, beside, design, problems_of
from neuromtm.batch import SessionInfo
from neuromtm.evaluation.tasks import TASKS, Task, n_forward_bins
from neuromtm.metrics.absent import Absent

BaselineKind = Literal["psth", "smoothed", "ridge", "glm", "rrr", "factor_analysis"]

BESIDE_WIDTHS_S = (0.02, 0.05, 0.1, 0.2, 0.4)
"""standard deviations of the Gaussian that smooths visible neurons"""
AHEAD_WIDTHS_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""time constants by which the past is forgotten"""
PRIOR_SPIKES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""of `smoothed`: the expected spikes that the trial average is worth against a neuron's own past"""


class SessionCounts(NamedTuple):
    """What a session's baselines are fitted to and chosen by."""

    info: SessionInfo
    train: np.ndarray
    """(trial, bin, neuron) float32 spikes per bin"""
    val: np.ndarray
    """likewise"""
    bin_size_s: float

    @property
    def n_bins(self) -> int:
        return self.train.shape[1]


REGRESSIONS: dict[BaselineKind, Callable[[Design, Sequence[Problem]], Iterator[Regression]]] = {
    "ridge": ridge,
    "glm": poisson,
    "rrr": reduced_rank,
    "factor_analysis": factor_analysis,
}


def fit_baseline(kind: BaselineKind, session: SessionCounts) -> dict[Task, Predictor | Absent]:
    """Fit a baseline to each task's train trials and choose its settings on validation trials.

    Args:
        kind: which one.
        session: of one session; every neuron and bin that a test scores.
    """
    average = fit_average(session.train, session.val, bin_size_s=session.bin_size_s)
    problems = {task: problems_of(task, session.info) for task in TASKS}
    absent = {task: Absent(reason) for task in TASKS if (reason := _why_absent(kind, task, session, problems[task]))}
    plain = {
        task: Predictor(
            problems=problems[task],
            bins=slice(session.n_bins - _n_hidden(session), None) if task == "forward_prediction" else slice(None),
            average=average,
            floor=FLOORS[0],
            setting=average.setting,
        )
        for task in TASKS
        if task not in absent
    }
    if kind == "psth":
        return {**plain, **absent}
    if kind == "smoothed":
        return {**{task: _own_past(task_plain, session) for task, task_plain in plain.items()}, **absent}
    widths = {task: AHEAD_WIDTHS_S if task == "forward_prediction" else BESIDE_WIDTHS_S for task in plain}
    if kind == "glm":
        # it takes far longer than the others, and is fitted at the width that suits ridge alone
        guide = _from_others("ridge", plain, widths, session)
        widths = {task: (predictor.setting["width_s"],) for task, predictor in guide.items()}
    return {**_from_others(kind, plain, widths, session), **absent}


def _n_hidden(session: SessionCounts) -> int:
    return n_forward_bins(session.n_bins)


def _why_absent(kind: BaselineKind, task: Task, session: SessionCounts, problems: Sequence[Problem]) -> str | None:
    if task == "forward_prediction":
        if _n_hidden(session) == session.n_bins and kind != "psth":
            return "a trial of one bin has no past"
    elif kind == "smoothed":
        return "a neuron's own past is hidden with it"
    elif task == "co_smoothing" and session.info.n_neurons == 1 and kind != "psth":
        return "the session has no other neuron"
    if not problems:
        needs = {"intra_region": "no known region has two neurons", "inter_region": "no neuron lies outside a region"}
        return needs[task]
    return None


class _Chosen(NamedTuple):
    predictor: Predictor
    cost: float
    """nats per spike on validation trials, mean over neurons"""


def _own_past(plain: Predictor, session: SessionCounts) -> Predictor:
    def tried() -> Iterator[Predictor]:
        for width_s in AHEAD_WIDTHS_S:
            view = _view("forward_prediction", width_s, session)
            for prior_spikes in PRIOR_SPIKES:
                setting = plain.setting | {"width_s": width_s, "prior_spikes": prior_spikes}
                yield FromOwnPast(**_fields(plain, setting), view=view, prior_spikes=prior_spikes)

    return min((_with_best_floor(one, session.val) for one in tried()), key=lambda one: one.cost).predictor


def _from_others(
    kind: BaselineKind, plain: Mapping[Task, Predictor], widths: Mapping[Task, Sequence[float]], session: SessionCounts
) -> dict[Task, Predictor]:
    """Search the settings uphill, widths in the outer loop: what no longer gains at one end is not tried further."""
    best: dict[Task, _Chosen] = {}
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
        samples = design(_view(tasks[0], width_s, session), session.train, plain[tasks[0]].average)
        for task in open_tasks:
            chosen = _best_setting(kind, plain[task], samples, width_s, session.val)
            if chosen is not None and (task not in best or chosen.cost < best[task].cost):
                best[task] = chosen
            elif task in best:
                done.add(task)
    return {task: best[task].predictor if task in best else plain[task] for task in plain}


def _best_setting(
    kind: BaselineKind, plain: Predictor, samples: Design, width_s: float, val: np.ndarray
) -> _Chosen | None:
    """The setting of least cost at a width; None where none can be fitted."""
    best = None
    for setting, weights in REGRESSIONS[kind](samples, plain.problems):
        setting = plain.setting | {"width_s": width_s} | setting
        chosen = _with_best_floor(FromOthers(**_fields(plain, setting), reader=samples.reader, weights=weights), val)
        if best is None or chosen.cost < best.cost:
            best = chosen
        elif kind != "rrr":  # whose candidates have two settings; the others' go from weak to strong in one
            break
    return best


def _view(task: Task, width_s: float, session: SessionCounts) -> View:
    if task != "forward_prediction":
        return beside(session.n_bins, width_s=width_s, bin_size_s=session.bin_size_s)
    return ahead(session.n_bins, n_hidden=_n_hidden(session), width_s=width_s, bin_size_s=session.bin_size_s)


def _fields(plain: Predictor, setting: dict[str, float]) -> dict:
    return {"problems": plain.problems, "bins": plain.bins, "average": plain.average, "floor": plain.floor} | {
        "setting": setting
    }


def _with_best_floor(predictor: Predictor, val: np.ndarray) -> _Chosen:
    average = predictor.average
    costs: dict[float, list[np.ndarray]] = {floor: [] for floor in FLOORS}
    for place, problem in enumerate(predictor.problems):
        unbounded, counts = predictor.unbounded(place, val), val[:, predictor.bins][..., problem.hidden]
        for floor, own in costs.items():
            rates = average.bounded(unbounded, floor=floor, neurons=problem.hidden)
            own.append(average.cost(rates, counts, neurons=problem.hidden))
    means: Iterable[tuple[float, float]] = ((float(np.concatenate(own).mean()), floor) for floor, own in costs.items())
    cost, floor = min(means)
    return _Chosen(replace(predictor, floor=floor, setting=predictor.setting | {"floor": floor}), cost)

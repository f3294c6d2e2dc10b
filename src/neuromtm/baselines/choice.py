"""Which settings a baseline gets: those that predict the validation trials at least cost, task by task."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from neuromtm.batch import SessionInfo
from neuromtm.evaluation.baselines.linear import Candidate, factor_analysis, reduced_rank, ridge
from neuromtm.evaluation.baselines.poisson import poisson
from neuromtm.evaluation.baselines.prediction import FromOthers, FromOwnPast, Predictor
from neuromtm.evaluation.baselines.trial_average import FLOORS, fit_average
from neuromtm.evaluation.baselines.views import Design, Problem, View, ahead, beside, design, problems_of
from neuromtm.evaluation.held_out import TASKS, Task, n_forward_bins

Kind = Literal["psth", "smoothed", "ridge", "glm", "rrr", "factor_analysis"]

BESIDE_WIDTHS_S = (0.02, 0.05, 0.1, 0.2, 0.4)
"""standard deviations of the Gaussian that smooths visible neurons"""
AHEAD_WIDTHS_S = (0.02, 0.05, 0.1, 0.2, 0.5)
"""time constants by which the past is forgotten"""
PRIOR_SPIKES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""of `smoothed`: the expected spikes that the trial average is worth against a neuron's own past"""


class Recording(NamedTuple):
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


@dataclass(frozen=True)
class Absent:
    """A task without a figure, and why."""

    reason: str


REGRESSIONS: dict[Kind, Callable[[Design, Sequence[Problem]], Iterator[Candidate]]] = {
    "ridge": ridge,
    "glm": poisson,
    "rrr": reduced_rank,
    "factor_analysis": factor_analysis,
}


def fit_baseline(kind: Kind, recording: Recording) -> dict[Task, Predictor | Absent]:
    """Fit a baseline to each task's train trials and choose its settings on validation trials.

    Args:
        kind: which one.
        recording: of one session; every neuron and bin that a test scores.
    """
    average = fit_average(recording.train, recording.val, bin_size_s=recording.bin_size_s)
    problems = {task: problems_of(task, recording.info) for task in TASKS}
    absent = {task: Absent(reason) for task in TASKS if (reason := _why_absent(kind, task, recording, problems[task]))}
    plain = {
        task: Predictor(
            problems=problems[task],
            bins=slice(recording.n_bins - _n_hidden(recording), None) if task == "forward_prediction" else slice(None),
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
        return {**{task: _own_past(task_plain, recording) for task, task_plain in plain.items()}, **absent}
    widths = {task: AHEAD_WIDTHS_S if task == "forward_prediction" else BESIDE_WIDTHS_S for task in plain}
    if kind == "glm":
        # it takes far longer than the others, and is fitted at the width that suits ridge alone
        guide = _from_others("ridge", plain, widths, recording)
        widths = {task: (predictor.setting["width_s"],) for task, predictor in guide.items()}
    return {**_from_others(kind, plain, widths, recording), **absent}


def _n_hidden(recording: Recording) -> int:
    return n_forward_bins(recording.n_bins)


def _why_absent(kind: Kind, task: Task, recording: Recording, problems: Sequence[Problem]) -> str | None:
    if task == "forward_prediction":
        if _n_hidden(recording) == recording.n_bins and kind != "psth":
            return "a trial of one bin has no past"
    elif kind == "smoothed":
        return "a neuron's own past is hidden with it"
    elif task == "co_smoothing" and recording.info.n_neurons == 1 and kind != "psth":
        return "the session has no other neuron"
    if not problems:
        needs = {"intra_region": "no known region has two neurons", "inter_region": "no neuron lies outside a region"}
        return needs[task]
    return None


class _Chosen(NamedTuple):
    predictor: Predictor
    cost: float
    """nats per spike on validation trials, mean over neurons"""


def _own_past(plain: Predictor, recording: Recording) -> Predictor:
    def tried() -> Iterator[Predictor]:
        for width_s in AHEAD_WIDTHS_S:
            view = _view("forward_prediction", width_s, recording)
            for prior_spikes in PRIOR_SPIKES:
                setting = plain.setting | {"width_s": width_s, "prior_spikes": prior_spikes}
                yield FromOwnPast(**_fields(plain, setting), view=view, prior_spikes=prior_spikes)

    return min((_with_best_floor(one, recording.val) for one in tried()), key=lambda one: one.cost).predictor


def _from_others(
    kind: Kind, plain: Mapping[Task, Predictor], widths: Mapping[Task, Sequence[float]], recording: Recording
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
        samples = design(_view(tasks[0], width_s, recording), recording.train, plain[tasks[0]].average)
        for task in open_tasks:
            chosen = _best_setting(kind, plain[task], samples, width_s, recording.val)
            if chosen is not None and (task not in best or chosen.cost < best[task].cost):
                best[task] = chosen
            elif task in best:
                done.add(task)
    return {task: best[task].predictor if task in best else plain[task] for task in plain}


def _best_setting(kind: Kind, plain: Predictor, samples: Design, width_s: float, val: np.ndarray) -> _Chosen | None:
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


def _view(task: Task, width_s: float, recording: Recording) -> View:
    if task != "forward_prediction":
        return beside(recording.n_bins, width_s=width_s, bin_size_s=recording.bin_size_s)
    return ahead(recording.n_bins, n_hidden=_n_hidden(recording), width_s=width_s, bin_size_s=recording.bin_size_s)


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

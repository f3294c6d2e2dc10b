"""The kinds of baselines, by their names, and how one is fitted to a session."""

from neuromtm.baselines.factor_analysis import FACTOR_ANALYSIS
from neuromtm.baselines.glm import POISSON
from neuromtm.baselines.kind import Baseline, SessionCounts
from neuromtm.baselines.own_past import SMOOTHED
from neuromtm.baselines.prediction import Predictor
from neuromtm.baselines.psth import FLOORS, fit_average
from neuromtm.baselines.reduced_rank import REDUCED_RANK
from neuromtm.baselines.ridge import RIDGE
from neuromtm.baselines.views import problems_of
from neuromtm.evaluation.tasks import TASKS, Task
from neuromtm.metrics.absent import Absent

KINDS: dict[str, Baseline] = {
    "psth": Baseline("nothing", lambda plain, session: dict(plain)),
    "smoothed": SMOOTHED,
    "ridge": RIDGE,
    "glm": POISSON,
    "rrr": REDUCED_RANK,
    "factor_analysis": FACTOR_ANALYSIS,
}


def fit_baseline(kind: str, session: SessionCounts) -> dict[Task, Predictor | Absent]:
    """Fit a baseline to each task's train trials and choose its settings on validation trials.

    Args:
        kind: its name in `KINDS`.
        session: counts of one session, with every neuron and bin that a test scores.
    """
    baseline, average = KINDS[kind], fit_average(session.train, session.val, bin_size_s=session.bin_size_s)
    problems = {task: problems_of(task, session.info) for task in TASKS}
    reasons = {task: baseline.why_absent(task, session, problems[task]) for task in TASKS}
    plain = {
        task: Predictor(
            problems=problems[task],
            bins=slice(session.n_bins - session.n_hidden, None) if task == "forward_prediction" else slice(None),
            average=average,
            floor=FLOORS[0],
            setting=average.setting,
        )
        for task in TASKS
        if reasons[task] is None
    }
    absent = {task: Absent(reason) for task, reason in reasons.items() if reason is not None}
    return {**baseline.fit(plain, session), **absent}

"""Is the model any good? One sentence, made from the numbers of a test."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from neuromtm.evaluation.pairing import Paired
from neuromtm.metrics.intervals import Interval, over_sessions
from neuromtm.metrics.keys import BASELINES, SCORE_NAMES, TASK_TITLES, behaviors
from neuromtm.report.view import Level, Verdict

Standing = Literal["better", "level", "worse"]
SMALLEST = 0.01
"""if there is no interval, a smaller difference counts as none: two digits do not show it"""


class TaskStanding(NamedTuple):
    """How a run does in one activity task."""

    chance: Standing
    """against each neuron's mean rate"""
    baseline: Standing | None
    """against the best simple baseline; None if none was given"""
    share: float | None
    """share of the ceiling that it reaches; None if no ceiling was given"""


def standing(difference: float, interval: Interval | None) -> Standing:
    """Judge a difference. It counts if its interval does not hold 0 or, without one, if it is at least `SMALLEST`."""
    if interval is not None:
        return "better" if interval.low > 0 else "worse" if interval.high < 0 else "level"
    return "better" if difference >= SMALLEST else "worse" if difference <= -SMALLEST else "level"


def paired_standing(paired: Paired) -> Standing:
    """Judge the difference of two runs, as `standing` does."""
    return standing(paired.difference, paired.interval)


def activity_verdict(tasks: Mapping[str, TaskStanding]) -> Verdict:
    """The sentence on the activity tasks.

    Args:
        tasks: name of each task that was scored, a key of `TASK_TITLES` -> how the run does.
    """
    if not tasks:
        return Verdict(level="unknown", short="Not scored", reason="the test has no score of an activity task.")
    above = [task for task, one in tasks.items() if one.chance == "better"]
    reasons = [f"it predicts hidden spikes better than each neuron's mean rate in {_where(above, len(tasks))}"]
    compared = {word: [task for task, one in tasks.items() if one.baseline == word] for word in get_args(Standing)}
    n_compared = sum(map(len, compared.values()))
    if n_compared:
        groups = [f"{word} in {_where(found, n_compared)}" for word, found in compared.items() if found]
        reasons.append(f"against the best simple baseline it is {', '.join(groups)}")
    shares = {task: one.share for task, one in tasks.items() if one.share is not None}
    if shares:
        task = next(iter(shares))
        reasons.append(f"it reaches {100 * shares[task]:.0f} % of the ceiling in {TASK_TITLES[task]}")
    level, short = _level(len(above), len(tasks), {word: len(found) for word, found in compared.items()})
    return Verdict(level=level, short=short, reason=f"{'; '.join(reasons)}.")


def _level(n_above: int, n_tasks: int, compared: Mapping[Standing, int]) -> tuple[Level, str]:
    """How good the run is, as a level and in a few words.

    Args:
        n_above: tasks in which it is better than chance.
        n_tasks: number of tasks.
        compared: how it stands against a simple baseline -> in how many tasks.
    """
    if n_above == 0:
        return "poor", "No better than chance"
    part = "" if n_above == n_tasks else " in part"
    if not any(compared.values()):
        return ("mixed" if part else "good"), f"Better than chance{part}"
    if compared["better"] == n_above == n_tasks:
        return "good", "Better than a simple baseline"
    if compared["better"]:
        return "mixed", "Better than a simple baseline in part"
    if compared["level"]:
        return "mixed", f"Better than chance{part}, level with a simple baseline"
    return "poor", f"Better than chance{part}, but worse than a simple baseline"


def _where(tasks: Sequence[str], of: int) -> str:
    if of == 1:
        return "the one task scored" if tasks else "no task"
    if len(tasks) in (0, of):
        return f"{'all' if tasks else 'none'} of the {of} tasks"
    titles = [TASK_TITLES[task] for task in tasks]
    return " and ".join(filter(None, (", ".join(titles[:-1]), titles[-1])))


def decoded_sentence(mean: Mapping[str, float]) -> str | None:
    """A sentence on what a test decoded, beside chance and raw counts; None if it decoded nothing.

    Args:
        mean: metrics.json's means over sessions.
    """
    parts = []
    for behavior, score in behaviors(mean).items():
        beside = [f"chance {mean[f'{behavior}_chance']:.2f}"] if f"{behavior}_chance" in mean else []
        counts = [mean[key] for name in BASELINES if (key := f"{behavior}_{score}_{name}") in mean]
        beside += [f"best of raw counts {max(counts):.2f}"] if counts else []
        parts.append(f"{behavior} {SCORE_NAMES[score]} {mean[f'{behavior}_{score}']:.2f} ({', '.join(beside)})")
    return f"Behaviour: {'; '.join(parts)}." if parts else None


def decoder_verdict(sessions: Mapping[str, Mapping[str, float]]) -> Verdict:
    """The sentence on a decoder.

    Args:
        sessions: eid -> metrics by their keys in metrics.json.
    """
    found = behaviors(key for metrics in sessions.values() for key in metrics)
    if not found:
        reason = (
            "no session has a known value of the behaviour in its test trials, or its training trials have one class."
        )
        return Verdict(level="unknown", short="Not scored", reason=reason)
    behavior, score = next(iter(found.items()))
    pairs = [
        (metrics[f"{behavior}_{score}"], metrics[f"{behavior}_chance"])
        for metrics in sessions.values()
        if f"{behavior}_{score}" in metrics and f"{behavior}_chance" in metrics
    ]
    points = np.array(pairs)
    differences = points[:, 0] - points[:, 1]
    n_above, n = int((differences > 0).sum()), len(points)
    of_mean = standing(float(differences.mean()), over_sessions(differences))
    level: Level = "poor" if of_mean != "better" else "good" if n_above == n else "mixed"
    short = {"poor": "No better than chance", "good": "Better than chance", "mixed": "Better than chance on average"}
    model, chance = points.mean(axis=0)
    reason = (
        f"{behavior} is decoded with {'an accuracy' if score == 'accuracy' else 'an R2'} of {model:.2f}, and chance is "
        f"{chance:.2f}; it is above chance in {n_above} of {n} session{'s' * (n != 1)}."
    )
    return Verdict(level=level, short=short[level], reason=reason)

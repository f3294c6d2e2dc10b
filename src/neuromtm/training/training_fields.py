"""What a checkpoint says of the training that wrote it: counts of steps, and the states that it goes on from."""

from collections.abc import Iterator, Mapping
from typing import Any

COUNTS = ("epoch", "global_step")
STATES = ("optimizer_states", "lr_schedulers")
"""lists of the states of what they name"""


def training_problems(checkpoint: Mapping[str, Any]) -> list[str]:
    """What is wrong with the parts of a checkpoint beside its weights and its record, one phrase each.

    Args:
        checkpoint: as loaded. All of these parts may be absent, as in a checkpoint that no training wrote.
    """
    problems = [f"{name} is no count" for name in COUNTS if name in checkpoint and not _is_count(checkpoint[name])]
    for name in STATES:
        states = checkpoint.get(name, [])
        if not isinstance(states, list) or not all(isinstance(state, Mapping) for state in states):
            problems.append(f"{name} is no list of states")
    callbacks = checkpoint.get("callbacks", {})
    if not isinstance(callbacks, Mapping) or not all(isinstance(state, Mapping) for state in callbacks.values()):
        problems.append("callbacks is no mapping of states")
    if "loops" in checkpoint:
        problems += _loop_problems(checkpoint["loops"])
    return problems


def _loop_problems(loops: Any) -> Iterator[str]:
    fit = loops.get("fit_loop") if isinstance(loops, Mapping) else None
    if not isinstance(fit, Mapping):
        yield "loops has no state of the training"
        return
    for name, progress in fit.items():
        if str(name).endswith("progress") and not _are_counts(progress):
            yield f"loops holds more than counts in {name}"


def _are_counts(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_are_counts, value.values()))
    return _is_count(value) or isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63

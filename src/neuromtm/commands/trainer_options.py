"""Values of the Trainer's own options that Lightning takes, though they cannot mean anything."""

import math
from collections.abc import Mapping
from datetime import timedelta

from neuromtm.errors import ConfigError

LEAST: Mapping[str, int] = {
    "min_epochs": 1,
    "min_steps": 1,
    "check_val_every_n_epoch": 1,
    "accumulate_grad_batches": 1,
    "num_sanity_val_steps": -1,
    "log_every_n_steps": 0,
    "gradient_clip_val": 0,
}
"""option -> its smallest value; -1 steps are all, and 0 leaves out"""
LENGTHS = ("max_epochs", "max_steps")
MOST_DEVICES = 2**16
"""far more devices, or nodes, than any job has; each would get a process"""


def require_trainer_options(options: Mapping[str, object]) -> None:
    """Refuse numbers that the Trainer would take, or end by a trace of its own code.

    Args:
        options: of the Trainer, by their names, in plain types. One that is not there, or null, is not looked at.

    Raises:
        ConfigError: naming every such option.
    """
    problems = []
    for name, least in LEAST.items():
        value = options.get(name)
        if isinstance(value, int | float) and not least <= value < math.inf:
            problems.append(f"trainer.{name} is {value}, less than {least}.")
    for name in LENGTHS:
        if options.get(name) == 0:
            problems.append(f"trainer.{name} is 0, so that nothing is trained. For no limit it is -1.")
    if options.get("val_check_interval") == 0:
        problems.append("trainer.val_check_interval is 0. Leave it out, or give a number or a share of batches.")
    for name in ("devices", "num_nodes"):
        value = options.get(name)
        n = int(value) if isinstance(value, str) and value.isdecimal() else value
        if isinstance(n, int) and n > MOST_DEVICES:
            problems.append(f"trainer.{name} is {n}, more than {MOST_DEVICES}.")
    for name in ("max_time", "val_check_interval"):
        value = options.get(name)
        if isinstance(value, Mapping) and not _is_time(value):
            problems.append(f"trainer.{name} is {dict(value)}, no time, e.g. {{hours: 2, minutes: 30}}.")
    if problems:
        raise ConfigError(" ".join(problems))


def _is_time(parts: Mapping[str, object]) -> bool:
    try:
        return timedelta(**parts) > timedelta(0)  # ty: ignore[invalid-argument-type]
    except (TypeError, OverflowError):
        return False

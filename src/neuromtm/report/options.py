"""The options of runs as flat tables: option -> value, and which options differ between runs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from neuromtm.evaluation.amounts import readable_settings
from neuromtm.evaluation.references import BASELINE_FILE

Option = str | int | float | bool | None
"""what an option is in a table; a list or the like is written as JSON"""
PLACES = ("run_dir", "ckpt_path", "config")
"""options that say where a run lies, and differ between any two"""
SETTINGS = ("config.yaml", "config.test.yaml", BASELINE_FILE)
"""files that say a run's options, the first one that can be read"""


def flat_options(config: Mapping[str, Any], prefix: str = "") -> dict[str, Option]:
    """Dotted name -> value of every option; None where it is not set.

    The options of a class stand beside its `class_path`, as on the command line: `model.backbone.width`.

    Args:
        config: a configuration, as `config.yaml` holds it.
        prefix: what stands before each name.
    """
    flat: dict[str, Option] = {}
    for name, value in config.items():
        if not prefix and name in PLACES:
            continue
        place = prefix.removesuffix(".") if name == "init_args" else f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flat_options(value, f"{place}.")
        elif value is None or isinstance(value, str | int | float):  # and bool, which is an int
            flat[place] = value
        else:
            flat[place] = json.dumps(value, default=str)
    return flat


def options_of(run_dir: Path) -> dict[str, Option]:
    """The options of a run's training, else of its test, else of a baseline. Empty if none can be read."""
    for name in SETTINGS:
        config = readable_settings(run_dir / name)
        if config and name == BASELINE_FILE:  # what was chosen by session is a result
            config = {"baseline": {key: value for key, value in config.items() if key not in ("chosen", "absent")}}
        if config:
            return flat_options(config)
    return {}


def varied(runs: Iterable[Mapping[str, Option]]) -> list[str]:
    """The options in which the runs that have them differ, in the order in which they first stand.

    A run may lack an option of another kind of run: a baseline has none of a training, LFADS none of a transformer.
    """
    values: dict[str, set[str]] = {}
    for run in runs:
        for name, value in run.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, found in values.items() if len(found) > 1]

"""Whether the parts of a shard are of their types, and whether small values can be what they say."""

import json
from collections.abc import Iterator

import numpy as np

from neuromtm.data.shard_layout import (
    HELDOUT,
    NEURON_NUMBERS,
    NEURON_STATISTICS,
    NEURON_TEXT,
    PRINCIPAL_AXES,
    RECORDING,
    SPLITS,
    TRIAL_NUMBERS,
    TRIAL_TIMES,
    TRUE_RATES,
    Contents,
)

TEXTS, FLOATS, INTEGERS, BOOLEANS = "SO", "f", "iu", "b"
"""kinds of NumPy's types"""
IN_WORDS = {TEXTS: "texts", FLOATS: "floating-point numbers", INTEGERS: "whole numbers", BOOLEANS: "true or false"}
TEXT_ATTRIBUTES = ("eid", "subject", "lab", "source", "align_event", "created_by")
JSON_ATTRIBUTES = ("preparation", RECORDING)
"""those that may be missing"""
LATEST_S = 1e10
"""seconds: 300 years"""
MOST_BINS = 10**7
"""of a trial"""


def type_problems(contents: Contents) -> list[str]:
    """What is of another type than it should be, a phrase each.

    Args:
        contents: of the shard; all that must be there is.
    """
    attributes = contents.attributes
    problems = [f"{name} is no text" for name in TEXT_ATTRIBUTES if not isinstance(attributes[name], str)]
    problems += [f"{name} is no JSON object" for name in JSON_ATTRIBUTES if not _is_object(attributes.get(name, "{}"))]
    problems += _time_problems(contents)
    for path, kinds in _kinds(contents):
        found = contents.types[path]
        if found.kind not in kinds or not found.isnative:
            problems.append(f"{path} is of the type {found}, not {IN_WORDS[kinds]}")
    problems += [
        f"splits/{name} is no list of numbers" for name in SPLITS if len(contents.shapes[f"splits/{name}"]) != 1
    ]
    return problems


def value_problems(contents: Contents) -> list[str]:
    """What cannot be what it says, a phrase each.

    Args:
        contents: of a shard whose types and sizes are right.
    """
    values = contents.values
    ranges = {f"neurons/{name}": (0.0, np.inf) for name in ("firing_rate_hz", *NEURON_STATISTICS)}
    ranges |= {"neurons/label": (0.0, 1.0), "neurons/depth_um": (-np.inf, np.inf)}
    ranges |= {f"trials/{name}": (-LATEST_S, LATEST_S) for name in TRIAL_TIMES}
    problems = []
    for path, (low, high) in ranges.items():
        if path in values and not _within(values[path], low, high):
            problems.append(f"{path} has values that are infinite, or not from {low:g} to {high:g}")
    if len(set(contents.text("neurons/uuid").tolist())) < len(values["neurons/uuid"]):
        problems.append("neurons/uuid names a neuron twice")
    if (contents.text("neurons/region") == "").any():
        problems.append("neurons/region is empty for some neurons; unknown is 'root'")
    if not np.isin(values["trials/choice"], (-1, 0, 1)).all():
        problems.append("trials/choice has values other than -1, 0, +1")
    return problems


def _within(values: np.ndarray, low: float, high: float) -> bool:
    """Whether values are finite and between two ends; NaN is unknown."""
    known = values[~np.isnan(values)]
    return bool((np.isfinite(known) & (known >= low) & (known <= high)).all())


def _is_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _time_problems(contents: Contents) -> list[str]:
    bin_size_s, window_s = (np.asarray(contents.attributes[name]) for name in ("bin_size_s", "window_s"))
    numbers = bin_size_s.dtype.kind in "fiu" and window_s.dtype.kind in "fiu"
    if not numbers or bin_size_s.shape != () or window_s.shape != (2,):
        return ["bin_size_s is no number, or window_s are not two"]
    start_s, end_s = window_s.astype(float)
    if not np.isfinite([bin_size_s, start_s, end_s]).all() or bin_size_s <= 0 or end_s <= start_s:
        return [f"bin_size_s is {bin_size_s} and window_s is {start_s:g} to {end_s:g}, which is no window"]
    if (end_s - start_s) / bin_size_s > MOST_BINS:
        return [f"the bins of {bin_size_s} s are far too many for a window of {end_s - start_s:g} s"]
    return []


def _kinds(contents: Contents) -> Iterator[tuple[str, str]]:
    """Path -> the kinds of types that it may have."""
    known = {f"neurons/{name}": TEXTS for name in NEURON_TEXT}
    known |= {f"neurons/{name}": FLOATS for name in (*NEURON_NUMBERS, *NEURON_STATISTICS)}
    known |= {f"trials/{name}": FLOATS for name in TRIAL_NUMBERS}
    known |= {f"splits/{name}": INTEGERS for name in SPLITS}
    known |= {"trials/choice": INTEGERS, "trials/index": INTEGERS, HELDOUT: BOOLEANS}
    known |= {PRINCIPAL_AXES: FLOATS, TRUE_RATES: FLOATS}
    known |= {f"behavior/{name}": FLOATS for name in contents.names("behavior")}
    yield from ((path, kinds) for path, kinds in known.items() if path in contents.shapes)
    for name in contents.further_columns():
        if contents.types[f"trials/{name}"].kind not in TEXTS:
            yield f"trials/{name}", FLOATS

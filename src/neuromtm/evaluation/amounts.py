"""How many training trials of each session a tested run was trained on, by the files beside its results."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from neuromtm.errors import UserError
from neuromtm.files import first_words, read_yaml
from neuromtm.regular_files import regular_text

BASELINE_STEM = "baseline"
AVERAGE_STEM = "average"
CONFIGS = ("config.test.yaml", "config.yaml")
"""configurations of the test and of the training; a test refuses a checkpoint that learned from other trials"""
EVERY = "all"


def train_trials_of(folder: Path, *, middle: str = "") -> str | None:
    """The number of training trials of each session, as a word for the user.

    Args:
        folder: of the results.
        middle: what stands in the names of an earlier test's files, e.g. `.2026-11-21T07-40-12`.

    Returns:
        A number, or "all"; None if no file says it: a ceiling has no training, and older baselines do not say it.

    Raises:
        UserError: if a file says what is no number of trials.
    """
    for stem in (BASELINE_STEM, AVERAGE_STEM):
        record = folder / f"{stem}{middle}.json"
        if record.exists():
            return _asked(readable_settings(record), record)
        if (folder / f"{stem}.json").exists():
            return None  # an earlier record's number is not that of the latest one
    for name in CONFIGS:
        data = readable_settings(folder / name).get("data")
        if isinstance(data, dict) and (found := _asked(data, folder / name)) is not None:
            return found
    return None


def difference_of_amounts(amounts: Mapping[str, str | None]) -> str | None:
    """A line that names each run's number of training trials; None if those that are known are the same.

    Args:
        amounts: name -> what `train_trials_of` gives.
    """
    known = {name: amount for name, amount in amounts.items() if amount is not None}
    if len(set(known.values())) < 2:
        return None
    listed = ", ".join(f"{name} {amount}" for name, amount in known.items())
    return f"Trained on different numbers of training trials of each session: {listed}."


def _asked(options: Mapping[str, Any], path: Path) -> str | None:
    if "n_train_trials" not in options:
        return None
    number = options["n_train_trials"]
    if number is not None and (type(number) is not int or number < 1):
        raise UserError(f"{path}: n_train_trials is {first_words(repr(number))}, not a number of trials. Mend it.")
    return EVERY if number is None else str(number)


def read_settings(path: Path) -> dict[str, Any]:
    """What a run's `.yaml` or `.json` file of settings holds; nothing if it is not there.

    Raises:
        UserError: if it is there and holds none.
    """
    try:
        found = json.loads(regular_text(path)) if path.suffix == ".json" else read_yaml(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(
            f"{path}: holds no settings of a run ({first_words(str(error))}). Mend it, or remove it."
        ) from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: holds no settings of a run, but {first_words(repr(found))}. Mend it, or remove it.")
    return found


def readable_settings(path: Path) -> dict[str, Any]:
    """The same, but nothing if the file holds no settings: results do not become unreadable by it."""
    try:
        return read_settings(path)
    except UserError:
        return {}

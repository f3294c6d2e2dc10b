"""The space of a search: a YAML file of options of `fit` and the values each may take."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from neuromtm.errors import ConfigError
from neuromtm.files import read_yaml

if TYPE_CHECKING:
    import optuna

Value = bool | int | float | str


class Choices(NamedTuple):
    """Values without an order."""

    values: tuple[Value, ...]

    def extremes(self) -> tuple[Value, ...]:
        """Values with which all the others are right too."""
        return self.values

    def draw(self, trial: "optuna.Trial", name: str) -> Value:
        """The value of a trial."""
        value = trial.suggest_categorical(name, self.values)
        assert value is not None  # none of them is
        return value


class Between(NamedTuple):
    """Numbers from `low` to `high`, both among them."""

    low: float
    high: float
    log: bool
    """whether the logarithm is drawn evenly"""
    whole: bool
    """whether only whole numbers are drawn"""

    def extremes(self) -> tuple[Value, ...]:
        """The two ends: with both of them right, so are the numbers between."""
        return self.low, self.high

    def draw(self, trial: "optuna.Trial", name: str) -> Value:
        """The value of a trial."""
        if self.whole:
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


Space = Mapping[str, Choices | Between]
"""option of `fit`, e.g. `model.lr` -> its values"""


def read_space(path: Path) -> Space:
    """Read a space.

    An option has a list of values, `model.loss_per: [entry, spike]`, or two ends, `model.lr: {low: 0.0005, high: 0.005,
    log: true}`. If both ends are whole numbers, whole numbers are drawn.

    Args:
        path: a YAML file.

    Raises:
        ConfigError: if the file cannot be read, or an option's values are none.
    """
    try:
        content = read_yaml(Path(path))
    except OSError as error:
        raise ConfigError(f"--space {path}: {error.strerror or error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--space {path}: no YAML. {error}") from error
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"--space {path}: write a line for each option, e.g. model.lr: {{low: 0.001, high: 0.01}}.")
    return {str(name): _values(f"--space {path}: {name}", given) for name, given in content.items()}


def space_text(space: Space) -> dict[str, Any]:
    """A space as what `read_space` reads, of plain types."""
    return {name: list(own.values) if isinstance(own, Choices) else _ends(own) for name, own in space.items()}


def space_from(content: Mapping[str, Any]) -> Space:
    """The inverse of `space_text`."""
    return {str(name): _values(str(name), given) for name, given in content.items()}


def _ends(own: Between) -> dict[str, Any]:
    return {"low": own.low, "high": own.high, "log": own.log}


def _values(what: str, given: Any) -> Choices | Between:
    if isinstance(given, list):
        plain = all(isinstance(value, Value) for value in given)
        if not plain or len({(type(value), value) for value in given}) < max(len(given), 2):
            raise ConfigError(f"{what}: list two or more different numbers or words, not {given}.")
        return Choices(tuple(given))
    if not isinstance(given, dict) or not {"low", "high"} <= set(given) <= {"low", "high", "log"}:
        raise ConfigError(f"{what}: write a list of values, or {{low: A, high: B}}, with log: true if wanted.")
    low, high, log = given["low"], given["high"], given.get("log", False)
    if not all(
        isinstance(end, int | float) and not isinstance(end, bool) and math.isfinite(end) for end in (low, high)
    ):
        raise ConfigError(
            f"{what}: low and high are numbers, not {low!r} and {high!r}. YAML reads 1e-3 as text: 0.001."
        )
    if not isinstance(log, bool) or not low < high or (log and low <= 0):
        raise ConfigError(f"{what}: low is below high, log is true or false, and with log: true low is above 0.")
    return Between(low, high, log, whole=isinstance(low, int) and isinstance(high, int))

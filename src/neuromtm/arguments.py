"""What is true of every text on a command line, whichever command reads it."""

import argparse
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from neuromtm.errors import NOT_FOR_A_TERMINAL, ConfigError, printable, shortened


def require_readable(arguments: Sequence[str]) -> None:
    """Refuse letters that no table, page or configuration could hold, or that a terminal obeys.

    Args:
        arguments: of the process. Python has single surrogates in place of bytes that are not UTF-8.

    Raises:
        ConfigError: showing the first such argument.
    """
    for argument in arguments:
        if any("\ud800" <= letter <= "\udfff" for letter in argument):
            shown = argument.encode("utf-8", "backslashreplace").decode()
            raise ConfigError(f"{shown}: is not UTF-8. Rename the file, or write the option's value in UTF-8.")
        if NOT_FOR_A_TERMINAL.search(argument):
            raise ConfigError(f"{argument}: has a control character. Rename the file, or leave the character out.")


def require_values(config: Mapping[str, object]) -> None:
    """Refuse nan, empty texts and letters that a terminal obeys, whichever option of a configuration has them.

    Args:
        config: of a command, in plain types.

    Raises:
        ConfigError: naming every such option.
    """
    if problems := list(_problems(config, "")):
        raise ConfigError(" ".join(problems))


def _problems(value: object, name: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _problems(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _problems(inner, name)
    elif isinstance(value, float) and math.isnan(value):
        yield f"{name} is nan, which is not a number."
    elif isinstance(value, str) and not value.strip():
        yield f"{name} is empty. Give it a value, or leave it out."
    elif isinstance(value, str) and NOT_FOR_A_TERMINAL.search(value):
        yield f"{name} has a control character: {value}."


class OptionParser(argparse.ArgumentParser):
    """A parser whose texts and paths may not be empty and whose numbers may not be nan.

    An option has to be given by its whole name. A message has a bounded length, and nothing that a terminal obeys.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"allow_abbrev": False} | kwargs)
        self.register("type", None, given_text)
        self.register("type", Path, lambda text: Path(given_text(text)))
        self.register("type", float, number)

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and end the program with exit code 2."""
        super().error(printable(shortened(message)))


def given_text(text: str) -> str:
    """The text of an option, unless there is nothing in it, as of a variable of the shell that was never set."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: give it a value, or leave the option out")
    return text


def number(text: str) -> float:
    """The number of an option; infinities are among them, but nan is not."""
    value = float(text)
    if math.isnan(value):
        raise argparse.ArgumentTypeError(f"{text} is not a number")
    return value

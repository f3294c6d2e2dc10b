"""Which classes a configuration may name: to make an object is to run code, and a file may come from anybody."""

import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from neuromtm.commands.recipes import CONFIG_OPTIONS, config_texts
from neuromtm.errors import ConfigError
from neuromtm.files import read_yaml
from neuromtm.regular_files import A_PIPE, is_pipe
from neuromtm.training.architecture import ALLOW, OWN_PACKAGE, is_allowed_by_user

ALLOWED_MODULES = (
    OWN_PACKAGE,
    *(f"lightning.pytorch.{part}" for part in ("callbacks", "profilers", "strategies", "plugins", "accelerators")),
    *(f"lightning.fabric.{part}" for part in ("plugins", "strategies", "accelerators")),
    *(f"lightning.pytorch.loggers.{part}" for part in ("tensorboard", "csv_logs")),
)
"""Modules whose classes any configuration may name. Of the loggers only those that write files: the others send results
to a server, which a configuration could choose."""
REMOTE_LOGGERS = ("WandbLogger", "MLFlowLogger", "CometLogger", "NeptuneLogger", "LitLogger")
"""Lightning knows its own classes by their bare names, too."""
PLACES = ("model.backbone", "trainer")
"""parts of a configuration in which a text can name a class or a function"""
DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
MOST_FILES = 100
"""that a configuration may lead to, which may lead to others"""


def require_allowed_classes(arguments: Sequence[str]) -> None:
    """Refuse configurations that name a class of somebody else which the user has not allowed.

    A class is allowed if it is in `ALLOWED_MODULES`, if its package or it itself is in the environment variable
    `NEUROMTM_ALLOW`, or if the command line itself names a class of its package. Nothing of other packages is imported
    before that is known.

    Args:
        arguments: a command line of LightningCLI; recipes are replaced by their files.

    Raises:
        ConfigError: naming the file, the class, and how to allow it; or a pipe or device, which the parser would read.
    """
    for argument in arguments:
        _require_no_pipe(argument.partition("=")[2] if argument.startswith("-") else argument)
    typed = _typed_packages(arguments)
    configs = config_texts(arguments)
    waiting, seen = [*configs, *_typed_files(arguments)], set()
    while waiting:
        given = waiting.pop()
        _require_no_pipe(given)
        if given in seen or not _is_file(Path(given)):  # YAML on the command line was typed by the user
            continue
        seen.add(given)
        if len(seen) > MOST_FILES:
            raise ConfigError(f"{given}: more than {MOST_FILES} files lead to each other. Write one configuration.")
        for text in _names(_content(Path(given)), everywhere=given not in configs):
            if text.endswith((".yaml", ".yml", ".json")):
                waiting += [text, str(Path(given).parent / text)]
            elif not _is_allowed(text, typed):
                raise ConfigError(f"{given}: {_refusal(text)}")


def _require_no_pipe(given: str) -> None:
    if is_pipe(Path(given)):
        raise ConfigError(f"{given}: {A_PIPE}. Save what it holds as a file, and name that.")


def _refusal(text: str) -> str:
    package, name = text.partition(".")[0], text.rpartition(".")[2]
    why = "which sends results to a server" if name in REMOTE_LOGGERS else "which is not known to be harmless"
    allow = text if package in _roots() else package
    return (
        f"names {text}, {why}: to use a configuration is to run the code that it names. If you trust it, set the "
        f"environment variable {ALLOW}={allow} for the command, or name the class by its option on the command line."
    )


def _content(path: Path) -> object:
    try:
        return read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError):
        return None  # the parser says what is wrong with it


def _names(content: object, place: str = "", *, everywhere: bool) -> Iterator[str]:
    """Every text of a configuration that may name a class: all of `PLACES`, and each `class_path` elsewhere.

    Args:
        content: of the file.
        place: where it stands in the configuration.
        everywhere: whether any text may, because the file is itself a part of the configuration.
    """
    if isinstance(content, dict):
        for name, value in content.items():
            inside = f"{place}.{name}".lstrip(".") if isinstance(name, str) else place
            if name == "class_path" and isinstance(value, str):
                yield value
            else:
                yield from _names(value, inside, everywhere=everywhere)
    elif isinstance(content, list):
        for value in content:
            yield from _names(value, place, everywhere=everywhere)
    elif isinstance(content, str) and (everywhere or _is_place(place)):
        yield content


def _is_place(place: str) -> bool:
    parts = (place, place.partition(".")[2])  # perhaps below the name of a command
    return any(f"{part}.".startswith(f"{one}.") for part in parts for one in PLACES)


def _is_allowed(text: str, typed: frozenset[str]) -> bool:
    name = text.rpartition(".")[2]
    if name in REMOTE_LOGGERS and not is_allowed_by_user(text):
        return False
    if DOTTED.fullmatch(text) is None:
        return True
    package = text.partition(".")[0]
    if package in typed or is_allowed_by_user(text):
        return True
    if any(text.startswith(f"{module}.") for module in _roots()):
        return _is_own_class(text)
    return not _can_be_imported(package)  # no module: the text means something else, or the parser reports it


def _roots() -> frozenset[str]:
    return frozenset(module.partition(".")[0] for module in ALLOWED_MODULES)


def _is_own_class(text: str) -> bool:
    """Whether a name in an allowed package leads to a class of an allowed module, and not to what a module imports."""
    module, _, name = text.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        # `neuromtm.files.os.system` leads through a module to another one; a name that is nowhere is reported later
        return not any(_leads_on(text))
    return inspect.isclass(found) and _is_in(found.__module__)


def _leads_on(text: str) -> Iterator[bool]:
    parts = text.split(".")
    for n in range(1, len(parts)):
        try:
            found: object = importlib.import_module(".".join(parts[:n]))
            for part in parts[n:]:
                found = getattr(found, part)
        except (ImportError, AttributeError, ValueError):
            continue
        yield True


def _is_in(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in ALLOWED_MODULES)


def _can_be_imported(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None  # it finds the file, and runs nothing
    except (ImportError, ValueError):
        return False


def _typed_values(arguments: Sequence[str]) -> Iterator[str]:
    option = ""
    for argument in arguments:
        if argument.startswith("--"):
            option, joined, value = argument.partition("=")
        else:
            joined, value = "=", argument
        if joined and option not in CONFIG_OPTIONS and option.lstrip("-").startswith(PLACES):
            yield value


def _typed_packages(arguments: Sequence[str]) -> frozenset[str]:
    """Packages of the classes that the command line itself names."""
    found = (DOTTED.finditer(value) for value in _typed_values(arguments) if not _is_file(Path(value)))
    return frozenset(match.group().partition(".")[0] for matches in found for match in matches)


def _typed_files(arguments: Sequence[str]) -> list[str]:
    return [value for value in _typed_values(arguments) if _is_file(Path(value))]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return False

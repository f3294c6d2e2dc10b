"""null where a class's argument cannot be None: the parser lets it through to any class that a configuration names."""

import importlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Union, get_args, get_origin

from neuromtm.errors import ConfigError


def require_no_nulls(config: Mapping[str, object]) -> None:
    """Refuse null for arguments of classes whose type has no None.

    Args:
        config: of a command, in plain types, with a `class_path` and `init_args` for each object.

    Raises:
        ConfigError: naming every such argument.
    """
    if problems := [f"{name} is null, which it cannot be." for name in _nulls(config, "")]:
        raise ConfigError(" ".join(problems))


def _nulls(value: object, name: str) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _nulls(inner, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nulls(inner, f"{name}.{key}".lstrip("."))
        arguments = value.get("init_args")
        if isinstance(arguments, Mapping):
            takes = _that_take_none(str(value.get("class_path")))
            yield from (f"{name}.init_args.{key}" for key, own in arguments.items() if own is None and not takes(key))


def _that_take_none(class_path: str) -> Callable[[str], bool]:
    """Whether an argument of a class may be None; any may that says nothing of its type."""
    module, _, name = class_path.rpartition(".")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), name), eval_str=True).parameters
    except (ImportError, AttributeError, NameError, TypeError, ValueError):  # the parser has built it in its own way
        return lambda argument: True

    def takes_none(argument: str) -> bool:
        hint = parameters[argument].annotation if argument in parameters else Any
        if hint in (inspect.Parameter.empty, Any, None, type(None)):
            return True
        return get_origin(hint) in (Union, types.UnionType) and type(None) in get_args(hint)

    return takes_none

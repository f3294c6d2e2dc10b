"""The options of a parser, odd values for them, and which of these cannot mean anything."""

import argparse
import inspect
import json
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Union, get_args, get_origin

import numpy as np

Kind = Literal["whole", "number", "flag", "choice", "text", "path", "structure", "nothing"]
"""what an option may be; `nothing` is None"""


class Option(NamedTuple):
    """An option of a command."""

    command: str
    name: str
    """as on the command line; of an argument without a name, its place in angle brackets: <0>"""
    kinds: frozenset[Kind]
    is_list: bool = False
    n_values: int = 1
    """so many values stand after it"""
    default: object = None

    @property
    def words(self) -> set[str]:
        """What a message may call it."""
        last = self.name.lstrip("-").rpartition(".")[2]
        plain = re.sub(r"[_-](s|hz|ms)$", "", last)
        return {self.name, *(re.sub("[_-]", hyphen, name) for name in (last, plain) for hyphen in "-_ ")}


class Value(NamedTuple):
    """An odd value."""

    tag: str
    text: str
    sane: frozenset[Kind]
    """kinds of options for which it may mean something"""


# ---- the values

LONG = "x" * 5000
TEXTS: frozenset[Kind] = frozenset({"text", "path"})
NUMBERS: frozenset[Kind] = frozenset({"whole", "number"})
VALUES: dict[str, tuple[str, frozenset[Kind]]] = {
    "negative": ("-1", TEXTS),
    "very negative": ("-1000000000000", TEXTS),
    "zero": ("0", TEXTS | NUMBERS | {"flag"}),
    "fraction": ("1.5", TEXTS | {"number"}),
    "a little negative": ("-0.001", TEXTS),
    "huge": ("1e30", TEXTS | {"number"}),
    "huge whole": ("1000000000000", TEXTS | NUMBERS),
    "beyond 64 bits": ("100000000000000000000", TEXTS | NUMBERS),
    "tiny": ("1e-300", TEXTS | {"number"}),
    "nan": ("nan", TEXTS),
    "nan of YAML": (".nan", TEXTS),
    "infinite": ("inf", TEXTS),
    "minus infinite": ("-.inf", TEXTS),
    "empty": ("", frozenset()),
    "blank": ("  ", frozenset()),
    "word": ("quatsch", TEXTS),
    "true": ("true", TEXTS | {"flag"}),
    "null": ("null", TEXTS | {"nothing"}),
    "list": ("[1]", TEXTS),
    "empty list": ("[]", TEXTS),
    "list of lists": ("[[1, 2], [3]]", TEXTS),
    "dictionary": ('{"quatsch": 1}', TEXTS),
    "empty dictionary": ("{}", TEXTS | {"structure"}),
    "broken JSON": ("{[", TEXTS),
    "class of others": ('{"class_path": "collections.OrderedDict"}', TEXTS),
    "unicode": ("Mäuse ☃ 𝔘", TEXTS),
    "control characters": ("a\x1b[2J\x07\nb", TEXTS),
    "not UTF-8": ("a\udcff", frozenset()),
    "very long": (LONG, TEXTS),
    "a folder": ("FOLDER", TEXTS),
    "a file": ("FILE", TEXTS),
    "not there": ("absent/absent", TEXTS),
    "below a file": ("FILE/below", TEXTS),
}
"""tag -> its text, and the kinds of options for which it may mean something; FOLDER and FILE are replaced"""
LISTED = ("list", "empty list", "list of lists")

COUNT = re.compile(r"(^|\.)(n|max|min)[_-]|size$|size_(s|ms)$|width$|retries$|jobs$|length|_bins$|heads$|layers$")
"""names of options that count or measure something"""
SHARE = re.compile(r"ratio$|fraction|dropout$|ema_decay$|beta2$|min-label$|trailing_blocks$")
"""names of options from 0 to 1"""
MEANINGS: dict[str, str] = {
    r"zero data\.n_workers": "the training's own process reads",
    r"zero model\.backbone\.(n_inputs|n_samples)": "LFADS without inputs; the mean of the posterior instead of samples",
    r"zero (activity\.n_val_regions|figures\.n_val_sessions)": "a validation leaves them out",
    r"zero (data\.)?min[_-]firing[_-]rate[_-]hz|zero min-label": "every neuron is kept",
    r"zero (n-heldout|retries)": "none is held out; nothing is tried again",
    r"negative trainer\.(max_epochs|max_steps)": "Lightning's word for no limit",
    r"negative trainer\.(num_sanity_val_steps|devices)": "Lightning's word for all of them",
    r"(very negative|a little negative|negative) window-s": "a window may begin or end before its event",
    r"infinite (reaction-time-s|max-feedback-delay-s)|minus infinite reaction-time-s": "no limit",
}
"""'tag option' as a pattern -> why the value means something all the same"""


ENDLESS = {"--n_trials": "a search of so many trials is what was asked for, and it ends when it is stopped"}
"""options that no huge number is tried for -> why"""


def values_of(option: Option, rng: np.random.Generator) -> Iterator[Value]:
    """Every value for an option, in random order."""
    for place in rng.permutation(len(VALUES)):
        tag = list(VALUES)[place]
        text, sane = VALUES[tag]
        if option.name in ENDLESS and tag in ("huge whole", "beyond 64 bits"):
            continue
        if option.is_list and tag not in LISTED and tag != "not UTF-8" and rng.random() < 0.5:
            tag, text = f"list of {tag}", json.dumps([text])
        yield Value(tag, text, sane)


def is_nonsense(option: Option, value: Value) -> bool:
    """Whether a value cannot mean anything for an option, so that no command may take it."""
    name = option.name.lstrip("-")
    if any(re.fullmatch(pattern, f"{value.tag} {name}") for pattern in MEANINGS):
        return False
    if option.kinds & NUMBERS and not option.kinds & TEXTS:
        if value.tag == "zero":
            return COUNT.search(name) is not None
        if SHARE.search(name) and value.tag in ("fraction", "huge", "huge whole", "beyond 64 bits"):
            return True
    if option.is_list and value.tag in LISTED:
        return False
    return not option.kinds & value.sane


# ---- the options of parsers


def options_of_argparse(command: str, parser: argparse.ArgumentParser) -> list[Option]:
    """The options of a parser of the standard library."""
    found, place = [], 0
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        name = next((name for name in action.option_strings if name.startswith("--")), f"<{place}>")
        place += not action.option_strings
        nargs = action.nargs
        found.append(
            Option(
                command,
                name,
                _kinds_of_action(action),
                n_values=nargs if isinstance(nargs, int) else 1,
                default=action.default,
            )
        )
    return found


def _kinds_of_action(action: argparse.Action) -> frozenset[Kind]:
    if action.nargs == 0:
        return frozenset({"flag"})
    if action.choices is not None:
        return frozenset({"choice"})
    kinds: dict[object, Kind] = {int: "whole", float: "number", Path: "path", str: "text", None: "text"}
    # a function that reads a text says by its name or its value what it reads
    read = action.type
    if read not in kinds and callable(read):
        returned = inspect.signature(read).return_annotation
        read = returned if returned in kinds else None
    return frozenset({kinds[read]})


def options_of_jsonargparse(command: str, parser: argparse.ArgumentParser) -> list[Option]:
    """The options of a command of LightningCLI; those of classes and of data classes stand beneath their own."""
    found = []
    for action in parser._actions:
        name = next((name for name in action.option_strings if name.startswith("--")), None)
        if name is None or name.endswith(".help") or name in ("--help", "--print_config"):
            continue
        hint = getattr(action, "_typehint", None)
        if hint is None:
            kind: Kind = "path" if name == "--config" else "structure"
            found.append(Option(command, name, frozenset({kind})))
        else:
            found.append(_of_hint(command, name, hint))
    return found


def options_of_class(command: str, prefix: str, owner: type) -> list[Option]:
    """The options that a class's constructor has."""
    parameters = inspect.signature(owner, eval_str=True).parameters.values()
    return [_of_hint(command, f"{prefix}.{one.name}", one.annotation) for one in parameters]


def _of_hint(command: str, name: str, hint: object) -> Option:
    kinds = frozenset(_kinds(hint))
    return Option(command, name, kinds, is_list=any(get_origin(part) in LISTS for part in _parts(hint)))


LISTS = (list, tuple, Sequence, Iterable)


def _parts(hint: object) -> Iterator[object]:
    if get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from _parts(part)
    else:
        yield hint


def _kinds(hint: object) -> Iterator[Kind]:
    plain: dict[object, Kind] = {
        int: "whole", float: "number", bool: "flag", str: "text", Path: "path", type(None): "nothing"
    }  # fmt: skip
    for part in _parts(hint):
        if part in plain:
            yield plain[part]
        elif get_origin(part) is Literal:
            yield "choice"
        elif get_origin(part) in LISTS and get_args(part):
            yield from _kinds(get_args(part)[0])
        else:
            yield "structure"

"""Tell the user's errors, which are printed in one line, from the program's own, which are shown in full."""

import re
import sys

from neuromtm.commands.open_files import too_many
from neuromtm.data.workers import lost_worker
from neuromtm.errors import ConfigError, UserError


def users_own(error: BaseException | None) -> UserError | None:
    """The user's error behind an exception; None if it is a fault of the program."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning is not None and isinstance(error, lightning.MisconfigurationException):
        return ConfigError(str(error))
    if not isinstance(error, UserError) and (found := too_many(error) or lost_worker(error)) is not None:
        return found
    if not isinstance(error, UserError) and (found := _too_large(error)) is not None:
        return found
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{error.filename}: {error.strerror}.")
    # jsonargparse wraps what a constructor raises
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


ASKED_FOR = re.compile(r"(?:can't allocate memory: you tried|Unable|[Tt]ried) to allocate ([\d.]+ \w+)")
"""in the words of torch, of numpy and of torch on a GPU"""


def _too_large(error: BaseException | None) -> UserError | None:
    """The user's error behind one of too little memory; None if it is another. jsonargparse keeps its words alone."""
    while error is not None:
        asked = ASKED_FOR.search(str(error))
        if asked or isinstance(error, MemoryError):
            size = f"{asked.group(1)} more were asked for. " if asked else ""
            return UserError(
                f"There is not enough memory for this. {size}Take a smaller model, smaller batches, or fewer sessions."
            )
        error = error.__cause__ or error.__context__
    return None


KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "list[int]": "a list of whole numbers",
    "list[str]": "a list of texts",
    "NoneType": "null",
}
"""Python's name of a type -> what a user may give"""
NOT_OF_ITS_KIND = re.compile(
    r"""Parser key "([\w.]+)": Expected a <class '(int|float|bool)'>\. Got value: (\{.*?\}|\[.*?\]|\S+)"""
)
NONE_OF_ITS_KINDS = re.compile(
    r"""Parser key "([\w.]+)": (?:- Expected a path but .*? - )?Does not validate against any of the Union subtypes """
    r"""Subtypes: \[(.*?)\] Errors: .*?Given value type: <[^>]*> Given value: ?(.*?)(?: ?- Expected a <|$)"""
)
IN_A_CLASS = re.compile(
    r"""Parser key "([\w.]+)": .*Problem with given class_path '([^']+)': (.*?)(?: - Expected a <|$)"""
)


def in_plain_words(message: str) -> str:
    """What jsonargparse says of a command line, in the user's words where they are known; else as it is.

    Args:
        message: of the parser.
    """
    said = " ".join(message.split())
    if "neuromtm.models.interface.Backbone is abstract" in said:
        return (
            "model.backbone: options of an architecture are given, but no class_path. In fine-tuning the architecture "
            "is that of the checkpoint (model.pretrained): leave model.backbone out. For a new model name its "
            "class_path."
        )
    within = IN_A_CLASS.match(said)
    place = f"{within.group(1)}.init_args." if within else ""
    innermost = said[said.rindex('Parser key "') :] if 'Parser key "' in said else ""
    if found := NOT_OF_ITS_KIND.match(innermost):
        option, kind, value = found.groups()
        return f"{place}{option} is {value}, not {KINDS[kind]}."
    if innermost == said and within:
        return f"{within.group(1)}: {within.group(2)}: {within.group(3)}."
    if found := NONE_OF_ITS_KINDS.match(innermost):
        option, kinds, value = found.groups()
        return f"{place}{option} is {value or 'empty'}, {_none_of(kinds)}."
    return message


def _none_of(kinds: str) -> str:
    """That a value is none of some kinds, as jsonargparse lists them."""
    listed = re.findall(r"<class '([\w.]+)'>|(list\[\w+\])|typing\.Literal\[(.*?)\](?:,|$)", kinds)
    words = [f"one of {choices}" if choices else KINDS.get(name or of_list) for name, of_list, choices in listed]
    if not all(words):  # a class among them
        return "which it cannot be; --help says more"
    return f"not {' or '.join(filter(None, words))}"

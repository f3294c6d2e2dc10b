"""Texts of a source: those that a shard cannot hold, and names that are nearly a known one."""

from collections.abc import Iterable

from neuromtm.data.shard_layout import CONTROL


def text_fault(text: str) -> str | None:
    """Why a shard cannot hold a name: what is wrong, with the text as it can be shown; None if nothing is.

    Args:
        text: a name of an animal, a region, a column, ...
    """
    return f"holds control characters: {text!r}" if CONTROL.search(text) else value_fault(text)


def value_fault(text: str) -> str | None:
    """As `text_fault`, for a text that may hold line ends and tabs: a value, not a name.

    Args:
        text: a cell of a column of the trials.
    """
    if "\0" in text:
        return f"holds a character of code 0: {text!r}"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"holds half a character, which UTF-8 cannot write: {text!r}"
    return None


def near_name(names: Iterable[str], known: Iterable[str]) -> tuple[str, str] | None:
    """A name that differs from a known one only in case, spaces, underscores or hyphens, and the known one.

    None if there is no such name, or if the known one is there, too.

    Args:
        names: that a user gave.
        known: that mean something, in the order in which they are proposed.
    """
    given, known = list(names), list(known)
    for name in given:
        if name in known:
            continue
        for right in known:
            if _plain(name) == _plain(right) and right not in given:
                return name, right
    return None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if not letter.isspace() and letter not in "_-")

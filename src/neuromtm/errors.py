"""Errors that the user can mend. Each message says what is wrong, where, and how to mend it."""

import re

NOT_FOR_A_TERMINAL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
"""A terminal obeys these: it moves, hides or rewrites what stands there. Line ends and tabs are not among them."""


def printable(text: object) -> str:
    """A text as it can be shown: characters that a terminal would obey are written as their codes.

    Args:
        text: with names from a file, which may come from anybody.
    """
    return NOT_FOR_A_TERMINAL.sub(lambda found: found.group().encode("unicode_escape").decode(), str(text))


LONGEST_WORD = 1000
"""letters of the longest word of a message, which may be a whole path"""


def shortened(text: object) -> str:
    """A message in which words that are too long for a terminal are cut: somebody gave a file's content for a name."""
    return re.sub(
        rf"\S{{{LONGEST_WORD + 1},}}", lambda word: f"{word.group()[:60]}... ({len(word.group())} letters)", str(text)
    )


class UserError(Exception):
    """A problem that the user can mend. The command line prints the message in one line and exits with code 2."""


class ConfigError(UserError):
    """An option, or a combination of options, that cannot work."""


class ShardError(UserError):
    """A shard that is damaged, has another format, or has parts that do not fit together."""


class ManifestError(UserError):
    """A data folder without a manifest, or one whose manifest does not fit its files."""


class DataError(UserError):
    """Sessions that cannot be used as asked: an unknown eid, different bins, no trials."""


class CheckpointError(UserError):
    """A checkpoint of another model or of other sessions, or a file that is no checkpoint of neuromtm."""


class TrainingError(UserError):
    """A training that cannot continue because its loss is not a finite number."""


class SourceError(UserError):
    """A recording that cannot be turned into a shard: no spikes, no trials left, no regions."""

"""What a page shows, as plain values. The templates render these values, and know nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["good", "mixed", "poor", "unknown"]
"""how good a run is, by colour"""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; every cell is text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture inside the page."""

    name: str
    """name of its file, or what it shows in a few words"""
    caption: str
    source: str
    """a `data:` address"""
    width: int
    """width in pixels of the page at which it has the size it was drawn for"""
    height: int


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A word of the page and what it means."""

    name: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The first sentence of the page."""

    level: Level
    short: str
    """the answer in a few words"""
    reason: str
    """the numbers behind it, the rest of the sentence"""


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A file of the run that is shown as it is."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Training:
    """What the run's folder tells of its training."""

    curves: Picture | None
    configs: Sequence[TextFile]


@dataclass(frozen=True, kw_only=True)
class SessionPictures:
    """The pictures of one session."""

    eid: str
    trial: Picture | None
    neurons: Mapping[str, Picture]
    """name of a task -> its neurons"""
    connectivity: Picture | None


@dataclass(frozen=True, kw_only=True)
class FoldedTable:
    """A table behind a line that opens it."""

    title: str
    table: Table


@dataclass(frozen=True, kw_only=True)
class Behavior:
    """The part of a page on behaviour."""

    plot: Picture
    table: Table
    definitions: Sequence[Definition]


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The tables of regions."""

    sessions: Table
    tasks: Sequence[FoldedTable]


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of a page."""

    name: str
    """name of the run or of the folder"""
    what: str
    """what kind of run it is: a masked model, a decoder, ..."""
    made: str
    """version and time of the page"""
    tested: str | None
    """time of the test; None if there was none"""


@dataclass(frozen=True, kw_only=True)
class Page:
    """What every page has."""

    head: Head


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page."""

    title: str
    text: str
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True)
class DataPage(Page):
    """The page of a folder of shards."""

    remarks: Sequence[str]
    """what to look at first, one sentence each; empty if nothing stands out"""
    sections: Sequence[Section]
    definitions: Sequence[Definition]
    """what the columns mean"""


@dataclass(frozen=True, kw_only=True)
class RunPage(Page):
    """What every page of a run has."""

    training: Training


@dataclass(frozen=True, kw_only=True)
class UntestedPage(RunPage):
    """The page of a run that has no scores yet."""

    command: str
    """command that makes the scores"""


@dataclass(frozen=True, kw_only=True)
class DecoderPage(RunPage):
    """The page of a decoder's test."""

    verdict: Verdict
    explanation: Sequence[str]
    """one paragraph on what a decoder is, and one on this decoder"""
    note: str
    """note on the scores"""
    behavior: Behavior | None


@dataclass(frozen=True, kw_only=True)
class ActivityPage(RunPage):
    """The page of a test of the activity tasks."""

    verdict: Verdict
    decoded: str | None
    """a sentence on behaviour"""
    summary: Picture | None
    glance: Table | None
    """one row per task: the run beside its references"""
    glance_notes: Sequence[str]
    hint: str | None
    """command that makes a baseline; None if one was given"""
    tasks: Sequence[Definition]
    behavior: Behavior | None
    sessions: Sequence[SessionPictures]
    n_sessions: int
    """number of sessions, with or without pictures"""
    neurons: Sequence[Picture]
    """pictures of all sessions together"""
    has_pictures: bool
    """whether there is a figures/ at all"""
    missing: Sequence[str]
    """names of pictures that a test draws, but figures/ lacks"""
    scores: Table
    absent: Sequence[str]
    """metrics that every table shows, but this run lacks"""
    explained: Table | None
    """share of the spikes explained"""
    spread: Table | None
    """spread of the metrics over neurons; None without a neurons.csv"""
    spread_definitions: Sequence[Definition]
    regions: Regions | None
    """None without a regions.csv"""

"""What was skipped and why: a table on the screen, grouped by the reason, and `skipped.csv` beside the shards."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from neuromtm.files import table_text, write_whole

FILE = "skipped.csv"
MOST_NAMES = 5


class SkippedSession(NamedTuple):
    """A session that could not be prepared."""

    eid: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason with a # in the place of every number, so that equal reasons are counted together."""
        unnamed = re.sub(rf"(?<!\w){re.escape(self.eid)}(?!\w)", "EID", self.reason)
        return re.sub(r"\d[\d.,]*(?<![.,])", "#", unnamed)


def skipped_lines(skipped: Sequence[SkippedSession]) -> list[str]:
    """The table for the screen, the most frequent reason first. A single session has its own line already.

    Args:
        skipped: in the order of the preparation.
    """
    if len(skipped) < 2:
        return []
    groups: dict[str, list[SkippedSession]] = {}
    for session in skipped:
        groups.setdefault(session.kind, []).append(session)
    lines = []
    for group in sorted(groups.values(), key=len, reverse=True):
        names = ", ".join(session.eid for session in group[:MOST_NAMES])
        more = f" and {len(group) - MOST_NAMES} more" if len(group) > MOST_NAMES else ""
        alike = "" if len({s.reason for s in group}) == 1 else ", such as"
        lines.append(f"{len(group):5} skipped{alike}: {group[0].reason} ({names}{more})")
    return lines


def write_skipped(out: Path, skipped: Sequence[SkippedSession]) -> None:
    """Write the table of this run in the place of an earlier one; without a skipped session there is none.

    Args:
        out: folder of the shards.
        skipped: in the order of the preparation.
    """
    if not skipped:
        (out / FILE).unlink(missing_ok=True)
        return
    rows = sorted((s.kind, s.eid, s.reason) for s in skipped)
    write_whole(out / FILE, table_text(("eid", "reason", "kind"), [(eid, reason, kind) for kind, eid, reason in rows]))

"""The references that a run is compared with: the ceiling of a simulation, and simple baselines.

Both write the tables of a test. A file beside their metrics.json says what they are: `ceiling.json` and
`baseline.json`. A folder without that file is no reference.
"""

import json
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuromtm.errors import UserError
from neuromtm.evaluation.amounts import AVERAGE_STEM, BASELINE_STEM
from neuromtm.evaluation.pairing import Paired, TestedRun, read_run
from neuromtm.regular_files import regular_text

CEILING_FILE = "ceiling.json"
BASELINE_FILE = f"{BASELINE_STEM}.json"
AVERAGE_FILE = f"{AVERAGE_STEM}.json"


@dataclass(frozen=True)
class TestedBaseline:
    """A simple baseline and its scores."""

    kind: str
    """its name for `neuromtm baseline --kind`"""
    run: TestedRun


def share_of_ceiling(paired: Paired) -> float | None:
    """The share of the ceiling's bits per spike that a run reaches.

    Args:
        paired: the run against the ceiling, over the neurons that both score.

    Returns:
        The run's mean over sessions divided by the ceiling's; None where the ceiling is not above 0.
    """
    ceiling, run = paired.means.mean(axis=0)
    return float(run / ceiling) if ceiling > 0 else None


def ceiling_text(data: Path, eids: Sequence[str]) -> str:
    """The text of ceiling.json: what was scored in the tables beside it.

    Args:
        data: folder of the simulated shards.
        eids: the sessions scored.
    """
    return json.dumps({"data": str(data), "sessions": list(eids)}, indent=1) + "\n"


def read_ceiling(path: Path, *, eids: Collection[str], data: str | None = None) -> TestedRun:
    """Read what `neuromtm ceiling` wrote.

    Args:
        path: its folder, or the metrics.json in it.
        eids: sessions that it must have: those of the run compared with it.
        data: folder of the run's shards, for the command that makes the ceiling again; None if unknown.

    Raises:
        UserError: if it is no ceiling, or one of other sessions.
    """
    folder = _folder(path)
    how = shlex.join(["neuromtm", "ceiling", "--data", data or "DATA", "--sessions", *eids, "--out", str(folder)])
    record = _record(
        folder / CEILING_FILE,
        problem=f"this is not what `neuromtm ceiling` writes, or an earlier version wrote it. Make it again: {how}",
    )
    marked = record.get("sessions")
    if not isinstance(marked, list) or not all(isinstance(eid, str) for eid in marked):
        raise UserError(f"{folder / CEILING_FILE}: names no sessions. Make it again: {how}")
    run = read_run(path)
    _check_sessions(path, run, marked, eids, what="ceiling", how=how)
    return run


def read_baseline(path: Path, *, eids: Collection[str], data: str | None = None) -> TestedBaseline:
    """Read what `neuromtm baseline` wrote.

    Args:
        path: its folder, or the metrics.json in it.
        eids: sessions that it must have: those of the run compared with it.
        data: folder of the run's shards, for the command that makes the baseline again; None if unknown.

    Raises:
        UserError: if it is no baseline, or one of other sessions.
    """
    folder = _folder(path)
    start = ["neuromtm", "baseline", "--data", data or "DATA", "--kind"]
    end = ["--sessions", *eids, "--out", str(folder)]
    record = _record(
        folder / BASELINE_FILE,
        problem=f"this is not what `neuromtm baseline` writes. Make one: {shlex.join([*start, 'ridge', *end])}",
    )
    kind, marked = record.get("kind"), record.get("chosen")
    if not isinstance(kind, str) or not isinstance(marked, dict):
        how = shlex.join([*start, "ridge", *end])
        raise UserError(
            f"{folder / BASELINE_FILE}: not the record of a baseline, its kind and choices. Make one: {how}"
        )
    run = read_run(path)
    _check_sessions(path, run, marked, eids, what="baseline", how=shlex.join([*start, kind, *end]))
    return TestedBaseline(kind, run)


def _folder(path: Path) -> Path:
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such folder.")
    return path if path.is_dir() else path.parent


def _record(path: Path, *, problem: str) -> dict:
    if not path.exists():
        raise UserError(f"{path.parent}: no {path.name} in it, so {problem}")
    try:
        record = json.loads(regular_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error}), so {problem}") from error
    if not isinstance(record, dict):
        raise UserError(f"{path}: holds no record, so {problem}")
    return record


def _check_sessions(
    path: Path, run: TestedRun, marked: Collection[str], eids: Collection[str], *, what: str, how: str
) -> None:
    scored = run.metrics["sessions"]
    if set(scored) != set(marked):
        raise UserError(
            f"{path}: its metrics are of the sessions {', '.join(scored)}, but {what}.json names {', '.join(marked)}: "
            f"another test has written into this folder. Make it again: {how}"
        )
    missing = [eid for eid in eids if eid not in scored]
    if missing:
        raise UserError(
            f"{path}: a {what} of other sessions: it has {', '.join(scored)}, but the run also has "
            f"{', '.join(missing)}. Make one of these sessions too: {how}"
        )

"""The part of a run's page on behaviour: what was decoded, from what, and what raw counts give."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from neuromtm.errors import UserError
from neuromtm.evaluation.results import BEHAVIOR_FILE, Metrics
from neuromtm.files import read_table
from neuromtm.metrics.keys import behavior_key, behaviors, short_name

HEAD = (
    *("behaviour", "session", "score", "model", "balanced", "counts", "counts, low rank", "chance"),
    *("read from", "test trials", "left out"),
)
ABSENT = "-"


class BehaviorTable(NamedTuple):
    """A table of the page."""

    head: tuple[str, ...]
    rows: list[list[str]]
    figures: list[str]
    """the figures of behaviour that the run has, see `evaluation.keys`, in the order of their explanations"""


def behavior_table(run_dir: Path, metrics: Metrics) -> BehaviorTable | None:
    """A row for each behaviour and session, and for each behaviour's mean; None if nothing was decoded.

    Args:
        run_dir: of the test.
        metrics: of that test.

    Raises:
        UserError: if behavior.csv is not one that a test writes.
    """
    found = behaviors(metrics["mean"])
    if not found:
        return None
    chosen, rows = _chosen(run_dir / BEHAVIOR_FILE), []
    for behavior, score in found.items():
        of_sessions = {eid: of for eid, of in metrics["sessions"].items() if f"{behavior}_{score}" in of}
        for eid, figures in of_sessions.items():
            about = chosen.get((eid, behavior), [ABSENT] * 3)
            rows.append([behavior, eid, score, *_numbers(figures, behavior, score), *about])
        mean = _numbers(metrics["mean"], behavior, score)
        rows.append([behavior, f"mean of {len(of_sessions)}", score, *mean, *[ABSENT] * 3])
    keys = (behavior_key(key) for key in metrics["mean"])
    return BehaviorTable(HEAD, rows, list(dict.fromkeys(key.figure for key in keys if key is not None)))


def _numbers(figures: Mapping[str, float], behavior: str, score: str) -> list[str]:
    names = (score, "balanced_accuracy", f"{score}_counts", f"{score}_rrr", "chance")
    keys = (f"{behavior}_{name}" for name in names)
    return [f"{figures[key]:.3f}" if key in figures else ABSENT for key in keys]


def _chosen(path: Path) -> dict[tuple[str, str], list[str]]:
    """(eid, behaviour) -> features and prompt of the model's read-out, test trials used, what was left out."""
    if not path.exists():  # a decoder's test writes none
        return {}
    try:
        rows = [row for row in read_table(path) if row["chosen"] == "1" and row["prompt"]]
        return {
            (row["eid"], short_name(row["target"])): [
                f"{row['features']}, {row['prompt']}",
                str(int(row["n_test"])),
                f"{int(row['n_trials_left_out'])} trials, {int(row['n_bins_left_out'])} bins",
            ]
            for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: not a table of read-outs of a test ({error!r}). Test the run again.") from error

"""The part of a run's page on behaviour: scores of the model, of raw counts and of chance."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

from neuromtm.errors import UserError
from neuromtm.evaluation.results import BEHAVIOR_FILE, DECODING_FILE, Metrics
from neuromtm.files import read_table, reason_of
from neuromtm.metrics.behavior import FURTHER_METRICS
from neuromtm.metrics.keys import OWN, behavior_key, behaviors, short_name
from neuromtm.plots.behavior import behavior_plot
from neuromtm.report.pictures import picture
from neuromtm.report.texts import BEHAVIOR, DECODER, PAGE
from neuromtm.report.view import Behavior, Definition, Table

_TITLES = tuple(metric.title for metric in FURTHER_METRICS.values())
SCORED = {
    "{score}": "model",
    **{name: metric.title for name, metric in FURTHER_METRICS.items()},
    OWN: "model's own",
    "{score}_counts": "counts",
    "{score}_rrr": "counts, low rank",
    "chance": "chance",
}
"""metric of a behaviour -> its column"""
DECODER_HEAD = ("behaviour", "session", "score", "decoder", *_TITLES, "chance", "test trials", "left out")
ABSENT = "-"


def behavior_of(run_dir: Path, metrics: Metrics) -> Behavior | None:
    """What the read-outs of a test decoded; None if no behaviour was decoded.

    Args:
        run_dir: run directory of the test.
        metrics: metrics of that test.

    Raises:
        UserError: if a test did not write behavior.csv.
    """
    plot = behavior_plot(metrics["sessions"])
    if plot is None:
        return None
    about = _read(run_dir / BEHAVIOR_FILE, "read-outs", _read_out)
    scored = dict(SCORED)
    if not any(key.endswith(OWN) for key in metrics["mean"]):  # few models read behaviour themselves
        del scored[OWN]
    head = ["behaviour", "session", "score", *scored.values(), "read from", "test trials", "left out"]
    return Behavior(
        plot=picture(plot, "behaviour", PAGE["behavior.png"]),
        table=Table(head=head, rows=_rows(metrics, about, tuple(scored), [ABSENT] * 3)),
        definitions=_definitions(metrics, BEHAVIOR),
    )


def decoded_of(run_dir: Path, metrics: Metrics) -> Behavior | None:
    """What a decoder's test found; None if nothing was scored.

    Raises:
        UserError: if a test did not write decoding.csv.
    """
    plot = behavior_plot(metrics["sessions"], model="decoder")
    if plot is None:
        return None
    about = _read(run_dir / DECODING_FILE, "a decoder's scores", _decoded)
    names = ("{score}", *FURTHER_METRICS, "chance")
    return Behavior(
        plot=picture(plot, "behaviour decoded", DECODER["plot"]),
        table=Table(head=DECODER_HEAD, rows=_rows(metrics, about, names, [ABSENT] * 2)),
        definitions=_definitions(metrics, DECODER),
    )


def _rows(
    metrics: Metrics, about: Mapping[tuple[str, str], list[str]], names: tuple[str, ...], unknown: list[str]
) -> list[list[str]]:
    """A row for each behaviour and session, and one for each behaviour's mean."""
    rows = []
    for behavior, score in behaviors(metrics["mean"]).items():
        of_sessions = {eid: of for eid, of in metrics["sessions"].items() if f"{behavior}_{score}" in of}
        keys = [f"{behavior}_{name.format(score=score)}" for name in names]
        for eid, of_one in of_sessions.items():
            rows.append([behavior, eid, score, *_numbers(of_one, keys), *about.get((eid, behavior), unknown)])
        rows.append([behavior, f"mean of {len(of_sessions)}", score, *_numbers(metrics["mean"], keys), *unknown])
    return rows


def _numbers(metrics: Mapping[str, float], keys: list[str]) -> list[str]:
    return [f"{metrics[key]:.3f}" if key in metrics else ABSENT for key in keys]


def _definitions(metrics: Metrics, meanings: Mapping[str, str]) -> list[Definition]:
    keys = (behavior_key(key) for key in metrics["mean"])
    names = dict.fromkeys(key.metric for key in keys if key is not None)
    return [Definition(name=f"<behaviour>_{name}", meaning=meanings[name]) for name in names if name in meanings]


def _read(
    path: Path, what: str, about: Callable[[dict[str, str]], tuple[tuple[str, str], list[str]] | None]
) -> dict[tuple[str, str], list[str]]:
    """(eid, behaviour) -> what a table says of it; nothing if there is no such table."""
    if not path.exists():
        return {}
    try:
        return dict(one for row in read_table(path) if (one := about(row)) is not None)
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(f"{path}: not a table of {what} of a test ({reason_of(error)}). Test the run again.") from error


def _read_out(row: dict[str, str]) -> tuple[tuple[str, str], list[str]] | None:
    """Features and prompt of the model's chosen read-out, test trials used, and what was left out."""
    if row["chosen"] != "1" or not row["prompt"]:
        return None
    left_out = f"{int(row['n_trials_left_out'])} trials, {int(row['n_bins_left_out'])} bins"
    name = row["eid"], short_name(row["target"])
    return name, [f"{row['features']}, {row['prompt']}", str(int(row["n_test"])), left_out]


def _decoded(row: dict[str, str]) -> tuple[tuple[str, str], list[str]]:
    """Test trials scored, and what was left out."""
    left_out = f"{int(row['n_trials_left_out'])} trials, {int(row['n_bins_left_out'])} bins"
    return (row["eid"], short_name(row["target"])), [str(int(row["n_trials"])), left_out]

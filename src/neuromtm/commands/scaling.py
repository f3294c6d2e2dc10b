"""`neuromtm scaling`: the scaling curve of a sweep over pretraining sessions."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from neuromtm.errors import UserError
from neuromtm.evaluation.scaling import fit_curve, gain_over, score_of, seed_noise
from neuromtm.evaluation.sweep import Entry, Unfinished, read_grid, read_sweep
from neuromtm.files import keep_previous, read_yaml, whole_file, write_whole
from neuromtm.metrics.keys import BPS_KEYS, Column, columns_of
from neuromtm.report.scaling import (
    Curves,
    Row,
    Seen,
    curves_table,
    curves_text,
    gains_table,
    rows_table,
    scaling_text,
)
from neuromtm.report.tables import print_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AGAINST = ("sessions", "neurons", "trials", "steps")


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Print the scores of a sweep by the sessions of the pretraining, and write them as tables and plots.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    parser.add_argument("sweep", metavar="SWEEP", type=Path, help="folder of the sweep, with its grid.csv")
    parser.add_argument(
        "--against",
        choices=AGAINST,
        default="sessions",
        help="what the curve is drawn and fitted against: how much of it the pretraining saw (default: sessions)",
    )
    options = parser.parse_args(arguments)
    grid = read_grid(options.sweep)
    entries, unfinished = read_sweep(options.sweep, grid)
    if not any(entry.stage == "finetune" for entry in entries):
        shown = "; ".join(f"{one.run}: {one.reason}" for one in unfinished[:3])
        raise UserError(
            f"{options.sweep}: no fine-tuned run of this sweep has results yet. {len(unfinished)} of {len(grid)} runs "
            f"are unfinished ({shown}{'; ...' if len(unfinished) > 3 else ''})."
        )
    columns = [c for c in columns_of(key for e in entries for key in e.run.metrics["mean"]) if _is_scored(c, entries)]
    rows = _rows(options.sweep, entries, columns)
    x = _amounts(rows, options.against)
    curves = _curves(entries, columns, x)
    tables = [rows_table(rows, columns)]
    tables += [gains_table(rows)] if any(row.gains for row in rows) else []
    tables += [curves_table(curves, columns, options.against)]
    print_tables(tables)
    print("".join(f"\n{note}" for note in _notes(entries)))
    _print_unfinished(unfinished, len(grid))
    folder = options.sweep / "scaling"
    for name, text in (("scaling.csv", scaling_text(rows)), ("curves.csv", curves_text(curves, options.against))):
        keep_previous(folder / name)
        write_whole(folder / name, text)
    plot = _plot(rows, columns, curves, x, options.against)
    for kind in ("png", "pdf"):
        keep_previous(folder / f"scaling.{kind}")
        with whole_file(folder / f"scaling.{kind}") as temporary:
            plot.savefig(temporary, format=kind, dpi=150)
    print(f"Scaling: {folder}")


def _is_scored(column: Column, entries: Sequence[Entry]) -> bool:
    return any(entry.stage == "finetune" and column.key in entry.run.metrics["mean"] for entry in entries)


def _rows(sweep: Path, entries: Sequence[Entry], columns: Sequence[Column]) -> list[Row]:
    rows = []
    for entry in entries:
        scores, gains = {}, {}
        scratch = _scratch_of(entry, entries)
        for key in (column.key for column in columns):
            noise = seed_noise(_alike(entry, entries), key)
            score = score_of(entry, key, noise)
            if score is not None:
                scores[key] = score
            if entry.stage == "finetune" and scratch is not None and key in BPS_KEYS:
                of_scratch = seed_noise([scratch], key)
                gain = gain_over(scratch, entry, key, noise=noise, reference_noise=of_scratch)
                if gain is not None:
                    gains[key] = gain
        seen = _mean_seen([seen_by(sweep / name) for name in entry.pretrained])
        rows.append(Row(entry=entry, seen=seen, scores=scores, gains=gains))
    return rows


def _alike(entry: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """The entries that differ from this one in their sessions only."""
    return [one for one in entries if (one.stage, one.objective) == (entry.stage, entry.objective)]


def _scratch_of(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    return next((one for one in entries if one.stage == "scratch" and one.objective == entry.objective), None)


def seen_by(run_dir: Path) -> Seen:
    """What a pretraining learned from, by its best checkpoint and the manifest of its data. No weights are read.

    Args:
        run_dir: of the pretraining. What cannot be read there is not known.
    """
    # only here: the tables of results alone need no torch
    from neuromtm.training.checkpoint import CheckpointRecord, glance_at_checkpoint

    path = run_dir / "checkpoints" / "best.ckpt"
    try:
        checkpoint = glance_at_checkpoint(path)
    except UserError:
        return Seen()
    record = CheckpointRecord.from_checkpoint(checkpoint, name=str(path))
    n_trials = _n_train_trials(run_dir / "config.yaml", [session.eid for session in record.sessions])
    n_neurons = sum(session.n_neurons for session in record.sessions)
    try:
        trained = glance_at_checkpoint(run_dir / "checkpoints" / "last.ckpt").get("global_step")
    except UserError:
        trained = None
    return Seen(n_neurons, n_trials, checkpoint.get("global_step"), trained)


def _n_train_trials(config: Path, eids: Sequence[str]) -> int | None:
    from neuromtm.data.manifest import read_manifest

    try:
        options: Mapping[str, Any] = read_yaml(config)["data"]
        in_manifest = {entry.eid: entry.splits["train"] for entry in read_manifest(Path(options["root"]))}
        most = options.get("n_train_trials")
        return sum(in_manifest[eid] if most is None else min(in_manifest[eid], most) for eid in eids)
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError, UserError):
        return None


def _mean_seen(every: Sequence[Seen]) -> Seen:
    columns = zip(*every, strict=True)
    known = [[value for value in values if value is not None] for values in columns]
    return Seen(*(float(np.mean(values)) if len(values) == len(every) else None for values in known))


def _amounts(rows: Sequence[Row], against: str) -> dict[tuple[str, int], float]:
    """(objective, sessions) of each fine-tuned entry -> where it stands on the horizontal axis."""
    amounts = {}
    for row in rows:
        if row.entry.stage == "finetune":
            amount = row.entry.n_sessions if against == "sessions" else getattr(row.seen, f"n_{against}")
            if not amount:
                raise UserError(
                    f"--against {against}: not known of {row.entry.name}. It is read from the pretraining's "
                    "checkpoints/best.ckpt, and trials from the manifest of its data. Use --against sessions."
                )
            amounts[row.entry.objective, row.entry.n_sessions] = float(amount)
    return amounts


def _curves(entries: Sequence[Entry], columns: Sequence[Column], x: Mapping[tuple[str, int], float]) -> Curves:
    curves = {}
    for objective in dict.fromkeys(objective for objective, _ in x):
        own = [entry for entry in entries if entry.stage == "finetune" and entry.objective == objective]
        places = [x[objective, entry.n_sessions] for entry in own]
        for column in columns:
            if any(column.key in entry.run.metrics["mean"] for entry in own):
                noise = seed_noise(own, column.key)
                curves[objective, column.key] = fit_curve(own, places, column.key, noise)
    return curves


def _notes(entries: Sequence[Entry]) -> list[str]:
    notes = [
        f"{entry.name}: no results of {', '.join(entry.absent)}, so its means are not of the same animals."
        for entry in entries
        if entry.absent
    ]
    for entry in entries:
        if len(entry.seeds) < entry.n_seeds:
            notes.append(f"{entry.name}: {len(entry.seeds)} of {entry.n_seeds} seeds have results of all its animals.")
        in_some = dict.fromkeys(key for run in entry.seeds.values() for key in run.metrics["mean"])
        left_out = [key for key in in_some if key not in entry.run.metrics["mean"]]
        if left_out:
            notes.append(
                f"{entry.name}: not all seeds have {', '.join(left_out)}, so it is left out. A test that still runs "
                "decodes behaviour last."
            )
    return notes


def _plot(
    rows: Sequence[Row],
    columns: Sequence[Column],
    curves: Curves,
    x: Mapping[tuple[str, int], float],
    against: str,
) -> Figure:
    from neuromtm.plots.scaling import Points, ScalingPanel, scaling_plot  # matplotlib is needed for files only

    panels = []
    for column in columns:
        points = {}
        for objective in dict.fromkeys(objective for objective, _ in x):
            own = [
                row
                for row in rows
                if (row.entry.stage, row.entry.objective) == ("finetune", objective) and column.key in row.scores
            ]
            if not own:
                continue
            scores = [row.scores[column.key] for row in own]
            scratch = [row for row in rows if (row.entry.stage, row.entry.objective) == ("scratch", objective)]
            curve = curves[objective, column.key]
            points[objective] = Points(
                x=np.array([x[objective, row.entry.n_sessions] for row in own]),
                mean=np.array([score.mean for score in scores]),
                low=np.array([np.nan if score.interval is None else score.interval.low for score in scores]),
                high=np.array([np.nan if score.interval is None else score.interval.high for score in scores]),
                curve=None if isinstance(curve, str) else (curve.x, curve.y, curve.low, curve.high),
                scratch=next((row.scores[column.key].mean for row in scratch if column.key in row.scores), None),
            )
        of_baselines = {
            row.entry.name: row.scores[column.key].mean
            for row in rows
            if row.entry.stage == "baseline" and column.key in row.scores
        }
        chances = [row.entry.run.metrics["mean"].get(column.chance or "") for row in rows]
        known = [chance for chance in chances if chance is not None]
        title = f"{column.title} (bits/spike)" if column.key in BPS_KEYS else column.title
        chance = float(np.mean(known)) if known else None
        panels.append(ScalingPanel(title=title, points=points, baselines=of_baselines, chance=chance))
    return scaling_plot(panels, against=against)


def _print_unfinished(unfinished: Sequence[Unfinished], n_runs: int) -> None:
    if unfinished:
        print(f"{len(unfinished)} of {n_runs} runs are not finished, and not in the tables:")
        for one in unfinished:
            print(f"  {one.run}: {one.reason}")

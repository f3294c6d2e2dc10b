"""A sweep over the number of pretraining sessions: the runs that its grid names, and what their tests found."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, cast, get_args

from neuromtm.errors import UserError
from neuromtm.evaluation.pairing import TestedRun, read_run
from neuromtm.evaluation.results import METRICS_FILE, with_means
from neuromtm.evaluation.seeds import average
from neuromtm.files import read_table, reason_of

GRID_FILE = "grid.csv"
GRID_COLUMNS = ("run", "stage", "objective", "n_sessions", "seed", "animal", "pretrained")
Stage = Literal["pretrain", "finetune", "scratch", "baseline"]


@dataclass(frozen=True, kw_only=True)
class GridRun:
    """A row of grid.csv."""

    run: str
    """run directory, relative to the sweep's folder"""
    stage: Stage
    objective: str
    """`mtm`, `temporal` and so on; of a baseline its kind"""
    n_sessions: int
    """sessions of the pretraining; 0 without pretraining"""
    seed: int
    """0 where grid.csv has none, as for a baseline"""
    animal: str
    """the held-out animal; empty for a pretraining"""
    pretrained: str
    """run of the pretraining; empty unless the stage is `finetune`"""


class Unfinished(NamedTuple):
    """A run of the grid without results."""

    run: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The tested runs of one stage, one objective and one number of pretraining sessions: all seeds and animals."""

    stage: Stage
    objective: str
    n_sessions: int
    run: TestedRun
    """the sessions of all animals, each averaged over its seeds"""
    seeds: Mapping[int, TestedRun]
    """seed -> the sessions of all animals; only seeds that have been tested on every animal of `animals`"""
    n_seeds: int
    """seeds that the grid names"""
    animals: tuple[str, ...]
    """those of which a run has results"""
    of_session: Mapping[str, str]
    """eid -> animal"""
    absent: tuple[str, ...]
    """animals that the grid names here, but of which no run has results"""
    pretrained: tuple[str, ...]
    """the pretrainings that these runs started from"""

    @property
    def name(self) -> str:
        """What tables, legends and messages call it, e.g. `mtm, 4 sessions`."""
        match self.stage:
            case "scratch":
                return f"{self.objective}, from scratch"
            case "baseline":
                return self.objective
        return f"{self.objective}, {self.n_sessions} session{'s' if self.n_sessions > 1 else ''}"


def read_grid(sweep: Path) -> list[GridRun]:
    """Read the grid of a sweep.

    Args:
        sweep: folder of the sweep.

    Raises:
        UserError: if there is no grid, or it is damaged; the message names every wrong row.
    """
    path = Path(sweep) / GRID_FILE
    if not Path(sweep).is_dir():
        raise UserError(f"{sweep}: no such folder.")
    if not path.exists():
        raise UserError(
            f"{sweep}: no {GRID_FILE} in it, so it is no sweep. Name the folder that the sweep was sent to."
        )
    try:
        table = read_table(path, needs=GRID_COLUMNS)
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path}: not the grid of a sweep ({reason_of(error)}). Write it again.") from error
    problems = [f"row {number}: {p}" for number, row in enumerate(table, start=2) for p in _row_problems(row)]
    runs = [row["run"] for row in table]
    problems += [f"the run {run} stands in several rows" for run in dict.fromkeys(runs) if runs.count(run) > 1]
    pretrainings = {row["run"] for row in table if row["stage"] == "pretrain"}
    problems += [
        f"{row['run']} starts from {row['pretrained']}, which is no pretraining of this grid"
        for row in table
        if row["stage"] == "finetune" and row["pretrained"] not in pretrainings
    ]
    if problems or not table:
        raise UserError(f"{path}: {'; '.join(problems) or 'no run in it'}. Write it again.")
    return [
        GridRun(
            run=row["run"],
            stage=cast(Stage, row["stage"]),
            objective=row["objective"],
            n_sessions=int(row["n_sessions"]),
            seed=int(row["seed"] or 0),
            animal=row["animal"],
            pretrained=row["pretrained"],
        )
        for row in table
    ]


def _row_problems(row: Mapping[str, str]) -> list[str]:
    stage = row["stage"]
    if stage not in get_args(Stage):
        return [f"the stage is {stage!r}, not one of {', '.join(get_args(Stage))}"]
    problems = [f"{name} is empty" for name in ("run", "objective") if not row[name]]
    for name, may_be_empty in (("n_sessions", False), ("seed", stage == "baseline")):
        if not row[name].isdecimal() and not (may_be_empty and not row[name]):
            problems.append(f"{name} is {row[name]!r}, not a whole number from 0")
    if stage in ("pretrain", "finetune") and row["n_sessions"].isdecimal() and int(row["n_sessions"]) == 0:
        problems.append(f"n_sessions is 0, but the stage is {stage}")
    if stage != "pretrain" and not row["animal"]:
        problems.append("animal is empty")
    return problems


def read_sweep(sweep: Path, grid: Sequence[GridRun]) -> tuple[list[Entry], list[Unfinished]]:
    """Read the results of a sweep's runs.

    Args:
        sweep: folder of the sweep.
        grid: its runs.

    Returns:
        What was tested, and the runs without results.

    Raises:
        UserError: if the runs of one animal were tested on different sessions.
    """
    found: dict[str, TestedRun] = {}
    unfinished = []
    for one in grid:
        folder = Path(sweep) / one.run
        if one.stage == "pretrain":
            if not (folder / "checkpoints" / "best.ckpt").exists():
                unfinished.append(Unfinished(one.run, _state(folder)))
        elif not (folder / METRICS_FILE).exists():
            unfinished.append(Unfinished(one.run, _state(folder)))
        else:
            try:
                found[one.run] = read_run(folder)
            except UserError as error:
                unfinished.append(Unfinished(one.run, f"its results cannot be read: {error}"))
    kinds = dict.fromkeys((one.stage, one.objective, one.n_sessions) for one in grid if one.stage != "pretrain")
    entries = []
    for kind in sorted(kinds, key=lambda kind: (get_args(Stage).index(kind[0]), kind[1], kind[2])):
        own = [one for one in grid if (one.stage, one.objective, one.n_sessions) == kind]
        if any(one.run in found for one in own):
            entries.append(_entry(own, found))
    return entries, unfinished


def _state(folder: Path) -> str:
    """How far a run without results has come, as its folder shows it."""
    if not folder.is_dir():
        return "not started"
    checkpoints = folder / "checkpoints"
    if (checkpoints / "best.ckpt").exists():
        return "in training, or not tested"
    if (checkpoints / "last.ckpt").exists():
        return "in training, or stopped before its first validation"
    return "in training, or failed before its first checkpoint"


def _entry(grid: Sequence[GridRun], found: Mapping[str, TestedRun]) -> Entry:
    by_animal: dict[str, dict[int, TestedRun]] = {}
    for one in grid:
        own = by_animal.setdefault(one.animal, {})
        if one.run in found:
            own[one.seed] = found[one.run]
    tested = {animal: seeds for animal, seeds in by_animal.items() if seeds}
    first = grid[0]
    name = f"{first.stage} of {first.objective}, {first.n_sessions} sessions"
    averages = {animal: average(f"{name}, {animal}", list(seeds.values())) for animal, seeds in tested.items()}
    of_session = {eid: animal for animal, run in averages.items() for eid in run.metrics["sessions"]}
    common = set.intersection(*(set(seeds) for seeds in tested.values()))
    return Entry(
        stage=first.stage,
        objective=first.objective,
        n_sessions=first.n_sessions,
        run=_together(list(averages.values())),
        seeds={seed: _together([seeds[seed] for seeds in tested.values()]) for seed in sorted(common)},
        n_seeds=len({one.seed for one in grid}),
        animals=tuple(tested),
        of_session=of_session,
        absent=tuple(animal for animal in by_animal if animal not in tested),
        pretrained=tuple(dict.fromkeys(one.pretrained for one in grid if one.run in found and one.pretrained)),
    )


def _together(runs: Sequence[TestedRun]) -> TestedRun:
    """The sessions of several animals as one run."""
    sessions = {eid: metrics for run in runs for eid, metrics in run.metrics["sessions"].items()}
    neurons = [run.neurons for run in runs if run.neurons is not None]
    trials = [run.trials for run in runs if run.trials is not None]
    return TestedRun(
        with_means(sessions),
        {eid: own for table in neurons for eid, own in table.items()} if len(neurons) == len(runs) else None,
        {eid: own for table in trials for eid, own in table.items()} if len(trials) == len(runs) else None,
    )

"""A test's results as files: `metrics.json` (sessions and mean), and tables of neurons, regions and read-outs."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from neuromtm.errors import DataError, UserError, printable
from neuromtm.evaluation.cells import cell_count, cell_number
from neuromtm.evaluation.statistics import bootstrap_mean
from neuromtm.evaluation.trials import TRIALS_FILE, write_trials
from neuromtm.files import first_words, keep_previous, read_table, reason_of, table_text, write_whole
from neuromtm.metrics.keys import BPS_KEYS, MEDIAN_KEYS, largest_value
from neuromtm.metrics.neurons import NEURON_COLUMNS, NUMBER_COLUMNS
from neuromtm.regular_files import regular_text

if TYPE_CHECKING:  # torch is not needed to read results
    from neuromtm.evaluation.scores import NeuronScores, SessionScores

METRICS_FILE = "metrics.json"
NEURONS_FILE = "neurons.csv"
REGIONS_FILE = "regions.csv"
BEHAVIOR_FILE = "behavior.csv"
DECODING_FILE = "decoding.csv"
"""the table of a decoder's test"""
WHOLE_SESSION = "all"
"""instead of a region's acronym in regions.csv: every neuron of the session"""
REGION_STATISTICS = ("n", "mean", "median", "low", "high")
"""columns of each task in regions.csv; `n` is the neurons scored, `low` and `high` end the mean's bootstrap interval"""


class Metrics(TypedDict):
    """The content of metrics.json. A key is absent where the data has no such label or task."""

    sessions: dict[str, dict[str, float]]
    """eid -> metric -> value"""
    mean: dict[str, float]
    """metric -> mean over the sessions that have it"""


def metrics_of(sessions: Sequence[SessionScores]) -> Metrics:
    """Sessions and their mean, as metrics.json holds them.

    Raises:
        DataError: if a metric is not finite, because the model's rates diverged. The message names every such metric.
    """
    by_eid = {session.eid: session.metrics() for session in sessions}
    bad = [f"{key} of {eid}" for eid, metrics in by_eid.items() for key, v in metrics.items() if not math.isfinite(v)]
    if bad:
        raise DataError(
            f"Not a finite number: {', '.join(bad)}. The model's rates diverged; train it again with a lower "
            "learning rate, or test an earlier checkpoint."
        )
    return with_means(by_eid)


def with_means(sessions: dict[str, dict[str, float]]) -> Metrics:
    """Add the mean of each metric over the sessions that have it.

    Args:
        sessions: eid -> metric -> value.
    """
    mean = {}
    for key in dict.fromkeys((*BPS_KEYS, *MEDIAN_KEYS, *(key for metrics in sessions.values() for key in metrics))):
        values = [metrics[key] for metrics in sessions.values() if key in metrics]
        if values:
            mean[key] = math.fsum(values) / len(values)
    return Metrics(sessions=sessions, mean=mean)


def metrics_text(metrics: Metrics) -> str:
    """The text of metrics.json. NaN and infinity are refused, because JSON does not have them."""
    return json.dumps(metrics, indent=1, allow_nan=False) + "\n"


def neurons_text(tables: Sequence[NeuronScores]) -> str:
    """The text of neurons.csv: one row per neuron. A field is empty where the metric is undefined."""
    rows = []
    for table in tables:
        numbers = zip(*(table.columns[name].double().cpu().tolist() for name in NUMBER_COLUMNS), strict=True)
        rows += [(table.eid, *row) for row in _flat(table.uuid, table.region, numbers)]
    return table_text(NEURON_COLUMNS, rows)


def _flat(uuid: Sequence[str], region: Sequence[str], numbers: Iterator[tuple]) -> Iterator[tuple]:
    for name, acronym, row in zip(uuid, region, numbers, strict=True):
        yield (name, acronym, *row)


def regions_text(tables: Sequence[NeuronScores]) -> str:
    """The text of regions.csv: one row per session and region, and one for the whole session.

    An interval is that of the mean over neurons, by bootstrap over neurons. It is empty if they are too few.
    """
    columns = [f"{key}_{statistic}" for key in BPS_KEYS for statistic in REGION_STATISTICS]
    rows = []
    for table in tables:
        regions = np.asarray(table.region)
        for name in (WHOLE_SESSION, *sorted(set(table.region))):
            own = np.full(len(regions), True) if name == WHOLE_SESSION else regions == name
            cells = [cell for key in BPS_KEYS for cell in _region_cells(table, key, own, name)]
            rows.append([table.eid, name, own.sum(), *cells])
    return table_text(["eid", "region", "n_neurons", *columns], rows)


def _region_cells(table: NeuronScores, key: str, own: np.ndarray, name: str) -> list[float | None]:
    values = table.columns[key].double().cpu().numpy()[own]
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return [0, None, None, None, None]
    ends = bootstrap_mean(values, table.eid, name, key) or (None, None)
    return [len(values), values.mean(), np.median(values), *ends]


def write_results(
    folder: Path,
    sessions: Sequence[SessionScores],
    neurons: Sequence[NeuronScores],
    behavior: str | None = None,
) -> Metrics:
    """Write metrics.json, the tables and trials.h5 into a run's folder. Those of an earlier test are renamed and kept.

    Args:
        folder: the run directory.
        sessions: one entry per session.
        neurons: one entry per session.
        behavior: the text of behavior.csv; None if no read-out was tried.

    Returns:
        What metrics.json holds.

    Raises:
        DataError: if a metric is not finite; earlier results then stay as they are.
    """
    metrics = metrics_of(sessions)
    keep_previous(folder / TRIALS_FILE)
    trials = {table.eid: table.trials for table in neurons if table.trials is not None}
    if trials:
        write_trials(folder / TRIALS_FILE, trials)
    # the tables first: once metrics.json is new, its neurons.csv is there too
    for name, text in (
        (NEURONS_FILE, neurons_text(neurons)),
        (REGIONS_FILE, regions_text(neurons)),
        (BEHAVIOR_FILE, behavior),
        (METRICS_FILE, metrics_text(metrics)),
    ):
        keep_previous(folder / name)
        if text is not None:
            write_whole(folder / name, text)
    return metrics


def add_behavior(folder: Path, sessions: Sequence[SessionScores], behavior: str | None) -> Metrics:
    """Complete the results that `write_results` wrote in the same test, before behaviour was decoded.

    Args:
        folder: the run directory.
        sessions: one entry per session, now with the metrics of behaviour.
        behavior: the text of behavior.csv; None if no read-out was tried.

    Returns:
        What metrics.json holds.

    Raises:
        DataError: if a metric is not finite; metrics.json then stays without behaviour.
    """
    metrics = metrics_of(sessions)
    if behavior is not None:
        write_whole(folder / BEHAVIOR_FILE, behavior)
    write_whole(folder / METRICS_FILE, metrics_text(metrics))
    return metrics


def read_metrics(path: Path) -> Metrics:
    """Read the metrics.json of a test.

    Args:
        path: the file, or the run directory that holds it.

    Raises:
        UserError: if the run was not tested, or a test did not write the file.
    """
    path = Path(path)
    run = path if path.is_dir() else path.parent
    path = path / METRICS_FILE if path.is_dir() else path
    if not run.is_dir():
        raise UserError(f"{run}: no such run directory.")
    if not path.exists():
        raise UserError(
            f"{run}: no {path.name} in it, so this run has not been tested. Test it first: "
            f"neuromtm test --config {run}/config.yaml --ckpt_path {run}/checkpoints/best.ckpt"
        )
    try:
        metrics = json.loads(regular_text(path))
        problem = metrics_problem(metrics)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path}: not a metrics file of a test ({reason_of(error)}). Test the run again.") from error
    if problem is not None:
        raise UserError(f"{path}: {problem}. Test the run again.")
    return Metrics(sessions=metrics["sessions"], mean=metrics["mean"])


def metrics_problem(metrics: Any) -> str | None:
    """Why a tree of plain values cannot be the metrics of a test; None if it can.

    Raises:
        KeyError, TypeError, AttributeError: if it is another tree.
    """
    blocks = [*metrics["sessions"].values(), metrics["mean"]]
    for value in (value for block in blocks for value in block.values()):
        if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
            return f"holds {first_words(repr(value))} where a finite number belongs"
    for name in (*metrics["sessions"], *(key for block in blocks for key in block)):
        if not name or printable(name) != name:
            return f"the name {name!r} is empty or holds control characters"
    for eid, block in metrics["sessions"].items():
        for key, value in block.items():
            if (most := largest_value(key)) is not None and value > most:
                return f"{key} of {eid} is {value:g}, but {most:g} is the best possible"
    wanted = with_means(metrics["sessions"])["mean"]
    if set(wanted) != set(metrics["mean"]):
        odd = sorted(set(wanted) ^ set(metrics["mean"]))
        return f"{', '.join(odd)} stands among its sessions or its means alone"
    for key, value in wanted.items():
        if not math.isclose(value, metrics["mean"][key], rel_tol=1e-6, abs_tol=1e-9):
            return f"its mean {key} is {metrics['mean'][key]:g}, but that of its sessions is {value:g}"
    return None


@dataclass(frozen=True, kw_only=True)
class RegionMean:
    """Bits per spike of a region's neurons in one task."""

    n: int
    """neurons scored"""
    mean: float
    median: float
    low: float | None
    """lower end of the mean's 95 % interval; None if the neurons are too few"""
    high: float | None


@dataclass(frozen=True, kw_only=True)
class RegionRow:
    """A row of regions.csv."""

    eid: str
    region: str
    """acronym; `WHOLE_SESSION` for all neurons of the session"""
    n_neurons: int
    means: dict[str, RegionMean]
    """key of a task in metrics.json -> its metrics; a task is absent if no neuron was scored"""


def read_regions(path: Path) -> list[RegionRow]:
    """Read regions.csv.

    Raises:
        UserError: if a test did not write it.
    """
    try:
        rows = [_region_row(row) for row in read_table(path, needs=("eid", "region", "n_neurons"))]
        if len({(row.eid, row.region) for row in rows}) < len(rows):
            raise csv.Error("it has a region of a session twice")
        return rows
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a table of regions of a test ({reason_of(error)}). Test the run again."
        ) from error


LARGEST = 1e12
"""No metric is larger, and sums of many are finite."""


def _region_row(row: dict[str, str]) -> RegionRow:
    means = {}
    for key in BPS_KEYS:
        if row[f"{key}_mean"]:
            ends = [cell_number(row[f"{key}_{end}"]) for end in ("low", "high") if row[f"{key}_{end}"]]
            if len(ends) == 1 or ends != sorted(ends):
                raise csv.Error("the two ends of an interval do not belong together")
            low, high = ends or (None, None)
            mean, median = cell_number(row[f"{key}_mean"]), cell_number(row[f"{key}_median"])
            means[key] = RegionMean(n=cell_count(row[f"{key}_n"]), mean=mean, median=median, low=low, high=high)
    if not row["eid"] or not row["region"]:
        raise csv.Error("a row names no session or no region")
    return RegionRow(eid=row["eid"], region=row["region"], n_neurons=cell_count(row["n_neurons"]), means=means)


NeuronTable = Mapping[str, Mapping[str, Mapping[str, float]]]
"""eid -> uuid -> column of neurons.csv -> value, where it has one"""


def read_neurons(path: Path) -> NeuronTable:
    """Read a neurons.csv. A field that is empty has no value.

    Raises:
        UserError: if a test did not write it.
    """
    table: dict[str, dict[str, dict[str, float]]] = {}
    try:
        for row in read_table(path, needs=("eid", "uuid", "region")):
            metrics = {name: cell_number(text) for name, text in row.items() if text and name not in _TEXT}
            neurons = table.setdefault(row["eid"], {})
            if not row["uuid"] or row["uuid"] in neurons:
                raise csv.Error(
                    f"the neuron {row['uuid'][:40]!r} of {row['eid'][:40]} stands there twice or has no name"
                )
            neurons[row["uuid"]] = metrics
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UserError(
            f"{path}: not a table of neurons of a test ({reason_of(error)}). Test the run again."
        ) from error
    return table


_TEXT = ("eid", "uuid", "region")

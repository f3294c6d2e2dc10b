"""A test's results as files: `metrics.json` (sessions and mean), and tables of neurons, regions and read-outs."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor

from neuromtm.errors import DataError, UserError
from neuromtm.evaluation.behavior import Decoded, behavior_text
from neuromtm.evaluation.keys import BPS_KEYS
from neuromtm.evaluation.statistics import bootstrap_mean
from neuromtm.files import write_whole
from neuromtm.metrics.spikes import Psth, mean_over_neurons

METRICS_FILE = "metrics.json"
NEURONS_FILE = "neurons.csv"
REGIONS_FILE = "regions.csv"
BEHAVIOR_FILE = "behavior.csv"
NEURON_COLUMNS = (
    "eid",
    "uuid",
    "region",
    "co_smoothing_bps",
    "forward_prediction_bps",
    "intra_region_bps",
    "inter_region_bps",
    "r2",
    "deviance_explained",
    "psth_r2",
    "firing_rate_hz",
)
WHOLE_SESSION = "all"
"""in the place of a region's acronym in regions.csv: every neuron of the session"""
REGION_STATISTICS = ("n", "mean", "median", "low", "high")
"""of each task in regions.csv: neurons scored, and the ends of the mean's bootstrap interval"""


class Metrics(TypedDict):
    """The content of metrics.json. A key is absent where the data has no such label or task."""

    sessions: dict[str, dict[str, float]]
    """eid -> figure -> value"""
    mean: dict[str, float]
    """figure -> mean over the sessions that have it"""


@dataclass(frozen=True, kw_only=True)
class NeuronScores:
    """The activity tasks' figures of one session's neurons, each tensor (neuron,), NaN where undefined."""

    eid: str
    uuid: tuple[str, ...]
    region: tuple[str, ...]
    co_smoothing_bps: Tensor
    forward_prediction_bps: Tensor
    intra_region_bps: Tensor
    inter_region_bps: Tensor
    r2: Tensor
    """single-trial R2 of the co-smoothing rates"""
    deviance_explained: Tensor
    """share of the Poisson deviance that the co-smoothing rates explain"""
    psth_r2: Tensor
    """R2 of the co-smoothing rates' averages by task condition"""
    firing_rate_hz: Tensor
    """over the test trials"""


@dataclass(frozen=True, kw_only=True)
class SessionScores:
    """One session's figures, in the order of metrics.json; None where the data has no such label or task."""

    eid: str
    co_smoothing_bps: float | None = None
    forward_prediction_bps: float | None = None
    intra_region_bps: float | None = None
    inter_region_bps: float | None = None
    behavior: Mapping[str, float] = field(default_factory=dict)
    """figures of behaviour by their keys, see `evaluation.keys`"""

    def figures(self) -> dict[str, float]:
        """What there is, by its key in metrics.json."""
        tasks = {key: getattr(self, key) for key in BPS_KEYS}
        return {key: float(value) for key, value in (tasks | self.behavior).items() if value is not None}


def activity_means(neurons: NeuronScores) -> dict[str, float | None]:
    """Each activity task's mean over the neurons that have a figure, by its key in metrics.json."""
    return {key: mean_over_neurons(getattr(neurons, key)) for key in BPS_KEYS}


def psth_scores(psth: Psth | None, n_neurons: int, *, bin_size_s: float) -> dict[str, Tensor]:
    """The figures of `NeuronScores` that follow from trial averages; undefined without them, as in a validation.

    Args:
        psth: averages over the trials scored.
        n_neurons: of the session.
        bin_size_s: width of a bin.
    """
    if psth is None:
        unknown = torch.full((n_neurons,), torch.nan, dtype=torch.float64)
        return {"psth_r2": unknown, "firing_rate_hz": unknown}
    spikes = torch.where(psth.trials > 0, psth.trials * psth.observed, 0).sum(dim=(0, 1))
    return {"psth_r2": psth.r2(), "firing_rate_hz": spikes / psth.trials.sum(dim=(0, 1)) / bin_size_s}


def metrics_of(sessions: Sequence[SessionScores]) -> Metrics:
    """Sessions and their mean, as metrics.json holds them.

    Raises:
        DataError: if a figure is not finite, naming every one: the model's rates diverged.
    """
    by_eid = {session.eid: session.figures() for session in sessions}
    bad = [f"{key} of {eid}" for eid, figures in by_eid.items() for key, v in figures.items() if not math.isfinite(v)]
    if bad:
        raise DataError(
            f"Not a finite number: {', '.join(bad)}. The model's rates diverged; train it again with a lower "
            "learning rate, or test an earlier checkpoint."
        )
    mean = {}
    for key in dict.fromkeys((*BPS_KEYS, *(key for figures in by_eid.values() for key in figures))):
        values = [figures[key] for figures in by_eid.values() if key in figures]
        if values:
            mean[key] = math.fsum(values) / len(values)
    return Metrics(sessions=by_eid, mean=mean)


def metrics_text(metrics: Metrics) -> str:
    """The text of metrics.json. NaN and infinity, which JSON does not know, are refused."""
    return json.dumps(metrics, indent=1, allow_nan=False) + "\n"


def neurons_text(tables: Sequence[NeuronScores]) -> str:
    """The text of neurons.csv: a row a neuron, a field empty where the figure is undefined."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NEURON_COLUMNS)
    for table in tables:
        numbers = torch.stack([getattr(table, name).double().cpu() for name in NEURON_COLUMNS[3:]], dim=1).tolist()
        for uuid, region, row in zip(table.uuid, table.region, numbers, strict=True):
            writer.writerow([table.eid, uuid, region, *("" if math.isnan(v) else f"{v:.6g}" for v in row)])
    return text.getvalue()


def regions_text(tables: Sequence[NeuronScores]) -> str:
    """The text of regions.csv: a row a session and region, and one of the whole session.

    An interval is of the mean over neurons, by bootstrap over neurons; empty where they are too few.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = [f"{key}_{statistic}" for key in BPS_KEYS for statistic in REGION_STATISTICS]
    writer.writerow(["eid", "region", "n_neurons", *columns])
    for table in tables:
        regions = np.asarray(table.region)
        for name in (WHOLE_SESSION, *sorted(set(table.region))):
            own = np.full(len(regions), True) if name == WHOLE_SESSION else regions == name
            cells = [cell for key in BPS_KEYS for cell in _region_cells(table, key, own, name)]
            writer.writerow([table.eid, name, own.sum(), *cells])
    return text.getvalue()


def _region_cells(table: NeuronScores, key: str, own: np.ndarray, name: str) -> list[str]:
    values = getattr(table, key).double().cpu().numpy()[own]
    values = values[~np.isnan(values)]
    if len(values) == 0:
        return ["0", "", "", "", ""]
    ends = bootstrap_mean(values, table.eid, name, key) or ("", "")
    return [str(len(values)), *(v if v == "" else f"{v:.6g}" for v in (values.mean(), np.median(values), *ends))]


def write_report(
    folder: Path,
    sessions: Sequence[SessionScores],
    neurons: Sequence[NeuronScores],
    behavior: Sequence[Decoded] = (),
) -> Metrics:
    """Write metrics.json and the tables into a run's folder, renaming those of an earlier test aside.

    Args:
        folder: the run directory.
        sessions: one entry a session.
        neurons: likewise.
        behavior: read-outs that were tried; without any there is no behavior.csv.

    Returns:
        What metrics.json holds.

    Raises:
        DataError: if a figure is not finite; earlier results then stay as they are.
    """
    metrics = metrics_of(sessions)
    # the tables first: who sees a new metrics.json finds the neurons that belong to it
    for name, text in (
        (NEURONS_FILE, neurons_text(neurons)),
        (REGIONS_FILE, regions_text(neurons)),
        (BEHAVIOR_FILE, behavior_text(behavior) if behavior else None),
        (METRICS_FILE, metrics_text(metrics)),
    ):
        keep_previous(folder / name)
        if text is not None:
            write_whole(folder / name, text)
    return metrics


def keep_previous(path: Path) -> Path | None:
    """Rename an earlier result after the time (UTC) it was written, e.g. `metrics.2026-11-21T07-40-12.json`.

    Returns:
        The new name; None if there was no earlier result.

    Raises:
        UserError: if it is a folder, or anything else that is no regular file.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise UserError(f"{path}: {'a folder' if path.is_dir() else 'not a regular file'}. Name a file to write.")
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H-%M-%S")
    kept, number = path.with_name(f"{path.stem}.{written}{path.suffix}"), 1
    while kept.exists():  # two tests in one second
        number += 1
        kept = path.with_name(f"{path.stem}.{written}-{number}{path.suffix}")
    return path.rename(kept)


def read_metrics(path: Path) -> Metrics:
    """Read the metrics.json of a test.

    Args:
        path: the file, or the run directory that holds it.

    Raises:
        UserError: if the run was not tested, or the file is not one that a test writes.
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
        metrics = json.loads(path.read_text(encoding="utf-8"))
        blocks = [*metrics["sessions"].values(), metrics["mean"]]
        numbers = [value for block in blocks for value in block.values()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a metrics file of a test ({error!r}). Test the run again.") from error
    bad = [v for v in numbers if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v)]
    if bad:
        raise UserError(f"{path}: holds {bad[0]!r} where a finite number belongs. Test the run again.")
    return Metrics(sessions=metrics["sessions"], mean=metrics["mean"])

"""Read one folder that Kilosort or Phy wrote: the spikes of one probe, and what is known of its clusters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.sources.phy.params import sample_rate_of
from data_prep.tables import as_numbers, read_text_table
from neuromtm.errors import SourceError
from neuromtm.regular_files import require_regular

SPIKES = "spike_times.npy"
LABEL_FILES = {
    "cluster_group.tsv": ("group",),
    "cluster_groups.csv": ("group",),
    "cluster_info.tsv": ("group", "KSLabel"),
    "cluster_KSLabel.tsv": ("KSLabel",),
}
"""files that may hold the labels of the clusters, the preferred one first -> their columns of labels, likewise"""
CLUSTER_ID = "cluster_id"
UNSORTED = "unsorted"
"""Phy's word for a cluster without a label"""
LARGEST = 2.0**53
"""larger whole numbers are neither samples nor clusters"""
LABELS = {"good": 1.0, "mua": 0.0, "noise": 0.0}
"""label -> share of the quality criteria that are passed; unknown for any other"""


@dataclass(frozen=True, kw_only=True)
class Sorting:
    """The spikes of one probe and its clusters. Numbers of clusters may have gaps: Phy merges and splits."""

    path: Path
    sample_rate_hz: float
    spike_times_s: np.ndarray
    """(spike,) sorted"""
    spike_cluster: np.ndarray
    """(spike,) number of the cluster, as Phy shows it"""
    cluster: np.ndarray
    """(cluster,) increasing numbers of the clusters that have spikes"""
    group: np.ndarray
    """(cluster,) label in lower case"""
    group_file: str
    """the file of the labels; empty if there is none"""
    channel: np.ndarray
    """(cluster,) channel with the largest waveform, as Phy numbers it; -1 if unknown"""
    depth_um: np.ndarray
    """(cluster,) y of this channel; NaN if unknown"""
    notes: tuple[str, ...]


def read_sorting(path: Path, *, sample_rate_hz: float | None = None) -> Sorting:
    """Read the spikes of a sorting.

    Args:
        path: folder with spike_times.npy.
        sample_rate_hz: samples in a second; None to read params.py.

    Raises:
        SourceError: if a file is missing, damaged, or does not fit the others.
    """
    rate_hz = sample_rate_of(path / "params.py") if sample_rate_hz is None else sample_rate_hz
    samples = _whole_numbers(path / SPIKES)
    templates = _whole_numbers(path / "spike_templates.npy") if (path / "spike_templates.npy").exists() else None
    if (path / "spike_clusters.npy").exists():
        clusters = _whole_numbers(path / "spike_clusters.npy")
    elif templates is not None:
        clusters = templates
    else:
        raise SourceError(f"{path}: neither spike_clusters.npy nor spike_templates.npy is there.")
    for name, values in (("clusters", clusters), ("templates", templates)):
        if values is not None and len(values) != len(samples):
            raise SourceError(f"{path}: {len(samples)} spike times, but {len(values)} numbers of {name}.")
    if not len(samples):
        raise SourceError(f"{path}: no spikes.")
    notes = ()
    if backwards := int((np.diff(samples) < 0).sum()):
        order = np.argsort(samples, kind="stable")
        samples, clusters = samples[order], clusters[order]
        templates = None if templates is None else templates[order]
        notes = (f"{path.name}: spike times go backwards {backwards} times; they were put in order",)
    with np.errstate(over="ignore"):  # infinite times are refused with all others
        times_s = samples / rate_hz
    found = np.unique(clusters)
    group, file = _groups(path, found)
    info = _info(path)
    channel, depth_um = _from_info(info, found)
    if templates is not None and (path / "templates.npy").exists():
        channel, depth_um = _peaks(path, found, clusters, templates)
    return Sorting(
        path=path,
        sample_rate_hz=rate_hz,
        spike_times_s=times_s,
        spike_cluster=clusters,
        cluster=found,
        group=group,
        group_file=file,
        channel=channel,
        depth_um=depth_um,
        notes=notes,
    )


def _array(path: Path, *, n_axes: int | None = None) -> np.ndarray:
    try:
        values = np.load(require_regular(path), allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError, TypeError, SyntaxError, MemoryError) as error:
        raise SourceError(
            f"{path}: cannot be read as an array of numbers ({error}). Objects of Python (pickles) are never loaded."
        ) from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise SourceError(f"{path}: not an array of numbers. Write it again by numpy.save.")
    if n_axes is not None and values.ndim != n_axes:
        raise SourceError(f"{path}: has the shape {values.shape}, but {n_axes} axes are expected.")
    return values


def _whole_numbers(path: Path) -> np.ndarray:
    """(value,) int64."""
    values = _array(path)
    if values.ndim != 1 and values.size != max(values.shape, default=0):
        raise SourceError(f"{path}: has the shape {values.shape}, not one value a spike.")
    values = np.asarray(values).ravel()
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise SourceError(f"{path}: must hold whole numbers (of samples or clusters), not {_odd(values):g}.")
    if values.size and max(float(values.max()), -float(values.min())) > LARGEST:
        raise SourceError(f"{path}: goes from {float(values.min()):g} to {float(values.max()):g}: the file is damaged.")
    return values.astype(np.int64)


def _odd(values: np.ndarray) -> float:
    return float(values[~(values == np.round(values)) | ~np.isfinite(values)][0])


def _groups(path: Path, clusters: np.ndarray) -> tuple[np.ndarray, str]:
    """The label of each cluster, and the file that it is from."""
    for name, columns in LABEL_FILES.items():
        table = _cluster_table(path / name)
        column = next((c for c in columns if any(table.get(c, ()))), None)
        if column is None:
            continue  # no such file, or no cluster has a label: nothing was curated
        numbers = row_numbers(name, table, CLUSTER_ID)
        labels = dict(zip(numbers.tolist(), map(str.lower, table[column]), strict=True))
        return np.array([labels.get(cluster) or UNSORTED for cluster in clusters.tolist()], dtype=str), name
    return np.full(len(clusters), UNSORTED), ""


def _cluster_table(path: Path) -> dict[str, list[str]]:
    """Column -> cells of a table of clusters; empty if there is no such file."""
    if not path.exists():
        return {}
    table = read_text_table(path, may_be_empty=True)
    if "id" in table:  # as older versions of Phy write it
        table = {CLUSTER_ID: table["id"], **table}
    if CLUSTER_ID not in table:
        raise SourceError(f"{path}: no column {CLUSTER_ID}. There are: {', '.join(table)}.")
    return table


def row_numbers(name: str, table: Mapping[str, Sequence[str]], column: str) -> np.ndarray:
    """(row,) int64 numbers of a table that name something once each.

    Args:
        name: of the file, for messages.
        table: column -> cells.
        column: the one of the numbers.

    Raises:
        SourceError: if some are no whole numbers, or stand there twice.
    """
    values = as_numbers(name, table, column)
    if not ((np.abs(values) <= LARGEST).all() and (values == np.round(values)).all()):
        raise SourceError(f"{name}: {column} must be a whole number in every row.")
    numbers, times = np.unique(values.astype(np.int64), return_counts=True)
    if (times > 1).any():
        raise SourceError(
            f"{name}: {column} is {numbers[times > 1][0]} in {times[times > 1][0]} rows. Leave one of them."
        )
    return values.astype(np.int64)


def _info(path: Path) -> dict[int, tuple[int, float]]:
    """Cluster -> channel and depth, by cluster_info.tsv; empty without it."""
    name = "cluster_info.tsv"
    table = _cluster_table(path / name)
    if not table:
        return {}
    numbers = row_numbers(name, table, CLUSTER_ID)
    none = np.full(len(numbers), np.nan)
    by = next((c for c in ("ch", "channel") if c in table), None)
    channel = none if by is None else as_numbers(name, table, by)
    depth_um = as_numbers(name, table, "depth") if "depth" in table else none
    channel = np.where(np.isfinite(channel), channel, -1).astype(np.int64)
    return dict(zip(numbers.tolist(), zip(channel.tolist(), depth_um.tolist(), strict=True), strict=True))


def _from_info(info: dict[int, tuple[int, float]], clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = [info.get(cluster, (-1, np.nan)) for cluster in clusters.tolist()]
    return np.array([channel for channel, _ in rows], np.int64), np.array([depth for _, depth in rows], np.float64)


def _peaks(
    path: Path, found: np.ndarray, clusters: np.ndarray, spike_template: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Channel and depth of each cluster: where the template that most of its spikes have is largest."""
    waveforms = _array(path / "templates.npy", n_axes=3)  # (template, sample, channel), mapped: it can be large
    if not all(waveforms.shape):
        raise SourceError(f"{path / 'templates.npy'}: has the shape {waveforms.shape}, so no waveforms.")
    low, high = spike_template.min(), spike_template.max()
    if low < 0 or high >= len(waveforms):
        raise SourceError(f"{path}: spikes of template {high if low >= 0 else low}, but {len(waveforms)} are there.")
    template = _most_frequent(np.searchsorted(found, clusters), spike_template, len(found))
    size = np.array([np.ptp(waveforms[one], axis=0) for one in template])
    if not np.isfinite(size).all():
        raise SourceError(f"{path / 'templates.npy'}: holds values that are no finite numbers. Write it again.")
    row = size.argmax(1)
    sparse = next((path / n for n in ("templates_ind.npy", "template_ind.npy") if (path / n).exists()), None)
    if sparse is not None:
        row = np.asarray(_array(sparse, n_axes=2)[template, row]).astype(np.int64)
    depth_um = np.full(len(found), np.nan)
    if (path / "channel_positions.npy").exists():
        positions = _array(path / "channel_positions.npy", n_axes=2)
        if positions.shape[1] < 2:
            raise SourceError(f"{path / 'channel_positions.npy'}: has the shape {positions.shape}, not x and y.")
        _require_rows(row, len(positions), path / "channel_positions.npy")
        depth_um = np.asarray(positions[row, 1], np.float64)
    if not (path / "channel_map.npy").exists():
        return row, depth_um
    numbers = _whole_numbers(path / "channel_map.npy")
    _require_rows(row, len(numbers), path / "channel_map.npy")
    return numbers[row], depth_um


def _require_rows(row: np.ndarray, n_rows: int, name: Path) -> None:
    if row.min() < 0 or row.max() >= n_rows:
        raise SourceError(f"{name}: {n_rows} channels, but a template is largest on number {row.max()} (from 0).")


def _most_frequent(group: np.ndarray, value: np.ndarray, n_groups: int) -> np.ndarray:
    """(group,) the most frequent value of each group, the smallest one of several."""
    n_values = int(value.max()) + 1
    times = np.bincount(group * n_values + value, minlength=n_groups * n_values)
    return times.reshape(n_groups, n_values).argmax(1)

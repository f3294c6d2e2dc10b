"""Read the sessions of Phy: their sortings, and the files that the user puts beside them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.recording import Recording, SortedNeurons
from data_prep.session_files import (
    SESSION,
    TRIALS,
    read_observed,
    read_traces,
    read_trial_table,
    session_eid,
    session_names,
)
from data_prep.sources.phy.sorting import LABEL_FILES, LABELS, SPIKES, Sorting, read_sorting, row_numbers
from data_prep.tables import NOTHING, read_text_table
from neuromtm.errors import ConfigError, SourceError

ALL = "all"
REGIONS = "regions.csv"
UNKNOWN_REGION = "void"
DEPTH = 3
"""folders between a session and its sortings at most, e.g. imec0/kilosort4/sorter_output"""


@dataclass(frozen=True, kw_only=True)
class PhySession:
    """A session and its sortings."""

    eid: str
    folder: Path
    sortings: Sequence[Path]
    """folders with spike_times.npy, one a probe"""
    subject: str
    lab: str

    def probe(self, sorting: Path) -> str:
        """The name of a probe: its folders below the session's, or the session's own folder."""
        return "/".join(sorting.relative_to(self.folder).parts) or sorting.resolve().name


def phy_sessions(folder: Path, *, is_session: bool = False) -> list[PhySession]:
    """The sessions in a folder, which may be one.

    It is one if it holds spike_times.npy, trials.csv or session.json, or the caller says so; else each subfolder is one
    that has sortings in it.

    Args:
        folder: the folder.
        is_session: whether it is one session in any case.

    Raises:
        ConfigError: if there is no such folder, no sorting in it, or a session.json is wrong.
    """
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder.")
    is_session = is_session or any((folder / name).exists() for name in (SPIKES, TRIALS, SESSION))
    places = [folder] if is_session else sorted(path for path in folder.iterdir() if path.is_dir())
    found = [(place, sortings) for place in places if (sortings := _sortings(place))]
    if not found:
        raise ConfigError(
            f"{folder}: no {SPIKES} in it or in its subfolders. Name a folder that Kilosort or Phy wrote."
        )
    sessions = []
    for place, sortings in found:
        subject, lab, name = session_names(place)
        eid = session_eid(subject, lab, name)
        sessions.append(PhySession(eid=eid, folder=place, sortings=sortings, subject=subject, lab=lab))
    return sessions


def _sortings(folder: Path, depth: int = DEPTH) -> list[Path]:
    if (folder / SPIKES).exists():
        return [folder]
    if depth == 0:
        return []
    return [one for path in sorted(folder.iterdir()) if path.is_dir() for one in _sortings(path, depth - 1)]


def read_sortings(
    session: PhySession,
    *,
    groups: Collection[str],
    sample_rate_hz: float | None = None,
    trials_file: Path | None = None,
    regions_file: Path | None = None,
) -> Recording:
    """Read a session.

    Args:
        session: as `phy_sessions` gives it.
        groups: labels of the clusters to take, in lower case; `all` takes all.
        sample_rate_hz: samples in a second; None to read each params.py.
        trials_file: CSV of the trials; None for trials.csv in the session's folder, if there is one.
        regions_file: CSV of the regions; None for regions.csv in the sorting's or the session's folder, if any.

    Raises:
        SourceError: if a file is missing, damaged or does not fit the others, or no cluster has such a label.
    """
    times_s, neuron, parts, notes, n_before = [], [], [], [], 0
    for path in session.sortings:
        sorting, probe = read_sorting(path, sample_rate_hz=sample_rate_hz), session.probe(path)
        keep = np.full(len(sorting.cluster), True) if ALL in groups else np.isin(sorting.group, list(groups))
        notes += [*sorting.notes, _taken(probe, sorting, keep)]
        number = np.full(len(keep), -1)
        number[keep] = n_before + np.arange(keep.sum())
        of_spike = number[np.searchsorted(sorting.cluster, sorting.spike_cluster)]
        times_s.append(sorting.spike_times_s[of_spike >= 0])
        neuron.append(of_spike[of_spike >= 0])
        region = _regions(session, sorting, probe, regions_file)
        uuid = [f"{session.eid}-{probe}-{cluster}" for cluster in sorting.cluster]
        label = [LABELS.get(group, np.nan) for group in sorting.group]
        columns = (uuid, region, [probe] * len(keep), label, sorting.depth_um)
        parts.append([np.asarray(values)[keep] for values in columns])
        n_before += int(keep.sum())
    if not n_before:
        raise SourceError(f"{session.folder}: no cluster is {' or '.join(sorted(groups))} ({'; '.join(notes)}).")
    uuid, region, probe, label, depth_um = (np.concatenate(values) for values in zip(*parts, strict=True))
    every_time_s, every_neuron = np.concatenate(times_s), np.concatenate(neuron)
    order = np.argsort(every_time_s, kind="stable")
    return Recording(
        eid=session.eid,
        subject=session.subject,
        lab=session.lab,
        source="phy",
        spike_times_s=every_time_s[order],
        spike_neuron=every_neuron[order],
        neurons=SortedNeurons(uuid=uuid, region=region, probe=probe, label=label, depth_um=depth_um),
        trials=read_trial_table(session.folder, trials_file),
        traces=read_traces(session.folder),
        observed_s=read_observed(session.folder),
        notes=tuple(notes),
        attributes={"folder": session.folder.resolve().name},
    )


def _taken(probe: str, sorting: Sorting, keep: np.ndarray) -> str:
    """How many clusters were taken, and of which labels there are how many."""
    if not sorting.group_file:
        return f"{probe}: {keep.sum()} of {len(keep)} clusters taken; none of {', '.join(LABEL_FILES)} has labels"
    names, times = np.unique(sorting.group, return_counts=True)
    counted = ", ".join(f"{n} {name}" for name, n in zip(names, times, strict=True))
    return f"{probe}: {keep.sum()} of {len(keep)} clusters taken; {sorting.group_file} has {counted}"


def _regions(session: PhySession, sorting: Sorting, probe: str, regions_file: Path | None) -> np.ndarray:
    """(cluster,) regions, by the file that is there; void where it has none."""
    places = (regions_file,) if regions_file else (sorting.path / REGIONS, session.folder / REGIONS)
    path = next((place for place in places if regions_file or place.exists()), None)
    if path is None:
        return np.full(len(sorting.cluster), UNKNOWN_REGION)
    table = read_text_table(path, needs=("region",), known=("cluster", "cluster_id", "channel", "probe"))
    by = next((name for name in ("cluster", "cluster_id", "channel") if name in table), None)
    if by is None:
        raise SourceError(f"{path}: no column channel or cluster. There are: {', '.join(table)}.")
    if "probe" in table:
        rows = [number for number, name in enumerate(table["probe"]) if name == probe]
        if not rows:
            known = ", ".join(sorted({*table["probe"]})[:5])
            raise SourceError(f"{path}: no row of the probe {probe}; there are {known}.")
        table = {name: [cells[row] for row in rows] for name, cells in table.items()}
    elif len(session.sortings) > 1 and path.parent != sorting.path:
        raise SourceError(f"{path}: the session has several probes, so the file needs a column probe, e.g. {probe}.")
    of_cluster = sorting.channel if by == "channel" else sorting.cluster
    if by == "channel" and (of_cluster < 0).all():
        raise SourceError(
            f"{path}: regions of channels, but the channels of the clusters are unknown: {sorting.path} has neither "
            "templates.npy with spike_templates.npy nor cluster_info.tsv. Give the regions of the clusters."
        )
    numbers = row_numbers(path.name, table, by).tolist()
    known = {n: name for n, name in zip(numbers, table["region"], strict=True) if name.lower() not in NOTHING}
    return np.array([known.get(number, UNKNOWN_REGION) for number in of_cluster.tolist()], dtype=str)

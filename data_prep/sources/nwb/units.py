"""The units of an NWB file: their spikes, their names and places, and when they were observed."""

from typing import NamedTuple

import numpy as np

from data_prep.observed import inferred_intervals, merged
from data_prep.recording import SortedNeurons
from data_prep.sources.nwb.fields import Expression
from data_prep.sources.nwb.hdf5 import NwbFile
from data_prep.sources.nwb.tables import NwbTable, Ragged
from data_prep.spikes import FARTHEST_S, NO_SECONDS
from neuromtm.errors import SourceError

UNITS = "units"
UUID_COLUMNS = ("cluster_uuid", "uuid")
"""columns whose names are the same in every file of a lab; else a unit is named by its session and id"""
PROBE_COLUMNS = ("probe_name", "probe", "electrode_group")
DEPTH_COLUMNS = ("distance_from_probe_tip_um", "cluster_depths", "depth_um", "depths", "depth")
LABEL_COLUMNS = ("ibl_quality_score", "label", "quality")
GOOD = "good"
"""the text of a label that stands for 1; any other is 0"""


class UnitSpikes(NamedTuple):
    """The spikes of all units."""

    times_s: np.ndarray
    """(spike,) sorted"""
    neuron: np.ndarray
    """(spike,) row of the unit"""
    notes: tuple[str, ...]


class Observed(NamedTuple):
    """When the units were recorded."""

    intervals_s: np.ndarray | None
    """(interval, 2); None if the file does not say"""
    notes: tuple[str, ...] = ()


def units_table(nwb: NwbFile) -> NwbTable:
    """The table of units.

    Raises:
        SourceError: if the file has none, it is empty, it lacks spike times, or two units have one id.
    """
    if nwb.group(UNITS) is None:
        raise SourceError("has no units: it holds no sorted spikes.")
    table = NwbTable(nwb, UNITS)
    if "spike_times" not in table.columns:
        raise SourceError("the units have no spike_times.")
    ids, times = np.unique(table.ids, return_counts=True)
    if len(ids) < table.n_rows:
        raise SourceError(
            f"the unit {ids[times > 1][0]} is there {times.max()} times. Give every unit an id of its own."
        )
    return table


def read_spikes(table: NwbTable) -> UnitSpikes:
    """The spikes of all units, sorted by time.

    Raises:
        SourceError: if the index of the units does not fit, or a time is no number.
    """
    ragged = table.ragged("spike_times")
    if ragged.values.dtype.kind not in "iuf":
        raise SourceError(f"the spike times are of the type {ragged.values.dtype}, not numbers.")
    times_s, neuron = np.asarray(ragged.values, np.float64), ragged.row
    if times_s.size != len(times_s):
        raise SourceError(f"the spike times have the shape {times_s.shape}, not one number a spike.")
    times_s = times_s.ravel()
    if len(wrong := np.flatnonzero(~np.isfinite(times_s))):
        unit = table.ids[neuron[wrong[0]]]
        raise SourceError(
            f"{len(wrong)} spike times are not numbers, the first of the unit {unit}. Remove these spikes."
        )
    backward = (np.diff(times_s) < 0) & (np.diff(neuron) == 0)
    unsorted = len(np.unique(neuron[1:][backward]))
    notes = (f"the spike times of {unsorted} units were not sorted, and were sorted",) if unsorted else ()
    order = np.argsort(times_s, kind="stable")
    return UnitSpikes(times_s[order], neuron[order], notes)


def observed_by_units(table: NwbTable, spikes: UnitSpikes) -> Observed:
    """The time that all units share, without the times that the file calls invalid.

    A unit without any interval says nothing. Where only invalid times are given, they are cut out of the time that the
    spikes tell.

    Raises:
        SourceError: if an interval has no length, or no time is left.
    """
    notes: tuple[str, ...] = ()
    intervals_s = None
    if "obs_intervals" in table.columns:
        intervals_s, notes = _shared(table.ragged("obs_intervals"))
    invalid_s = _invalid(table.nwb)
    if invalid_s is None:
        return Observed(intervals_s, notes)
    base_s = inferred_intervals(spikes.times_s) if intervals_s is None else intervals_s
    left_s = _covered_by_all([base_s, _complement(invalid_s)])
    if not len(left_s):
        raise SourceError("the invalid_times of the file leave no observed time.")
    return Observed(left_s, (*notes, f"{_seconds(base_s) - _seconds(left_s):.1f} s of invalid_times are left out"))


def sorted_units(
    table: NwbTable,
    *,
    eid: str,
    region: np.ndarray,
    label: Expression | None,
    peak: np.ndarray | None,
    first: np.ndarray | None,
) -> SortedNeurons:
    """Who the units are.

    Args:
        table: of the units.
        eid: of the session.
        region: (unit,) acronyms.
        label: of the quality; None for one of `LABEL_COLUMNS`.
        peak: (unit,) row of the electrode on which a unit is largest, -1 for none; None if unknown.
        first: (unit,) row of the electrode that a unit lists first, -1 for none; None if unknown.

    Raises:
        SourceError: if a column holds something else than it should.
    """
    uuid = next((table.texts(name) for name in UUID_COLUMNS if _has(table, name, "texts")), None)
    return SortedNeurons(
        uuid=np.array([f"{eid}-{unit}" for unit in table.ids]) if uuid is None else uuid,
        region=region,
        probe=_probes(table, first if peak is None else peak),
        label=_labels(table, label),
        depth_um=_depths(table, peak),
        heldout=heldout_units(table),
    )


def group_names(table: NwbTable) -> np.ndarray | None:
    """(unit,) name of the electrode group of each unit; None if the table does not refer to them."""
    if not _has(table, "electrode_group", "references"):
        return None
    return np.array([str(group.name).rpartition("/")[2] for group in table.referred("electrode_group")])


def electrode_table(nwb: NwbFile) -> NwbTable | None:
    """The table of electrodes; None if the file has none."""
    path = "general/extracellular_ephys/electrodes"
    ids = nwb.dataset(f"{path}/id")
    return NwbTable(nwb, path) if ids is not None and ids.size else None


def _has(table: NwbTable, name: str, kind: str) -> bool:
    if name not in table.columns:
        return False
    table.require_rows(name)
    return table.kind(name) == kind


def _probes(table: NwbTable, electrode: np.ndarray | None) -> np.ndarray:
    for name in PROBE_COLUMNS:
        if _has(table, name, "texts"):
            return np.where(table.texts(name) == "", "unknown", table.texts(name))
    groups = group_names(table)
    if groups is not None:
        return groups
    electrodes = electrode_table(table.nwb)
    if electrode is not None and electrodes is not None and _has(electrodes, "group_name", "texts"):
        return np.where(electrode >= 0, electrodes.texts("group_name")[electrode], "unknown")
    return np.full(table.n_rows, "unknown")


def _labels(table: NwbTable, label: Expression | None) -> np.ndarray:
    if label is not None:
        values = label.numbers(table)
    else:
        name = next((n for n in LABEL_COLUMNS if _has(table, n, "numbers") or _has(table, n, "texts")), None)
        if name is None:
            return np.full(table.n_rows, np.nan)
        found = table.values(name)
        values = found if found.dtype.kind == "f" else (np.char.lower(found) == GOOD).astype(np.float64)
        if ((values < 0) | (values > 1)).any():  # a number of the sorter's own
            return np.full(table.n_rows, np.nan)
    if ((values < 0) | (values > 1)).any():
        raise SourceError(
            f"--label {label}: has values from {np.nanmin(values):g} to {np.nanmax(values):g}, but a label goes from 0 "
            f"to 1. Name what each value stands for, e.g. --label {label.column if label else 'COLUMN'}:1=0,2=1."
        )
    return values


def _depths(table: NwbTable, peak: np.ndarray | None) -> np.ndarray:
    for name in DEPTH_COLUMNS:
        if _has(table, name, "numbers"):
            return table.numbers(name)
    electrodes = electrode_table(table.nwb)
    for name in ("rel_y", "probe_vertical_position"):
        if peak is not None and electrodes is not None and _has(electrodes, name, "numbers"):
            return np.where(peak >= 0, electrodes.numbers(name)[peak], np.nan)
    return np.full(table.n_rows, np.nan)


def heldout_units(table: NwbTable) -> np.ndarray | None:
    """(unit,) bool, those that the file holds out; None if it does not say.

    Raises:
        SourceError: if the column holds anything else than true and false.
    """
    if "heldout" not in table.columns:
        return None
    if table.kind("heldout") != "numbers":
        raise SourceError("the column heldout of the units must be true or false, not texts.")
    values = table.numbers("heldout")
    if not np.isin(values, (0, 1)).all():
        raise SourceError("the column heldout of the units must be true or false.")
    return values == 1


def _shared(ragged: Ragged) -> tuple[np.ndarray | None, tuple[str, ...]]:
    if ragged.values.dtype.kind not in "iuf":
        raise SourceError(f"the obs_intervals are of the type {ragged.values.dtype}, not numbers.")
    values = np.asarray(ragged.values, np.float64)
    if values.ndim != 2 or values.shape[1] != 2:
        raise SourceError(f"the obs_intervals have the shape {values.shape}, not (interval, 2).")
    if len(wrong := np.flatnonzero(~(values[:, 0] < values[:, 1]))):
        start_s, end_s = values[wrong[0]]
        raise SourceError(f"the observed interval {wrong[0]} goes from {start_s:g} s to {end_s:g} s, not forward.")
    if len(wrong := np.flatnonzero(~(np.abs(values) <= FARTHEST_S).all(axis=1))):
        start_s, end_s = values[wrong[0]]
        raise SourceError(f"the observed interval {wrong[0]} goes from {start_s:g} to {end_s:g} s: {NO_SECONDS}")
    of_unit = [part for part in np.split(values, np.cumsum(ragged.sizes)[:-1]) if len(part)]
    if not of_unit:
        return None, ()
    if all(np.array_equal(part, of_unit[0]) for part in of_unit):
        return merged(of_unit[0]), ()
    parts = [merged(part) for part in of_unit]
    shared_s = _covered_by_all(parts)
    if not len(shared_s):
        raise SourceError("the units were never observed at one time (obs_intervals): split the file by its units.")
    if all(np.array_equal(part, parts[0]) for part in parts):
        return shared_s, ()
    longest_s = max(_seconds(part) for part in parts)
    return shared_s, (
        f"the units were observed at different times (obs_intervals): the {_seconds(shared_s):.1f} s that all share "
        f"are used, of up to {longest_s:.1f} s",
    )


def _invalid(nwb: NwbFile) -> np.ndarray | None:
    if nwb.group("intervals/invalid_times") is None:
        return None
    table = NwbTable(nwb, "intervals/invalid_times")
    for name in ("start_time", "stop_time"):
        table.require(name)
    intervals_s = np.stack([table.numbers("start_time"), table.numbers("stop_time")], axis=1)
    intervals_s = intervals_s[intervals_s[:, 0] < intervals_s[:, 1]]
    return merged(intervals_s) if len(intervals_s) else None


def _complement(intervals_s: np.ndarray) -> np.ndarray:
    edges = np.r_[-np.inf, intervals_s.ravel(), np.inf].reshape(-1, 2)
    return edges[edges[:, 0] < edges[:, 1]]


def _covered_by_all(parts: list[np.ndarray]) -> np.ndarray:
    """(interval, 2) times that lie in every part; each part is sorted and apart."""
    times = np.concatenate([part.ravel() for part in parts])
    step = np.concatenate([np.tile([1, -1], len(part)) for part in parts])
    order = np.lexsort((step, times))  # an end comes before a start at the same time
    times, n_open = times[order], np.cumsum(step[order])
    full = np.flatnonzero(n_open == len(parts))
    shared = np.stack([times[full], times[full + 1]], axis=1)
    return shared[shared[:, 0] < shared[:, 1]]


def _seconds(intervals_s: np.ndarray) -> float:
    return float((intervals_s[:, 1] - intervals_s[:, 0]).sum())

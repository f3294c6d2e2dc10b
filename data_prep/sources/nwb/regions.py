"""The region of each unit, by the best of the ways that a file has."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep.sources.nwb.hdf5 import Node, NwbFile
from data_prep.sources.nwb.tables import NwbTable
from data_prep.sources.nwb.units import electrode_table, group_names
from data_prep.tables import read_text_table
from neuromtm.errors import SourceError

VOID = "void"
UNKNOWN = ("", "unknown", "none", "nan", "n/a", "na", "null", "no area", "no_area", "void")
"""in any case of letters: no region"""
REGION_COLUMNS = ("region", "brain_region", "brain_area", "beryl_location", "location", "allen_location", "acronym")
"""columns of units that hold regions, the most preferred first"""
PEAK_COLUMNS = ("max_electrode", "peak_channel_id", "peak_electrode", "peak_channel", "max_channel")
SITE_COLUMNS = ("site_id", "local_index", "channel")
"""columns of electrodes that number them within their probe"""


class UnitRegions(NamedTuple):
    """The regions by one way."""

    way: str
    region: np.ndarray
    """(unit,) names; void where unknown"""

    @property
    def n_known(self) -> int:
        return int((self.region != VOID).sum())


@dataclass(frozen=True, kw_only=True)
class RegionFile:
    """A user's table of regions: a CSV file with the columns `unit` and `region`, and `session` for several files."""

    path: Path
    rows: tuple[tuple[str, str, str], ...]
    """session, unit, region; the session is empty where the file has no such column"""

    @classmethod
    def read(cls, path: Path) -> "RegionFile":
        """Read the file.

        Raises:
            SourceError: if it is no table with these columns, or names a unit twice.
        """
        columns = read_text_table(path, needs=("unit", "region"), known=("session",))
        sessions = columns.get("session", [""] * len(columns["unit"]))
        rows = tuple(zip(sessions, columns["unit"], columns["region"], strict=True))
        if len({row[:2] for row in rows}) < len(rows):
            raise SourceError(f"{path.name}: a unit has more than one row. Leave one row for each unit.")
        return cls(path=path, rows=rows)

    def of_session(self, eid: str) -> dict[str, str]:
        """Unit -> region in one session."""
        return {unit: region for session, unit, region in self.rows if session in ("", eid)}


def regions_of_units(
    table: NwbTable, peak: np.ndarray | None, *, eid: str, file: RegionFile | None, column: str | None
) -> tuple[np.ndarray, str]:
    """The region of each unit, and a note that says from where it is.

    The first way that knows the region of a unit decides for all units: names of two ways are not mixed.

    Args:
        table: of the units.
        peak: (unit,) row of the electrode on which a unit is largest, -1 if none; None if the file does not say.
        eid: of the session.
        file: the user's table.
        column: of the units, or of the electrodes.

    Raises:
        SourceError: if what the user named knows no region.
    """
    for found in ways(table, peak, eid=eid, file=file, column=column):
        if found.n_known:
            unknown = table.n_rows - found.n_known
            return found.region, f"regions by {found.way}" + (
                f"; unknown (void) for {unknown} units" if unknown else ""
            )
        if file is not None:
            raise SourceError(f"{file.path.name} has no region of the units of {eid}. They are named {_few(table)}.")
        if column is not None and found.way == f"units/{column}":
            raise SourceError(f"the column {column} of the units is empty.")
    return np.full(table.n_rows, VOID), "no regions in the file: all are void (give them by --regions)"


def ways(
    table: NwbTable, peak: np.ndarray | None, *, eid: str, file: RegionFile | None, column: str | None
) -> Iterator[UnitRegions]:
    """The regions by each way that the file has, the most preferred first. The arguments: see `regions_of_units`."""
    electrodes = electrode_table(table.nwb)
    if file is not None:
        of_unit = file.of_session(eid)
        named = [str(unit) for unit in table.ids]
        yield _regions(file.path.name, np.array([of_unit.get(unit, VOID) for unit in named]))
    own = [column] if column in table.columns else []
    if column is not None and not own and (electrodes is None or column not in electrodes.columns):
        there = sorted({*table.names_of("texts"), *(electrodes.names_of("texts") if electrodes else ())})
        raise SourceError(
            f"neither units nor electrodes have a column {column}. With texts: {', '.join(there) or 'none'}."
        )
    for name in own or ([] if column else [n for n in REGION_COLUMNS if n in table.names_of("texts")]):
        yield _regions(f"units/{name}", _as_text(table.values(name)))
    if electrodes is not None:
        place = column if column and not own else "location"
        if place in electrodes.columns:
            yield from _by_electrodes(table, _as_text(electrodes.values(place)), peak, f"electrodes/{place}")
    yield from _by_group(table, electrodes, peak)


def peak_column(table: NwbTable) -> str | None:
    """The column of the units that names the electrode on which each is largest; None if there is none."""
    return next((name for name in PEAK_COLUMNS if name in table.names_of("numbers")), None)


def peak_electrodes(table: NwbTable) -> np.ndarray | None:
    """(unit,) row of the electrode on which each unit is largest, -1 for none; None if the file does not tell it.

    A column of `PEAK_COLUMNS` holds rows of the electrodes if it says so. Other numbers are ids of electrodes, or
    number the electrodes of a probe: what fits the electrodes and the probe that the table gives for every unit.

    Raises:
        SourceError: if a row is out of range.
    """
    electrodes, name = electrode_table(table.nwb), peak_column(table)
    if name is None or electrodes is None:
        return None
    numbers = table.numbers(name)
    if table.nwb.attribute(table.columns[name], "neurodata_type") == "DynamicTableRegion":
        return _rows(numbers, electrodes, f"units/{name}")
    groups, of_electrode = group_names(table), _electrode_groups(electrodes)
    candidates = [_looked_up(numbers, electrodes.ids)]
    if groups is not None and of_electrode is not None:
        for site in (site for site in SITE_COLUMNS if site in electrodes.names_of("numbers")):
            candidates.append(_within_group(numbers, groups, electrodes.numbers(site), of_electrode))
    for row in candidates:
        known = row >= 0
        in_group = groups is None or of_electrode is None or (of_electrode[row[known]] == groups[known]).all()
        if known.any() and (known | ~np.isfinite(numbers)).all() and in_group and _among_own(table, row):
            return row
    return None


def _within_group(numbers: np.ndarray, groups: np.ndarray, sites: np.ndarray, of_electrode: np.ndarray) -> np.ndarray:
    """(unit,) row of the electrode of the unit's group that has the unit's number; -1 if there is none."""
    row = np.full(len(numbers), -1)
    for group in np.unique(groups):
        mine, there = groups == group, np.flatnonzero(of_electrode == group)
        found = _looked_up(numbers[mine], sites[there])
        row[mine] = np.where(found >= 0, there[found] if len(there) else -1, -1)
    return row


def _among_own(table: NwbTable, row: np.ndarray) -> bool:
    """Whether every electrode is one of those that the unit lists; True if the units list none."""
    own = _own_electrodes(table)
    if own is None:
        return True
    unit, electrode = own
    pairs = set(zip(unit.tolist(), electrode.tolist(), strict=True))
    return all((u, e) in pairs for u, e in enumerate(row.tolist()) if e >= 0)


def _own_electrodes(table: NwbTable) -> tuple[np.ndarray, np.ndarray] | None:
    """(entry,) unit and row of electrode, of all electrodes that the units list; None if they list none."""
    if "electrodes" not in table.columns:
        return None
    node = table.columns["electrodes"]
    reference = table.nwb.attribute(node, "table")
    if reference is not None:
        table.nwb.target(reference, "units/electrodes")
    electrodes = electrode_table(table.nwb)
    if electrodes is None:
        raise SourceError("the units list electrodes, but the file has no table of electrodes.")
    kind = table.kind("electrodes")
    if kind == "ragged":
        ragged = table.ragged("electrodes")
        return ragged.row, _rows(ragged.values, electrodes, "units/electrodes")
    if kind == "numbers":
        return np.arange(table.n_rows), _rows(table.numbers("electrodes"), electrodes, "units/electrodes")
    return None


def _by_electrodes(table: NwbTable, location: np.ndarray, peak: np.ndarray | None, what: str) -> Iterator[UnitRegions]:
    if peak is not None:
        yield _regions(f"{what} of the peak channel", np.where(peak >= 0, location[peak], VOID))
    own = _own_electrodes(table)
    if own is None:
        return
    most = np.full(table.n_rows, VOID, dtype=object)
    unit, electrode = own
    for number, places in enumerate(np.split(location[electrode], np.searchsorted(unit, np.arange(1, table.n_rows)))):
        known = places[~np.isin(np.char.lower(places), UNKNOWN)]
        if len(known):
            names, first, times = np.unique(known, return_index=True, return_counts=True)
            # of the most frequent ones the one listed first
            most[number] = names[np.lexsort((first, -times))[0]]
    yield _regions(f"most of {what}", most.astype(str))


def first_electrodes(table: NwbTable) -> np.ndarray | None:
    """(unit,) row of the electrode that each unit lists first, -1 for none; None if the units list none."""
    own = _own_electrodes(table)
    if own is None:
        return None
    row = np.full(table.n_rows, -1)
    row[own[0][::-1]] = own[1][::-1]
    return row


def _by_group(table: NwbTable, electrodes: NwbTable | None, peak: np.ndarray | None) -> Iterator[UnitRegions]:
    if table.columns.get("electrode_group") is not None and table.kind("electrode_group") == "references":
        groups = table.referred("electrode_group")
    else:
        row = first_electrodes(table) if peak is None else peak
        if row is None or electrodes is None or "group" not in electrodes.columns:
            return
        of_electrode = electrodes.referred("group")
        groups = [of_electrode[r] if r >= 0 else None for r in row.tolist()]
    yield _regions("location of the electrode group", np.array([_location(table.nwb, group) for group in groups]))


def _location(nwb: NwbFile, group: Node | None) -> str:
    if group is None:
        return VOID
    return str(nwb.attribute(group, "location", "") or nwb.text(f"{group.name}/location"))


def _electrode_groups(electrodes: NwbTable) -> np.ndarray | None:
    if "group" in electrodes.columns and electrodes.kind("group") == "references":
        return np.array([str(group.name).rpartition("/")[2] for group in electrodes.referred("group")])
    return electrodes.texts("group_name") if "group_name" in electrodes.names_of("texts") else None


def _looked_up(numbers: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(number,) place of each number among others; -1 if it is not there."""
    order = np.argsort(among, kind="stable")
    if not len(order):
        return np.full(len(numbers), -1)
    place = order[np.minimum(np.searchsorted(among, numbers, sorter=order), len(order) - 1)]
    return np.where(among[place] == numbers, place, -1)


def _rows(numbers: np.ndarray, electrodes: NwbTable, what: str) -> np.ndarray:
    numbers = np.asarray(numbers).ravel().astype(np.int64)
    if len(wrong := numbers[(numbers < 0) | (numbers >= electrodes.n_rows)]):
        raise SourceError(f"{what} is out of range: it names electrode {wrong[0]} of {electrodes.n_rows}.")
    return numbers


def _as_text(values: np.ndarray) -> np.ndarray:
    return values if values.dtype.kind != "f" else np.array([f"{value:g}" for value in values])


def _regions(way: str, names: np.ndarray) -> UnitRegions:
    names = np.char.strip(names.astype(str))
    return UnitRegions(way, np.where(np.isin(np.char.lower(names), UNKNOWN), VOID, names))


def _few(table: NwbTable) -> str:
    return ", ".join(str(unit) for unit in table.ids[:3]) + (", ..." if table.n_rows > 3 else "")

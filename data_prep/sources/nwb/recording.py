"""One NWB file as a recording."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from data_prep.heldout import eid_from
from data_prep.inspection import inspection_text
from data_prep.recording import Recording
from data_prep.sources.nwb.fields import Expression
from data_prep.sources.nwb.hdf5 import NwbFile, open_nwb
from data_prep.sources.nwb.regions import (
    RegionFile,
    first_electrodes,
    peak_column,
    peak_electrodes,
    regions_of_units,
    ways,
)
from data_prep.sources.nwb.traces import TraceChoice, describe_series, read_trace, series_paths
from data_prep.sources.nwb.trials import SPLIT, TRIALS, describe_table, interval_tables, range_text, trials_of_table
from data_prep.sources.nwb.units import observed_by_units, read_spikes, sorted_units, units_table

Naming = Literal["session", "file"]
MOST_REGIONS = 12
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class NwbOptions:
    """What is read of a file."""

    trials_table: str = TRIALS
    needs_trials: bool = True
    """False: windows are cut from continuous time, and a file without the table will do"""
    mapped: Mapping[str, Expression] = field(default_factory=dict)
    """field of `TrialTable` -> where its values are"""
    split_column: str = SPLIT
    regions: RegionFile | None = None
    region_column: str | None = None
    label: Expression | None = None
    traces: tuple[TraceChoice, ...] = ()
    naming: Naming = "session"
    """what names a session: what the file says of it, or the name of the file"""

    def as_json(self) -> dict[str, Any]:
        """The options that decide the content of a shard."""
        return {
            "trials_table": self.trials_table,
            "fields": {name: str(expression) for name, expression in sorted(self.mapped.items())},
            "split_column": self.split_column,
            "regions": None if self.regions is None else sorted(map(list, self.regions.rows)),
            "region_column": self.region_column,
            "label": None if self.label is None else str(self.label),
            "traces": sorted([choice.name, choice.path, choice.column] for choice in self.traces),
        }


class Identity(NamedTuple):
    """Who a session is."""

    eid: str
    subject: str
    lab: str


def read_identity(path: Path, naming: Naming) -> Identity:
    """Who the session of a file is.

    Raises:
        SourceError: if the file cannot be read.
    """
    with open_nwb(path) as nwb:
        return _identity(nwb, path, naming)


def read_recording(path: Path, options: NwbOptions) -> Recording:
    """The session of a file.

    Raises:
        SourceError: if the file is damaged, of another version, or lacks what the options ask for.
    """
    with open_nwb(path) as nwb:
        return _recording(nwb, path, options)


def inspect_file(path: Path, options: NwbOptions) -> tuple[str, Recording, str | None]:
    """What is in a file, its recording, and the table of intervals to prepare it by; None for continuous time.

    Raises:
        SourceError: as `read_recording`; a table of trials that the options do not name may be missing.
    """
    with open_nwb(path) as nwb:
        tables = [name for name in interval_tables(nwb) if name != "invalid_times"]
        chosen = options.trials_table
        if chosen not in tables and chosen == TRIALS:
            chosen = tables[0] if tables else None
        own = replace(options, trials_table=chosen or TRIALS, needs_trials=chosen is not None)
        recording = _recording(nwb, path, own)
        units = units_table(nwb)
        found = ways(units, peak_electrodes(units), eid=recording.eid, file=own.regions, column=own.region_column)
        lines = [
            f"file      {path}",
            inspection_text(recording),
            *(f"region by {way.way}: {way.n_known} of {units.n_rows} units{_names(way.region)}" for way in found),
            *(f"unit      {name}: {range_text(units, name)}" for name in units.names if name != "spike_times"),
            *(line for name in tables for line in describe_table(nwb, name)),
            *(describe_series(nwb, series) for series in series_paths(nwb)),
        ]
    return "\n".join(lines), recording, chosen


def _identity(nwb: NwbFile, path: Path, naming: Naming) -> Identity:
    subject = nwb.text("general/subject/subject_id")
    lab = nwb.text("general/lab") or nwb.text("general/institution")
    session = nwb.text("general/session_id") or nwb.text("identifier") or path.stem
    if naming == "file":
        parts = (path.stem,)
    elif subject and session.startswith(subject):  # as Cori_2016-12-14 of the animal Cori
        parts = (lab, session)
    else:
        parts = (lab, subject, session)
    return Identity(eid_from(*parts), subject or UNKNOWN, lab or UNKNOWN)


def _recording(nwb: NwbFile, path: Path, options: NwbOptions) -> Recording:
    who = _identity(nwb, path, options.naming)
    units = units_table(nwb)
    spikes = read_spikes(units)
    observed = observed_by_units(units, spikes)
    peak = peak_electrodes(units)
    region, of_regions = regions_of_units(units, peak, eid=who.eid, file=options.regions, column=options.region_column)
    notes = [*spikes.notes, *observed.notes, of_regions]
    if peak is None and (name := peak_column(units)) is not None:
        notes.append(f"{name} of the units fits no electrodes and was not used")
    trials = None
    if options.needs_trials or nwb.group(f"intervals/{options.trials_table}") is not None:
        trials, note = trials_of_table(nwb, options.trials_table, mapped=options.mapped, split=options.split_column)
        notes.append(note)
    traces = {}
    for choice in options.traces:
        traces[choice.name], note = read_trace(nwb, choice)
        notes.append(note)
    return Recording(
        eid=who.eid,
        subject=who.subject,
        lab=who.lab,
        source="nwb",
        spike_times_s=spikes.times_s,
        spike_neuron=spikes.neuron,
        neurons=sorted_units(
            units, eid=who.eid, region=region, label=options.label, peak=peak, first=first_electrodes(units)
        ),
        trials=trials,
        traces=traces,
        notes=tuple(filter(None, notes)),
        observed_s=observed.intervals_s,
        attributes={"file": path.name, "nwb_version": str(nwb.attribute(nwb.file, "nwb_version"))}
        | {name: text for name in ("identifier", "session_start_time") if (text := nwb.text(name))},
    )


def _names(region: np.ndarray) -> str:
    known = sorted({*region.tolist()} - {"void"})
    more = ", ..." if len(known) > MOST_REGIONS else ""
    return f" ({', '.join(known[:MOST_REGIONS])}{more})" if known else ""

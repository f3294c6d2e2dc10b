"""Behaviours of an NWB file: its time series."""

import re
from dataclasses import dataclass

import h5py
import numpy as np

from data_prep.recording import Trace
from data_prep.sources.nwb.hdf5 import NwbFile, is_numeric
from data_prep.sources.nwb.trials import span
from neuromtm.errors import ConfigError, SourceError

PLACES = ("processing", "acquisition")
MOST_FOR_A_RANGE = 2_000_000
"""numbers that are read to print a range"""


@dataclass(frozen=True, kw_only=True)
class TraceChoice:
    """One trace that the user asked for."""

    name: str
    path: str
    column: int | None

    @classmethod
    def parse(cls, text: str) -> "TraceChoice":
        """Read `NAME=PATH` or `NAME=PATH[COLUMN]`.

        Raises:
            ConfigError: if it has another form.
        """
        found = re.fullmatch(r"([^=/\[\]]+)=([^=\[\]]+?)(?:\[(\d+)\])?", text)
        if found is None:
            raise ConfigError(f"--trace {text}: must be NAME=PATH or NAME=PATH[COLUMN]. --inspect lists the paths.")
        return cls(name=found[1].strip(), path=found[2].strip("/ "), column=int(found[3]) if found[3] else None)


def series_paths(nwb: NwbFile) -> list[str]:
    """The paths of all time series of numbers, sorted."""
    found = [path for place in PLACES for path, group in nwb.groups_below(place) if _is_series(nwb, path, group)]
    return sorted(found)


def read_trace(nwb: NwbFile, choice: TraceChoice) -> tuple[Trace, str]:
    """A trace in its unit (`conversion` and `offset` are applied), and a note on samples that are left out.

    Args:
        nwb: the open file.
        choice: the path, or its end where that is enough to tell it from others.

    Raises:
        SourceError: if there is no such series, it has several columns and none is chosen, or its times are wrong.
    """
    path = _full_path(nwb, choice.path)
    data = nwb.dataset(f"{path}/data")
    if data is None or data.shape is None or not is_numeric(data):
        raise SourceError(f"{path} has no data of numbers.")
    width = int(np.prod(data.shape[1:]))
    if len(data.shape) > 2 or len(data.shape) == 0:
        raise SourceError(f"{path} has data of the shape {data.shape}, not (sample,) or (sample, column).")
    if choice.column is None and width != 1:
        raise SourceError(f"{path} has {width} columns. Choose one, e.g. --trace {choice.name}={choice.path}[0].")
    if choice.column is not None and choice.column >= width:
        raise SourceError(f"{path} has {width} columns, counted from 0; there is no column {choice.column}.")
    stored = nwb.numbers(data, (choice.column or 0) if len(data.shape) == 2 else None)
    scale, offset = (_number(nwb, data, *found) for found in (("conversion", 1.0), ("offset", 0.0)))
    values = stored.astype(np.float64) * scale + offset
    times_s = _times(nwb, path, len(values))
    if (np.diff(times_s) < 0).any():
        raise SourceError(f"{path}: its times go back at sample {int(np.flatnonzero(np.diff(times_s) < 0)[0]) + 1}.")
    first = np.diff(times_s, prepend=-np.inf) > 0
    repeated = int((~first).sum())
    note = f"{choice.name}: {repeated} samples that repeat the time before are left out" if repeated else ""
    return Trace(times_s=times_s[first], values=values[first]), note


def describe_series(nwb: NwbFile, path: str) -> str:
    """A line on a time series: its size, rate, times and range."""
    try:
        return f"series    {path}: {_described(nwb, path)}"
    except SourceError as error:
        return f"series    {path}: not usable ({str(error).rstrip('.')})"


def _described(nwb: NwbFile, path: str) -> str:
    data = nwb.dataset(f"{path}/data")
    assert data is not None  # by _is_series
    n_samples, width = data.shape[0], int(np.prod(data.shape[1:]))
    times_s = _times(nwb, path, n_samples)
    columns = "" if width == 1 else f" of {width} columns"
    if n_samples < 2:
        return f"{n_samples} samples{columns}"
    every_s = np.median(np.diff(times_s))
    rate = f" at {1 / every_s:.1f} Hz" if every_s > 0 else ""
    shown = max(1, MOST_FOR_A_RANGE // max(width, 1))
    head = nwb.first(data, shown).astype(np.float64)
    head = head * _number(nwb, data, "conversion", 1.0) + _number(nwb, data, "offset", 0.0)
    of = f" (of the first {shown})" if n_samples > shown else ""
    return f"{n_samples} samples{columns}{rate}, from {times_s[0]:.3f} to {times_s[-1]:.3f} s, {span(head)}{of}"


def _is_series(nwb: NwbFile, path: str, group: h5py.Group) -> bool:
    names = {*group}
    if "data" not in names or not names & {"timestamps", "starting_time"}:
        return False
    try:
        data = nwb.dataset(f"{path}/data")
    except SourceError:
        return True  # who asks for it is told what is wrong
    return data is not None and bool(data.shape) and is_numeric(data)


def _full_path(nwb: NwbFile, path: str) -> str:
    if nwb.group(path) is not None:
        return path
    there = series_paths(nwb)
    matching = [found for found in there if found.endswith(f"/{path}")]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise SourceError(f"several time series are named {path}: {', '.join(matching)}. Give the whole path.")
    raise SourceError(f"has no time series {path}. There are: {', '.join(there) or 'none'}.")


def _times(nwb: NwbFile, path: str, n_samples: int) -> np.ndarray:
    stamps = nwb.dataset(f"{path}/timestamps")
    if stamps is not None:
        if not is_numeric(stamps):
            raise SourceError(f"{path}: its timestamps are of the type {stamps.dtype}, not numbers.")
        times_s = np.asarray(nwb.numbers(stamps), np.float64).ravel()
        if len(times_s) != n_samples:
            raise SourceError(f"{path} has {n_samples} samples, but {len(times_s)} timestamps.")
        if not np.isfinite(times_s).all():
            raise SourceError(f"{path}: {int((~np.isfinite(times_s)).sum())} of its timestamps are not numbers.")
        return times_s
    start = nwb.dataset(f"{path}/starting_time")
    if start is None:
        raise SourceError(f"{path} has neither timestamps nor a starting_time.")
    rate_hz = _number(nwb, start, "rate", np.nan)
    start_s = float(np.asarray(nwb.numbers(start), np.float64).ravel()[0])
    if not (rate_hz > 0 and np.isfinite([rate_hz, start_s]).all()):
        raise SourceError(
            f"{path}: its rate is {rate_hz:g} Hz and its starting_time {start_s:g} s, so it has no times."
        )
    return start_s + np.arange(n_samples) / rate_hz


def _number(nwb: NwbFile, node: h5py.Dataset, name: str, default: float) -> float:
    value = nwb.attribute(node, name, default)
    try:
        return float(np.asarray(value).ravel()[0])
    except (TypeError, ValueError, IndexError) as error:
        raise SourceError(f"the attribute {name} of {node.name} is {value!r}, not a number.") from error

"""The options of `python -m data_prep nwb`: files of Neurodata Without Borders, version 2."""

import argparse
from functools import partial
from pathlib import Path
from typing import get_args

from data_prep.folder import Job, Plan
from data_prep.heldout import eid_from, heldout_options, note_unmatched, require_unique, role_of
from data_prep.inspection import prepare_command
from data_prep.options import chosen_options, recording_options
from data_prep.sources.nwb.fields import FORM, Expression
from data_prep.sources.nwb.recording import Identity, Naming, NwbOptions, inspect_file, read_identity, read_recording
from data_prep.sources.nwb.regions import RegionFile
from data_prep.sources.nwb.traces import TraceChoice
from data_prep.sources.nwb.trials import FIELDS, SPLIT, TRIALS
from data_prep.sources.nwb.units import LABEL_COLUMNS
from neuromtm.errors import ConfigError, SourceError

DESCRIPTION = (
    "Prepare files of Neurodata Without Borders (NWB 2), e.g. of the DANDI archive. Start with --inspect: it prints "
    "the units, regions, tables of intervals and time series of a file, and a command that prepares it. Which event is "
    "time 0 is never guessed: name it by --align-event, or give --continuous."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this source."""
    add = parser.add_argument
    add(
        "--path",
        type=Path,
        required=True,
        metavar="FILE_OR_DIR",
        help="a file, or a folder: all *.nwb files in it and below",
    )
    add("--trials-table", default=TRIALS, metavar="NAME", help="table of intervals that holds the trials")
    add(
        "--field",
        action="append",
        metavar="FIELD=COLUMN",
        help=f"what a column of the trials means; FIELD is one of {', '.join(FIELDS)}. COLUMN may be {FORM}: the rows "
        "where another column has a value, a factor, and numbers for the column's values, e.g. "
        "choice=response:left=-1,right=1 or contrast_left=contrast[side=left]*0.01; give it once for each field. "
        "Trials are filtered by the fields that are named",
    )
    add(
        "--split-column", default=SPLIT, metavar="NAME", help="column of the trials with splits: train, val, test, none"
    )
    add(
        "--regions",
        type=Path,
        metavar="FILE",
        help="CSV file of your own with the columns unit (its id) and region, and session (its eid) for several files",
    )
    add(
        "--region-column",
        metavar="NAME",
        help="column of the units with regions, or else of the electrodes (default: the first that is there)",
    )
    add(
        "--label",
        metavar="COLUMN",
        help=f"column of the units with a quality from 0 to 1, for --min-label; may be {FORM} (default: one of "
        f"{', '.join(LABEL_COLUMNS)}; the text good is 1, any other text 0)",
    )
    add(
        "--trace",
        action="append",
        metavar="NAME=PATH",
        help="a behaviour: any time series below processing or acquisition; PATH[1] is its second column. Give it once "
        "for each trace",
    )
    add(
        "--name-by",
        choices=get_args(Naming),
        default="session",
        help="what names a session in its shard: the lab, animal and session that the file says, or the file's name",
    )
    heldout_options(parser)
    recording_options(parser)


def plan(args: argparse.Namespace) -> Plan:
    """List the files to prepare."""
    own, files = _own_options(args), nwb_files(args.path)
    options = chosen_options(args, events=_events(files[0], own) if args.align_event is None else ())
    jobs, sessions, places = [], {}, []
    for path in files:
        try:
            who = read_identity(path, own.naming)
        except SourceError:
            # a file that cannot be read is one skipped session: its reading fails again, and says why
            who = Identity(eid_from(path.stem), "", "")
        else:
            sessions[who.eid] = who.subject
            places.append((who.eid, path))
        jobs.append(Job(who.eid, role_of(who.eid, who.subject, args), partial(read_recording, path, own)))
    try:
        require_unique(places)
    except ConfigError as error:
        raise ConfigError(f"{error} Or name sessions by their files: --name-by file.") from error
    note_unmatched(sessions, args)
    return Plan(jobs, options, own.as_json())


def inspect(args: argparse.Namespace) -> str:
    """What is in the files, and the command that would prepare them."""
    own, texts, command = _own_options(args), [], None
    files = nwb_files(args.path)
    for path in files:
        try:
            text, recording, table = inspect_file(path, own)
        except SourceError as error:
            if len(files) == 1:
                raise
            texts.append(f"file      {error}")
            continue
        texts.append(text)
        command = command or prepare_command("nwb", _arguments(args, table), recording)
    return "\n\n".join(texts) + (
        f"\n\nThis prepares it, with time 0 at an event of your choice:\n{command}" if command else ""
    )


def nwb_files(path: Path) -> list[Path]:
    """The file, or all NWB files of a folder and below, sorted.

    Raises:
        ConfigError: if there is none.
    """
    if not path.exists():
        raise ConfigError(f"--path {path}: no such file or folder.")
    if not path.is_dir():
        return [path]
    if any((path / name).exists() for name in (".zgroup", ".zattrs", "zarr.json")):
        raise ConfigError(f"--path {path}: is an NWB file that is stored as Zarr. Only those stored as HDF5 are read.")
    found = sorted(file for file in path.rglob("*.nwb") if file.is_file())
    if not found:
        raise ConfigError(f"--path {path}: no *.nwb file in it or below.")
    return found


def _events(path: Path, own: NwbOptions) -> tuple[str, ...]:
    """The columns that can be the event, for a message; none if the file has no such table."""
    try:
        trials = read_recording(path, own).trials
    except SourceError:
        return ()
    return () if trials is None else trials.event_names


def _own_options(args: argparse.Namespace) -> NwbOptions:
    mapped: dict[str, Expression] = {}
    for text in args.field or ():
        name, _, column = text.partition("=")
        if name not in FIELDS or not column:
            raise ConfigError(f"--field {text}: must be FIELD=COLUMN, and FIELD one of {', '.join(FIELDS)}.")
        if name in mapped:
            raise ConfigError(f"--field {text}: {name} is given twice.")
        mapped[name] = Expression.parse(column, option=f"--field {name}=")
    traces = tuple(map(TraceChoice.parse, args.trace or ()))
    if len({choice.name for choice in traces}) < len(traces):
        raise ConfigError(f"--trace: two traces have one name ({', '.join(choice.name for choice in traces)}).")
    return NwbOptions(
        trials_table=args.trials_table,
        needs_trials=not args.continuous,
        mapped=mapped,
        split_column=args.split_column,
        regions=None if args.regions is None else RegionFile.read(args.regions),
        region_column=args.region_column,
        label=None if args.label is None else Expression.parse(args.label, option="--label"),
        traces=traces,
        naming=args.name_by,
    )


def _arguments(args: argparse.Namespace, table: str | None) -> list[object]:
    """What the user gave, for a command that prepares."""
    given: list[object] = ["--path", args.path]
    if table not in (None, TRIALS):
        given += ["--trials-table", table]
    for option in ("field", "trace"):
        for text in getattr(args, option) or ():
            given += [f"--{option}", text]
    for option, default in (("split-column", SPLIT), ("regions", None), ("region-column", None), ("label", None)):
        value = getattr(args, option.replace("-", "_"))
        if value != default:
            given += [f"--{option}", value]
    return given + (["--name-by", args.name_by] if args.name_by != "session" else [])

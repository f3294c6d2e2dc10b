"""The options of what is read of a session."""

import argparse

from data_prep.sources.ibl.behaviors import ALL, BEHAVIORS, DEFAULT, chosen_behaviors
from data_prep.sources.ibl.recording import ReadOptions
from data_prep.sources.ibl.sortings import OWN_FOLDER, PREFERRED_SORTERS


def reading_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of what is read of a session."""
    listed = "; ".join(f"{name}: {behavior.summary}" for name, behavior in BEHAVIORS.items())
    parser.add_argument(
        "--behaviors",
        nargs="+",
        choices=[*BEHAVIORS, ALL],
        default=DEFAULT,
        metavar="NAME",
        help=f"behaviours to read, as far as a session has them; {ALL} for all of them. {listed}",
    )
    parser.add_argument(
        "--sorter",
        metavar="NAME",
        help=f"spike sorter to read; {OWN_FOLDER}: spikes in the probe's own folder. A session with a probe that lacks "
        f"it is skipped (default: the first that a probe has of {', '.join(PREFERRED_SORTERS)}, or any other)",
    )
    parser.add_argument(
        "--revision",
        metavar="DATE",
        help="read of every file the last revision up to this one; without this option, the one that the database "
        "takes for the default",
    )


def chosen_reading(args: argparse.Namespace) -> ReadOptions:
    """The options of `reading_options` that the user gave."""
    return ReadOptions(behaviors=chosen_behaviors(args.behaviors), sorter=args.sorter, revision=args.revision)

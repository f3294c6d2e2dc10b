"""`python -m data_prep describe`: what is in a folder of shards."""

import argparse
from pathlib import Path

from neuromtm.data.manifest import read_manifest
from neuromtm.files import keep_previous, write_whole

DESCRIPTION = (
    "Describe the sessions of a folder: trials, neurons, regions, rates, splits, windows that share time, drift, "
    "neurons that are silent or there twice. What stands out is said first. With --out, a page of plots is written too."
)
PAGE = "description.html"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.epilog = "Exit code: 0 if all shards were read, 2 if one is missing or damaged, or there is no manifest."
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of shards")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help=f"folder to write {PAGE} to; an earlier page there is kept under the time at which it was written",
    )


def run(args: argparse.Namespace) -> int:
    """Print the tables of a folder and what stands out, and write its page.

    Returns:
        The exit code.
    """
    # only here: help needs neither scipy nor matplotlib
    from data_prep.description.facts import read_facts
    from data_prep.description.remarks import remarks_of
    from data_prep.description.tables import behaviors_table, printed, regions_table, sessions_table, totals_table
    from neuromtm.report.tables import print_tables

    sessions = [read_facts(args.folder, entry) for entry in read_manifest(args.folder)]
    tables = {
        "Sessions": sessions_table(sessions),
        "All sessions of a role": totals_table(sessions),
        "Regions": regions_table(sessions),
        "Behaviours": behaviors_table(sessions),
    }
    print_tables([printed(table, title) for title, table in tables.items() if table.rows])
    print("".join(f"\n{remark}" for remark in remarks_of(sessions)) or "\nNothing stands out.")
    if args.out is not None:
        from data_prep.description.page import description_page

        text = description_page(str(args.folder), sessions)
        keep_previous(args.out / PAGE)
        write_whole(args.out / PAGE, text)
        print(f"\nPage: {args.out / PAGE}")
    return 0

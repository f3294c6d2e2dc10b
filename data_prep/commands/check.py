"""`python -m data_prep check`: verify the shards of a folder."""

import argparse
import sys
from pathlib import Path

from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.seal import is_sealed

DESCRIPTION = "Check every shard of a folder, and the manifest of the folder. Every bad file is named."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.epilog = (
        "Exit code: 0 if all files are good, 1 if some are bad, 2 if the folder has no manifest that can be used."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of shards")


def run(args: argparse.Namespace) -> int:
    """Name every bad file.

    Returns:
        The exit code.
    """
    problems = folder_problems(args.folder)
    for found in problems.values():
        for problem in found:
            print(f"neuromtm-prep: {problem}", file=sys.stderr)
    entries = read_manifest(args.folder)
    print(f"{args.folder}: {len(entries)} sessions, {len(problems)} bad files")
    if n := sum(not is_sealed(args.folder / entry.file) for entry in entries if entry.file not in problems):
        print(
            f"{n} of them without a seal: a training does not notice if their regions, labels or splits are damaged. "
            f"Seal them: python -m data_prep upgrade {args.folder}"
        )
    return 1 if problems else 0

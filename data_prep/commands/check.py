"""`python -m data_prep check`: verify the shards of a folder."""

import argparse
import sys
from pathlib import Path

from neuromtm.data.manifest import folder_problems, read_manifest

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
    print(f"{args.folder}: {len(read_manifest(args.folder))} sessions, {len(problems)} bad files")
    return 1 if problems else 0

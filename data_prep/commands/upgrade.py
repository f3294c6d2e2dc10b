"""`python -m data_prep upgrade`: rewrite a folder's shards of format 1 as format 2."""

import argparse
from pathlib import Path

from data_prep.commands.shared import follow
from data_prep.upgrade import upgrade_folder
from neuromtm.data.manifest import read_manifest

DESCRIPTION = (
    "Rewrite the shards of format 1 in a folder as format 2, which also holds means, variances and principal axes of "
    "the training trials, so that a training starts without reading all counts. Counts, trials and splits stay as they "
    "are: a checkpoint takes the new shards as it took the old ones. A shard of format 2 without a seal, as older "
    "versions wrote it, gets one: checksums of all that HDF5 does not check, so that a changed byte is found when it "
    "is read."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.epilog = (
        "Exit code: 0 if every shard is sealed and of format 2, 1 if some were skipped (the reason is printed), 2 if "
        "the folder has no manifest that can be used. After an interruption, run the same command again: it goes on."
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of shards")


def run(args: argparse.Namespace) -> int:
    """Upgrade the shards.

    Returns:
        The exit code.
    """
    total = len(read_manifest(args.folder))
    return follow(upgrade_folder(args.folder), total, args.folder, done="upgraded")

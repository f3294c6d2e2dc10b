"""Prints a line for each session of a data folder: subject, role and number of training trials, with tabs between."""

import sys
from pathlib import Path

from neuromtm.data.manifest import read_manifest
from neuromtm.errors import UserError

try:
    for entry in read_manifest(Path(sys.argv[1])):
        print(entry.subject, entry.role, entry.splits["train"], sep="\t")
except UserError as error:
    sys.exit(str(error))

"""What an upgrade of a folder has done and its manifest does not say yet."""

import json
from pathlib import Path

from neuromtm.regular_files import regular_text

UPGRADE_JOURNAL = ".upgrade.jsonl"
"""names the new shards of an upgrade before the manifest lists them"""


def upgraded_but_unlisted(folder: Path) -> dict[str, str]:
    """File name -> checksum of the new shards of an upgrade that was interrupted, or that goes on; empty otherwise.

    Args:
        folder: of shards. A last line of its journal that a kill cut short is left out.
    """
    path, known = Path(folder) / UPGRADE_JOURNAL, {}
    for line in regular_text(path, errors="replace").splitlines() if path.exists() else ():
        try:
            note = json.loads(line)
            known[note["file"]] = note["sha256"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return known

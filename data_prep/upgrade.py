"""Bring a folder's shards to what is written today, one after the other."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from data_prep.folder import Outcome
from neuromtm.data.manifest import ManifestWriter, SessionEntry, read_manifest
from neuromtm.data.seal import add_seal, is_sealed
from neuromtm.data.shards import FORMAT_VERSION, read_header, read_shard, write_shard
from neuromtm.data.upgrade_journal import UPGRADE_JOURNAL, upgraded_but_unlisted
from neuromtm.errors import ShardError
from neuromtm.files import locked, sha256, whole_file


def upgrade_folder(folder: Path) -> Iterator[Outcome]:
    """Rewrite the shards of older formats, seal those without a seal, and yield what happened to each session.

    The folder is locked all the time. A shard is replaced by one rename. Before it, the new file's checksum goes into a
    journal: after a kill the next call knows a new shard that the manifest does not list yet from a damaged one.

    Args:
        folder: of shards, with a manifest.

    Raises:
        ManifestError: if there is no manifest that can be read.
    """
    read_manifest(folder)
    with locked(folder):
        entries = read_manifest(folder)
        journal, known = folder / UPGRADE_JOURNAL, upgraded_but_unlisted(folder)
        for left_behind in folder.glob(".*.upgrade.tmp*"):  # by a call that was killed
            left_behind.unlink()
        with ManifestWriter(folder, holds_lock=True) as manifest:
            for entry in entries:
                yield _upgrade_one(folder / entry.file, entry, journal, known.get(entry.file), manifest)
        journal.unlink(missing_ok=True)
    listed = {entry.file for entry in entries}
    for path in sorted(folder.glob("*.h5")):
        if path.name not in listed:
            yield Outcome(path.stem, "skipped", "not in the manifest. Run the preparation again, which adds it.")


def _upgrade_one(
    path: Path, entry: SessionEntry, journal: Path, known: str | None, manifest: ManifestWriter
) -> Outcome:
    if not path.exists():
        return Outcome(entry.eid, "skipped", f"{path}: no such shard. Prepare it again.")
    # the checksum comes first: the HDF5 library can crash on damaged files, so such a file is not even opened
    digest = sha256(path)
    if digest != entry.sha256:
        if digest == known:
            manifest.add(path, entry.role)
            return Outcome(entry.eid, "already done", "added to the manifest")
        return Outcome(
            entry.eid,
            "skipped",
            f"{path}: its bytes are not the ones the manifest lists; it is damaged, cut short or was replaced. "
            "Delete it and prepare it again.",
        )
    try:
        former = read_header(path).format_version
        new = path.with_name(f".{path.name}.upgrade.tmp")
        if former < FORMAT_VERSION:
            write_shard(new, read_shard(path))
        elif is_sealed(path):
            return Outcome(entry.eid, "already done", "")
        else:
            _write_sealed(new, path, digest)
    except ShardError as error:
        return Outcome(entry.eid, "skipped", str(error))
    _note(journal, path.name, sha256(new))
    os.replace(new, path)
    manifest.add(path, entry.role)
    return Outcome(
        entry.eid, "upgraded", "sealed" if former == FORMAT_VERSION else f"format {former} to {FORMAT_VERSION}"
    )


def _write_sealed(new: Path, path: Path, digest: str) -> None:
    """Copy a shard of this SHA-256 and seal the copy."""
    with whole_file(new) as temporary:
        shutil.copyfile(path, temporary)
        if sha256(temporary) != digest:
            raise ShardError(f"{path}: was changed while it was copied. Run the upgrade again.")
        add_seal(temporary)


def _note(journal: Path, file: str, digest: str) -> None:
    with journal.open("a", encoding="utf-8") as lines:
        # the newline comes first: a line that a kill cut short must not take this one with it
        lines.write("\n" + json.dumps({"file": file, "sha256": digest}))
        lines.flush()
        os.fsync(lines.fileno())

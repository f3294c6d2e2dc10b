"""The checksums of a checkpoint. A checkpoint is a zip file: torch stores a checksum of each part, but reads none."""

import struct
import zipfile
import zlib
from pathlib import Path

from neuromtm.errors import CheckpointError
from neuromtm.regular_files import require_regular

DOS_FOLDER = 0x10
"""the bit in the attributes of a zip file's part that marks a folder"""
SMALL_BYTES = 4096
"""The parts of weights that are no longer are single numbers, such as a best score, or cost little."""
BYTES_AT_ONCE = 2**20


def require_whole(path: Path, *, large: bool = True) -> None:
    """Compare the parts of a checkpoint with their checksums; without this a wrong bit would load unnoticed.

    Args:
        path: the checkpoint.
        large: also those parts that hold only weights.

    Raises:
        CheckpointError: if the file is damaged.
    """
    try:
        with zipfile.ZipFile(require_regular(path)) as file:
            parts = [part for part in file.infolist() if large or _says_more_than_weights(part)]
            # torch takes a part with this bit for a folder, and returns uninitialised memory
            folders = [part.filename for part in file.infolist() if part.external_attr & DOS_FOLDER]
            # torch compresses nothing: a packed part is somebody else's, and could unpack to any size
            packed = (part.filename for part in file.infolist() if part.compress_type != zipfile.ZIP_STORED)
            broken = (part.filename for part in parts if not _is_whole(file, part))
            damaged = next(packed, None) or next(broken, None)
    except (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a readable checkpoint; the file is damaged or cut short ({error}). Use another one."
        ) from error
    if damaged is not None or folders:
        raise CheckpointError(
            f"{path}: not a whole checkpoint; the file is damaged in its part {damaged or folders[0]}. Use another one."
        )


def _says_more_than_weights(part: zipfile.ZipInfo) -> bool:
    return part.file_size <= SMALL_BYTES or "/data/" not in part.filename


def _is_whole(file: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    try:
        with file.open(part) as content:
            while content.read(BYTES_AT_ONCE):  # the end of a part is where its checksum is compared
                pass
    except zipfile.BadZipFile:
        return False
    return True

"""Files that are either whole or absent, a lock for one writer at a time, hashes, and CSV tables."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import math
import os
import re
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from neuromtm.errors import UserError
from neuromtm.regular_files import regular_text, require_regular


@contextmanager
def whole_file(path: Path) -> Generator[Path]:
    """Give a temporary path in the same folder; rename it to `path` if the block ends without error.

    A file at `path` is therefore always complete. A process that is killed half-way leaves only a temporary file, which
    the next process that writes into the folder removes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(path.parent)
    descriptor, temporary = _own_file(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)  # mkstemp makes a private file; give it the usual permissions
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        number = _number_of(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error  # the user knows this name
    finally:
        os.close(descriptor)
        temporary.unlink(missing_ok=True)


def _number_of(error: BaseException | None) -> int | None:
    """The number of the system's error behind one that names no file, as writing to a full disk gives."""
    while error is not None:
        if isinstance(error, OSError) and error.filename is not None:
            return None
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        if found := re.search(r"errno = (\d+)", str(error)):  # of HDF5
            return int(found.group(1))
        error = error.__context__
    return None


TEMPORARY = ".part.tmp"
"""how the names of the temporary files of `whole_file` end"""
_looked_into: set[Path] = set()
"""folders in which this process has removed what others left behind"""


def _own_file(path: Path) -> tuple[int, Path]:
    """A temporary file that is locked while this process has it open, which tells others that it is in use."""
    while True:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
        with suppress(OSError):  # without locks nobody removes the file
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:  # or another process has taken it for left behind before it was locked
            return descriptor, Path(name)
        os.close(descriptor)


def remove_left_behind(folder: Path) -> None:
    """Remove temporary files that no living process has, once in each folder."""
    if folder in _looked_into:
        return
    _looked_into.add(folder)
    for path in folder.glob(f".*{TEMPORARY}"):
        with suppress(OSError), require_regular(path).open("rb") as file:  # it is gone, of another user, or in use
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def write_whole(path: Path, text: str) -> None:
    """Write a text file. At every moment `path` holds the whole old text or the whole new text."""
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(path: Path) -> Generator[Path]:
    """Give a temporary folder beside `path`; rename it to `path` if the block ends without error.

    Raises:
        UserError: if `path` is there already, unless it is an empty folder.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        held = "holds files already" if path.is_dir() else "a file"
        raise UserError(f"{path}: {held}, and nothing is overwritten. Name another folder, or remove it first.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp") as temporary:
        new = Path(temporary) / "new"  # made with the usual permissions, unlike the temporary folder
        new.mkdir()
        yield new
        os.replace(new, path)


NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""what a file system without locks answers"""
PATIENCE_S = 600.0
"""how long a process waits for the lock of another machine, of which nobody can say whether it still lives"""


@contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the folder's lock, so that two processes do not change its manifest at the same time.

    Where the file system has no locks, a file that only one process can make takes their place.

    Raises:
        UserError: if that file stays there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with require_regular(folder / ".lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            with _exclusive_file(folder / ".lock.held"):
                yield
        else:
            yield


_SAID: set[Path] = set()
"""folders of which this process has said that they have no locks"""


@contextmanager
def _exclusive_file(path: Path) -> Generator[None]:
    if path.parent not in _SAID:
        _SAID.add(path.parent)
        print(f"{path.parent}: its file system has no locks; the file {path.name} takes their place.", file=sys.stderr)
    me = f"{socket.gethostname()} {os.getpid()}"
    began_s = time.monotonic()
    while not _made(path, me):
        if not _is_held_here(path) and time.monotonic() - began_s > PATIENCE_S:
            raise UserError(
                f"{path}: another process holds this folder, or has ended without removing the file. If none is at "
                "work here, remove it."
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _made(path: Path, me: str) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(me)
    except FileExistsError:
        return False
    return True


def _is_held_here(path: Path) -> bool:
    """Whether a living process of this machine holds the file. That of one which has ended is removed."""
    try:
        holder = regular_text(path)
        host, _, process = holder.partition(" ")
        if host != socket.gethostname() or not process:
            return False
        if _lives(int(process)):
            return True
        # of several that see it gone, one gets the file under another name, and sees whose it is
        aside = path.with_name(f"{path.name}.{os.getpid()}")
        os.rename(path, aside)
        if aside.read_text(encoding="utf-8") != holder:
            os.link(aside, path)
        aside.unlink()
    except (FileNotFoundError, FileExistsError):
        pass
    return False


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        pass
    return True


LARGEST_YAML = 2**23
"""characters of a configuration"""
MOST_YAML_ENTRIES = 500_000
"""of a configuration, each counted as often as it stands there or is repeated by a reference"""


def read_yaml(path: Path) -> Any:
    """The plain content of a YAML file. Its size is known before it is made: references can repeat each other.

    Raises:
        OSError, UnicodeDecodeError: if the file cannot be read.
        yaml.YAMLError: if it is no YAML of plain types, too long, or nested or repeated without end.
    """
    import yaml

    with require_regular(Path(path)).open(encoding="utf-8") as file:
        text = file.read(LARGEST_YAML + 1)
    if len(text) > LARGEST_YAML:
        raise yaml.YAMLError(f"it has more than {LARGEST_YAML} characters")
    try:
        if "&" in text:  # only an anchor can be repeated
            _require_few_entries(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
    except (ValueError, OverflowError, TypeError) as error:  # a number of many digits, a date that does not exist
        raise yaml.YAMLError(str(error)) from error


def _require_few_entries(top: Any) -> None:
    import yaml

    entries: dict[int, int] = {}  # of a node, with all that is in it

    def count(node: Any) -> int:
        if node is None or not isinstance(node.value, list):
            return 1
        if id(node) not in entries:
            entries[id(node)] = MOST_YAML_ENTRIES + 1  # of one that holds itself
            parts = (part for one in node.value for part in (one if isinstance(one, tuple) else (one,)))
            entries[id(node)] = 1 + sum(map(count, parts))
        return entries[id(node)]

    if count(top) > MOST_YAML_ENTRIES:
        raise yaml.YAMLError(f"its references repeat more than {MOST_YAML_ENTRIES} entries")


def hash_of(*values: object) -> str:
    """The SHA-256 of values of plain types, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """The file's SHA-256 as hexadecimal digits."""
    with require_regular(Path(path)).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_file(option: str, path: Path | None, *, suffix: str) -> None:
    """Refuse a folder where a file is to be written, and a file of another kind, which would be renamed aside.

    Args:
        option: name of the option that gives the path, for the message.
        path: the path; None if the option was not given.
        suffix: ending of the file's name, e.g. `.html`.

    Raises:
        UserError: if the path is a folder or does not end so.
    """
    if path is not None and path.is_dir():
        raise UserError(f"{option} {path}: a folder. Name a file to write, e.g. {path / f'NAME{suffix}'}.")
    if path is not None and path.suffix != suffix:
        raise UserError(f"{option} {path}: the file's name must end in {suffix}, e.g. {path.with_suffix(suffix)}.")


def keep_previous(path: Path) -> Path | None:
    """Put the time (UTC) of writing into an earlier result's name, e.g. `metrics.2026-11-21T07-40-12.json`.

    Returns:
        The new name; None if there was no earlier result.

    Raises:
        UserError: if the path is no regular file, e.g. a folder.
    """
    if not path.exists():
        return None
    if not path.is_file():
        raise UserError(f"{path}: {'a folder' if path.is_dir() else 'not a regular file'}. Name a file to write.")
    written = datetime.fromtimestamp(path.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H-%M-%S")
    kept, number = path.with_name(f"{path.stem}.{written}{path.suffix}"), 1
    while kept.exists():  # two results written within one second
        number += 1
        kept = path.with_name(f"{path.stem}.{written}-{number}{path.suffix}")
    return path.rename(kept)


def first_words(text: str) -> str:
    """A text as it fits into a sentence: one line of it, and not a long one."""
    line = next(iter(text.splitlines()), "")
    return line if len(line) <= 200 else f"{line[:200]}..."


def reason_of(error: Exception) -> str:
    """Why a file could not be read as what it should be, in words for the user.

    Args:
        error: of the reading: of the file system, of JSON or CSV, or of an entry that is absent or of another kind.
    """
    if isinstance(error, OSError):
        return error.strerror or "it cannot be read"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at line {error.lineno}, column {error.colno}"
    if isinstance(error, csv.Error):
        return str(error)
    if isinstance(error, KeyError):
        return f"it has no entry {error.args[0]!r}"
    if type(error) is ValueError:
        return first_words(str(error))
    return "an entry is not what it should be"


FORMULA_SIGNS = tuple("=+-@\t\r")
"""A spreadsheet runs a cell as a formula if it begins with one of these."""


def table_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The text of a CSV file: numbers with six digits, an empty field for None and NaN.

    Text that a spreadsheet would run as a formula gets an apostrophe in front; `read_table` removes it.

    Args:
        columns: names, written as the first line.
        rows: text, numbers and None; one value for each column.
    """
    return "".join(_line([_cell(value) for value in row]) for row in [columns, *rows])


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)  # with this line end the writer quotes both signs
    return text.getvalue().removesuffix("\r\n") + "\n"


def _cell(value: object) -> object:
    if isinstance(value, str):
        return f"'{value}" if _looks_like_a_formula(value) else value
    if isinstance(value, float):  # numpy's float64 is a float too
        return "" if math.isnan(value) else f"{value:.6g}"
    return "" if value is None else value


def _looks_like_a_formula(text: str) -> bool:
    return text.lstrip("'").startswith(FORMULA_SIGNS)


def read_table(path: Path, *, needs: Sequence[str] = ()) -> list[dict[str, str]]:
    """Read a CSV file that `table_text` made, perhaps saved again by a spreadsheet. Each row maps column -> text.

    Args:
        path: the file.
        needs: columns that must be there.

    Raises:
        csv.Error: if the file is no CSV, lacks a column or has one twice, or a row has more or fewer fields than there
            are columns.
        OSError, UnicodeDecodeError: if the file cannot be read.
    """
    with require_regular(Path(path)).open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file, strict=True)
        columns = [_plain(name) for name in next(rows, [])]
        if twice := [name for name, times in Counter(columns).items() if times > 1]:
            raise csv.Error(f"it has the column {twice[0]!r} twice")
        if missing := [name for name in needs if name not in columns]:
            raise csv.Error(f"it has no column {', '.join(missing)}")
        table = []
        for number, row in enumerate(rows, start=2):
            if not row:  # an empty line
                continue
            if len(row) != len(columns):
                raise csv.Error(f"row {number} has {len(row)} fields, not {len(columns)}")
            table.append(dict(zip(columns, map(_plain, row), strict=True)))
    return table


def _plain(text: str) -> str:
    return text[1:] if text.startswith("'") and _looks_like_a_formula(text) else text

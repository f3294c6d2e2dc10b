"""`params.py` of a sorting: it is read as text, and never run."""

import ast
from pathlib import Path
from typing import Any

from neuromtm.errors import SourceError
from neuromtm.files import reason_of
from neuromtm.regular_files import regular_text

MOST_BYTES = 1_000_000


def read_params(path: Path) -> dict[str, Any]:
    """Name -> value of every line `NAME = VALUE`, where a value is a number, a text, or a list of these.

    Raises:
        SourceError: if the file cannot be read or holds anything else, which only running it would tell.
    """
    try:
        text = regular_text(path, encoding="utf-8-sig")
        if len(text) > MOST_BYTES:
            raise SourceError(f"{path}: {len(text)} characters are too many for the parameters of a sorting.")
        statements = ast.parse(text).body
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({reason_of(error)}).") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SourceError(
            f"{path}: no list of NAME = VALUE ({error}). Correct it, or give --sample-rate-hz."
        ) from error
    found = {}
    for statement in statements:
        try:
            name, value = _assignment(statement)
        except ValueError as error:
            shown = (text.splitlines()[statement.lineno - 1]).strip()
            raise SourceError(
                f"{path}: line {statement.lineno} ({shown[:60]}) is more than NAME = VALUE, and the file is never run. "
                "Write the plain value, or give --sample-rate-hz."
            ) from error
        if name is not None:
            found[name] = value
    return found


def _assignment(statement: ast.stmt) -> tuple[str | None, Any]:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return None, None  # a comment in quotation marks
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1 and isinstance(statement.targets[0], ast.Name):
        try:
            return statement.targets[0].id, ast.literal_eval(statement.value)
        except (TypeError, RecursionError, MemoryError) as error:
            raise ValueError from error
    raise ValueError


def sample_rate_of(path: Path) -> float:
    """The samples in a second, by the `sample_rate` of a `params.py`.

    Raises:
        SourceError: if the file is missing or wrong, or the rate is no number above 0.
    """
    if not path.exists():
        raise SourceError(f"{path}: no such file, so the sampling rate is unknown. Give --sample-rate-hz.")
    rate_hz = read_params(path).get("sample_rate")
    # True is an int, but no rate
    if not isinstance(rate_hz, int | float) or isinstance(rate_hz, bool) or not 0 < rate_hz < float("inf"):
        raise SourceError(f"{path}: sample_rate is {repr(rate_hz)[:40]}, not a number above 0. Give --sample-rate-hz.")
    return float(rate_hz)

"""Search for sessions by ONE-api's own terms."""

import difflib
import http.client
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from data_prep.sources.ibl.patience import Patience, reason_of_failure
from neuromtm.errors import ConfigError

Tables = Literal["local", "remote"]
"""where ONE-api looks: in its tables (of a local folder, or of a release tag), or in the database"""

OTHER_NAMES = {
    "lab": "laboratory",
    "date": "date_range",
    "project": "projects",
    "data": "datasets",
    "dataset": "datasets",
    "task": "task_protocol",
}
"""short names of terms; ONE-api itself takes some of them for ambiguous"""
DATABASE_TERMS = (
    "django",
    "users",
    "location",
    "dataset_types",
    "performance_lte",
    "performance_gte",
    "tag",
)
"""the database alone can be asked for these"""
WHOLE = ("django",)
"""terms whose values hold commas of their own"""
OPEN_ENDED = "date_range"


def parse_query(pairs: Sequence[str]) -> dict[str, Any]:
    """Read KEY=VALUE pairs. A value with commas, or a key that is given again, is a list.

    Args:
        pairs: as the user gave them.

    Raises:
        ConfigError: if a pair is not of the form KEY=VALUE.
    """
    query: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        key = key.strip().casefold()
        if not (key and equals and value.strip(", ")):
            raise ConfigError(f"--query {pair!r}: write KEY=VALUE, e.g. --query lab=cortexlab subject=KS014.")
        key = OTHER_NAMES.get(key, key)
        values: list[Any] = [value] if key in WHOLE else [part.strip() for part in value.split(",")]
        # an empty start or end of a range of dates is an open one
        values = [part or None for part in values] if key == OPEN_ENDED else [part for part in values if part]
        query[key] = [*query.get(key, ()), *values]
    return {key: values[0] if len(values) == 1 else values for key, values in query.items()}


def search_sessions(one: Any, query: Mapping[str, Any], *, tables: Tables, patience: Patience) -> list[str]:
    """The eids of all sessions that a query finds, in ONE-api's order.

    Args:
        one: an open ONE-api object.
        query: of `parse_query`; empty finds all sessions.
        tables: where to look.
        patience: for the network.

    Raises:
        ConfigError: if ONE-api has no such term, a value is not of its kind, or the database cannot be asked.
    """
    shown = " ".join(f"{key}={_shown(value)}" for key, value in query.items())
    try:
        _check_terms(query, patience(lambda: one.search_terms(query_type=tables)), tables)
        return [str(eid) for eid in patience(lambda: list(one.search(query_type=tables, **query)))]
    except (OSError, http.client.HTTPException) as error:
        raise ConfigError(f"the database cannot be searched: {reason_of_failure(error)}. Try again later.") from error
    except (ValueError, TypeError, re.error) as error:
        raise ConfigError(f"--query {shown}: a value is not of its kind ({error}).") from error


def _check_terms(query: Mapping[str, Any], terms: Sequence[str], tables: Tables) -> None:
    known = {*terms, *(("django",) if tables == "remote" else ())}
    unknown = sorted({*query} - known)
    if tables == "local" and (online := [key for key in unknown if key in DATABASE_TERMS]):
        raise ConfigError(
            f"--query {', '.join(online)}: only the database can be searched for this. Tables, those of a local "
            f"folder or of --tag, know: {', '.join(sorted(known))}."
        )
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        raise ConfigError(
            f"--query: ONE-api has no {', '.join(unknown)}."
            + (f" Do you mean {near[0]}?" if near else "")
            + f" It knows: {', '.join(sorted(known))}."
        )


def _shown(value: Any) -> str:
    return ",".join("" if part is None else str(part) for part in value) if isinstance(value, list) else str(value)

"""Data releases of the database: a tag stands for sessions and for files of them."""

from typing import Any
from weakref import WeakKeyDictionary

from data_prep.sources.ibl.patience import Patience
from neuromtm.errors import ConfigError

_TAKEN: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""opened ONE-api -> the tag whose tables it has"""


def take_tables_of(one: Any, tag: str, *, patience: Patience) -> None:
    """Let ONE-api take its tables from a data release, if it has not yet.

    Args:
        one: an open ONE-api object.
        tag: of the release.
        patience: for the network.

    Raises:
        ConfigError: if there is no such release, the database does not answer, or a local folder is read.
    """
    if one.mode == "local":
        raise ConfigError(f"--tag {tag}: only the database has release tags. Leave out --mode local.")
    if _TAKEN.get(one) == tag:
        return
    one.cache_dir.mkdir(parents=True, exist_ok=True)
    try:
        patience(lambda: one.load_cache(tag=tag))
    except (AssertionError, OSError) as error:
        raise ConfigError(f"--tag {tag}: its tables cannot be had ({type(error).__name__}: {error}).") from error
    # ONE-api only logs that it could not load them, and may have gone offline
    if one.mode != "remote" or not len(one.search(query_type="local")):
        raise ConfigError(f"--tag {tag}: the database has no such release, or does not answer.")
    _TAKEN[one] = tag

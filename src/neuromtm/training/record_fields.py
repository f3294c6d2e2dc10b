"""What each field of a checkpoint's record must be. A file from somebody else is checked here, before it is used."""

from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import Any

from neuromtm.batch import SessionInfo
from neuromtm.data.shard_layout import eid_problem


def record_problems(plain: Mapping[str, Any]) -> list[str]:
    """What is wrong with the fields of a record, one phrase each.

    Args:
        plain: the record in plain types. `decoder` and `subjects` may be absent.
    """
    problems = [f"no {name}" for name in FIELDS if name not in plain and name not in LATER]
    problems += [
        f"{name} is not {wanted}"
        for name, (is_good, wanted) in FIELDS.items()
        if name in plain and not is_good(plain[name])
    ]
    return problems


def plain_session(session: SessionInfo) -> dict[str, Any]:
    """A session of a record in plain types."""
    own = {"eid": session.eid, "neurons": list(session.neurons), "regions": list(session.regions)}
    # without held-out neurons it is what older versions wrote, and read
    return own | ({"heldout": list(session.heldout)} if session.heldout else {})


def session_of(plain: Mapping[str, Any]) -> SessionInfo:
    """The session of a record that has no problems."""
    parts = (plain["neurons"], plain["regions"], plain.get("heldout", ()))
    return SessionInfo(plain["eid"], *map(tuple, parts))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_number_above_0(value: Any) -> bool:
    return type(value) is int and value > 0


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < inf


def _has_names(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(name, str) for name in value)


def _maps_to_text(value: Any) -> bool:
    return _has_names(value) and all(isinstance(text, str) for text in value.values())


def _is_backbone(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_text(value.get("class_path")) and _has_names(value.get("init_args"))


def _is_session(value: Any) -> bool:
    if not isinstance(value, Mapping) or eid_problem(value.get("eid")) is not None:
        return False
    neurons, regions = value.get("neurons"), value.get("regions")
    lists = isinstance(neurons, list | tuple) and isinstance(regions, list | tuple)
    if not lists or len(neurons) != len(regions):
        return False
    heldout = value.get("heldout", ())
    if not isinstance(heldout, list | tuple) or len(heldout) not in (0, len(neurons)):
        return False
    if not all(type(flag) is bool for flag in heldout):
        return False
    return all(map(_is_text, (*neurons, *regions))) and len(set(neurons)) == len(neurons)


def _are_sessions(value: Any) -> bool:
    if not isinstance(value, list | tuple) or not all(map(_is_session, value)):
        return False
    return len({session["eid"] for session in value}) == len(value)


def _is_mapping_or_none(value: Any) -> bool:
    return value is None or _has_names(value)


def _are_options(value: Any) -> bool:
    plain = _has_names(value) and all(type(given) in (int, float, str) for given in value.values())
    return plain and all(isfinite(given) for given in value.values() if type(given) is float)


LATER = ("decoder", "subjects")
"""fields that checkpoints of older versions lack"""
FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "backbone": (_is_backbone, "a class_path and its init_args"),
    "sessions": (_are_sessions, "a list of sessions, each with its eid, neurons and regions"),
    "n_bins": (_is_number_above_0, "a number of bins"),
    "bin_size_s": (_is_duration, "a number of seconds"),
    "objective": (_has_names, "a mapping of options"),
    "trials": (_maps_to_text, "a text for each session"),
    "batches": (_are_options, "a mapping of options to numbers and texts"),
    "decoder": (_is_mapping_or_none, "a mapping of options"),
    "subjects": (_maps_to_text, "a text for each session"),
}
"""field of a record -> the check of its value, and in words what the value must be"""

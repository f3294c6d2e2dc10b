"""Sessions and animals that are kept out of pretraining."""

import argparse
import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping

from neuromtm.data.manifest import Role
from neuromtm.errors import ConfigError


def heldout_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name what is kept out of pretraining."""
    parser.add_argument(
        "--heldout-eids", nargs="+", default=(), metavar="EID", help="sessions not to pretrain on, by their eids"
    )
    parser.add_argument("--heldout-subjects", nargs="+", default=(), metavar="NAME", help="animals not to pretrain on")


def role_of(eid: str, subject: str, args: argparse.Namespace) -> Role:
    """The role of a session, by the options of `heldout_options`."""
    return "heldout" if eid in args.heldout_eids or subject in args.heldout_subjects else "pretrain"


def note_unmatched(sessions: Mapping[str, str], args: argparse.Namespace) -> None:
    """Print a note about held-out names that fit no session: mistyped, or of sessions that are prepared elsewhere.

    Args:
        sessions: eid -> subject.
        args: with the options of `heldout_options`.
    """
    there = {"--heldout-eids": sorted(sessions), "--heldout-subjects": sorted({*sessions.values()})}
    for option, names in there.items():
        asked = args.heldout_eids if option == "--heldout-eids" else args.heldout_subjects
        if unknown := sorted({*asked} - {*names}):
            print(
                f"neuromtm-prep: note: {option}: {', '.join(unknown)} not among those of these sessions "
                f"({', '.join(names[:10])}{' ...' if len(names) > 10 else ''})."
                + (" It holds out no session of this command." if {*unknown} == {*asked} else ""),
                file=sys.stderr,
            )


def eid_from(*parts: str) -> str:
    """The eid that a session gets from names of its lab, animal, file: other characters than letters, digits and ._-
    become hyphens, accents are left out, empty parts too.

    Raises:
        ConfigError: if no letter or digit is left.
    """
    plain = (unicodedata.normalize("NFKD", part).encode("ascii", "ignore").decode() for part in parts)
    eid = "_".join(clean for part in plain if (clean := re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip("-.")))
    if not eid:
        raise ConfigError(f"{' '.join(parts)!r}: no name of a session can be made of it. Name it by letters or digits.")
    return eid


def require_unique(eids: Iterable[tuple[str, object]]) -> None:
    """Refuse two sessions of one eid.

    Args:
        eids: eid and the place of the session.

    Raises:
        ConfigError: naming both places.
    """
    places: dict[str, object] = {}
    for eid, place in eids:
        if eid in places:
            raise ConfigError(f"{place} and {places[eid]}: both are the session {eid}. Give them different names.")
        places[eid] = place

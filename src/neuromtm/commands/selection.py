"""The options by which a command chooses sessions, neurons and trials, as `data.NAME` of a training does."""

import argparse
from typing import Any, get_args

from neuromtm.data.manifest import ChosenRole

SELECTION = ("sessions", "role", "subjects", "min_firing_rate_hz", "regions", "n_train_trials")


def session_options(parser: argparse.ArgumentParser, *, to_do: str) -> None:
    """Add those that choose sessions by name or role.

    Args:
        parser: of the command.
        to_do: what it does with a session, e.g. `score`.
    """
    parser.add_argument("--sessions", metavar="EID", nargs="+", help=f"sessions to {to_do} (default: all of the role)")
    parser.add_argument(
        "--role", choices=get_args(ChosenRole), default="heldout", help="role of these sessions (default: heldout)"
    )


def selection_options(parser: argparse.ArgumentParser, *, to_do: str, of_a_model: bool = False) -> None:
    """Add all of the options.

    Args:
        parser: of a command that has `--data`.
        to_do: what the command does with a session, e.g. `score`.
        of_a_model: whether the result is compared with a model, whose neurons must then be the same.
    """

    def as_the_model(name: str) -> str:
        return f"; take data.{name} of the model to compare with" if of_a_model else ""

    session_options(parser, to_do=to_do)
    parser.add_argument(
        "--subjects", metavar="SUBJECT", nargs="+", help="only sessions of these animals (default: all)"
    )
    parser.add_argument(
        "--min_firing_rate_hz",
        metavar="HZ",
        type=float,
        default=0.0,
        help=f"leave out neurons that fire less{as_the_model('min_firing_rate_hz')} (default: 0)",
    )
    parser.add_argument(
        "--regions",
        metavar="REGION",
        nargs="+",
        help=f"keep only neurons of these regions{as_the_model('regions')} (default: all)",
    )
    parser.add_argument(
        "--n_train_trials",
        metavar="N",
        type=int,
        help="use N training trials of each session, evenly spread in time, as data.n_train_trials does (default: all)",
    )


def selected(options: argparse.Namespace) -> dict[str, Any]:
    """What was chosen, as arguments of `SessionDataModule`."""
    return {"root": str(options.data), **{name: getattr(options, name) for name in SELECTION}}

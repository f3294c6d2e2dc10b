"""The program `neuromtm`: finds the command, imports it, and turns a user's error into one line.

Nothing heavy is imported here, so that help and the commands that only read results start at once.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from neuromtm import __version__
from neuromtm.errors import ConfigError, UserError


class Command(NamedTuple):
    """A command of the program."""

    summary: str
    module: str
    """imported when the command is given; its `run` takes the command line behind the command's name and an empty
    parser"""


LIGHTNING = {
    "fit": "Train: pretrain on many sessions, or fine-tune a pretrained model on sessions it has not seen.",
    "validate": "Score a checkpoint on the validation trials, and print the scores.",
    "test": "Score a checkpoint on the test trials: metrics.json, neurons.csv and figures/ in the run's folder.",
    "predict": "Write the expected spikes per bin of the test trials, nothing hidden: predictions/EID.h5 in the "
    "run's folder, with rates (trial, bin, neuron) and the trials' numbers.",
}
"""commands that LightningCLI carries out -> what they do"""

COMMANDS = {
    "baseline": Command(
        "Score a simple prediction (PSTH, ridge, Poisson regression ...) on the entries of a model's test.",
        "neuromtm.commands.baseline",
    ),
    "ceiling": Command(
        "Score the true rates of simulated sessions, the bound of what a model can reach.",
        "neuromtm.commands.ceiling",
    ),
    "compare": Command(
        "Hold tested runs against each other: means, differences paired over neurons and sessions.",
        "neuromtm.commands.compare",
    ),
    "rates": Command(
        "Hold the predicted rates of simulated sessions against the true ones: R2, and a plot.",
        "neuromtm.commands.rates",
    ),
    "recipes": Command(
        "List the configurations that come with the package, or write them into a folder.",
        "neuromtm.commands.recipes",
    ),
    "report": Command("Write a run's numbers and plots, each explained, as one HTML page.", "neuromtm.commands.report"),
}
"""commands beside them"""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; a user's error is one line and exit code 2.

    Args:
        args: the command line without the program's name; by default the process's own.
    """
    given = sys.argv[1:] if args is None else list(args)
    try:
        if given and given[0] in COMMANDS:
            name, *arguments = given
            command = COMMANDS[name]
            parser = argparse.ArgumentParser(prog=f"neuromtm {name}", description=command.summary, allow_abbrev=False)
            importlib.import_module(command.module).run(arguments, parser)
        elif not given or given[0] in ("-h", "--help"):
            print(_help())
        elif given == ["--version"]:
            print(f"neuromtm {__version__}")
        elif given[0] not in LIGHTNING and not given[0].startswith("-"):
            raise ConfigError(f"{given[0]}: no such command. There are: {', '.join((*LIGHTNING, *COMMANDS))}.")
        else:
            importlib.import_module("neuromtm.commands.cli").run(given)
    except Exception as error:
        problem = users_own(error)
        if problem is None:
            raise
        print(f"neuromtm: {' '.join(str(problem).split())}", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    summaries = LIGHTNING | {name: command.summary for name, command in COMMANDS.items()}
    width = max(map(len, summaries))
    lines = [f"  {name.ljust(width)}  {summary}" for name, summary in summaries.items()]
    return "\n".join(
        [
            "usage: neuromtm COMMAND [OPTIONS]",
            "",
            "Multi-task masked models of spiking neurons: train, fine-tune, test.",
            "",
            *lines,
            "",
            "neuromtm COMMAND --help has the options of a command, neuromtm --version the version.",
        ]
    )


def users_own(error: BaseException | None) -> UserError | None:
    """The user's error behind an exception; None if it is a fault of the program."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    if lightning is not None and isinstance(error, lightning.MisconfigurationException):
        return ConfigError(str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return UserError(f"{error.filename}: {error.strerror}.")
    # jsonargparse wraps what a constructor raises
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__
    return error


if __name__ == "__main__":
    main()

"""The program `neuromtm`: finds the command, imports it, and turns a user's error into one line.

Nothing heavy is imported here, so that help and the commands that only read results start at once.
"""

import importlib
import os
import signal
import sys
from collections.abc import Sequence

from neuromtm import __version__
from neuromtm.arguments import OptionParser, require_readable
from neuromtm.commands.failures import users_own
from neuromtm.commands.open_files import raise_limit
from neuromtm.commands.registry import COMMANDS, LIGHTNING
from neuromtm.commands.stopping import end_stopped
from neuromtm.errors import ConfigError, printable, shortened
from neuromtm.training.stopping import Stopped, StopSignals


def main(args: Sequence[str] | None = None) -> None:
    """Run a command. A user's error prints one line and ends the program with exit code 2.

    Args:
        args: the command line without the program's name; by default the process's own.
    """
    given = sys.argv[1:] if args is None else list(args)
    # torch's own warnings of a connection that broke, with a trace of its C++ code, would hide the reason in a log
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    raise_limit()
    try:
        require_readable(given)
        if given and given[0] in COMMANDS:
            name, *arguments = given
            command = COMMANDS[name]
            parser = OptionParser(prog=f"neuromtm {name}", description=command.summary)
            importlib.import_module(command.module).run(arguments, parser)
        elif not given or given[0] in ("-h", "--help"):
            print(_help())
        elif given == ["--version"]:
            print(f"neuromtm {__version__}")
        elif given[0] not in LIGHTNING and not given[0].startswith("-"):
            raise ConfigError(f"{given[0]}: no such command. There are: {', '.join((*LIGHTNING, *COMMANDS))}.")
        else:
            _train_or_score(given)
        sys.stdout.flush()  # a reader that went away shows here, and not at the program's end
    except BrokenPipeError:  # `neuromtm --help | head -1`: the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except Exception as error:
        problem = users_own(error)
        if problem is None:
            raise
        print(f"neuromtm: {printable(shortened(' '.join(str(problem).split())))}", file=sys.stderr)
        sys.exit(2)


def _train_or_score(arguments: list[str]) -> None:
    signals = StopSignals()
    try:
        with signals:
            importlib.import_module("neuromtm.commands.cli").run(arguments, signals)
    except Stopped as stopped:
        end_stopped(stopped, arguments[0])


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
            "neuromtm COMMAND --help shows the options of a command; neuromtm --version shows the version.",
        ]
    )


if __name__ == "__main__":
    main()

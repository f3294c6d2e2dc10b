"""Turn recordings of any source into shards: `python -m data_prep COMMAND`.

A command is imported when it is given, so that help comes at once and no source needs what another one reads with.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from neuromtm.arguments import OptionParser, require_readable
from neuromtm.errors import UserError, printable, shortened


class PrepCommand(NamedTuple):
    """A command of the program."""

    summary: str
    module: str
    """Imported when the command is given: its `DESCRIPTION` and its `add_options` for a parser. A source of recordings
    has a `plan`, which gives the sessions to prepare; any other command has a `run`. A source may have an `inspect`
    too, which says what is there and writes nothing: it gets the options, and returns the text for the user."""

    @property
    def is_source(self) -> bool:
        return self.module.startswith("data_prep.sources.")


COMMANDS = {
    "simulate": PrepCommand("Simulate sessions of several animals with a known truth", "data_prep.commands.simulate"),
    "lorenz": PrepCommand("Simulate neurons driven by the Lorenz system", "data_prep.sources.lorenz"),
    "ibl": PrepCommand("Prepare sessions of the International Brain Laboratory", "data_prep.sources.ibl.options"),
    "arrays": PrepCommand("Prepare sessions of plain arrays and tables, a folder each", "data_prep.sources.arrays"),
    "phy": PrepCommand("Prepare sortings of Kilosort and Phy", "data_prep.sources.phy.options"),
    "nwb": PrepCommand("Prepare files of Neurodata Without Borders (NWB 2)", "data_prep.sources.nwb.options"),
    "nlb": PrepCommand("Prepare a data set of the Neural Latents Benchmark", "data_prep.sources.nlb"),
    "bwb": PrepCommand("Prepare sessions of BrainWideBench", "data_prep.sources.bwb.options"),
    "check": PrepCommand("Check every shard of a folder, and the manifest of the folder", "data_prep.commands.check"),
    "describe": PrepCommand("Describe a folder of shards: a table, and a page of plots", "data_prep.commands.describe"),
    "upgrade": PrepCommand("Rewrite shards of format 1 as format 2", "data_prep.commands.upgrade"),
}


def run(args: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 if all went well, 1 if sessions were skipped or files are bad, 2 if an option or a file of the
        user is wrong.
    """
    given = sys.argv[1:] if args is None else list(args)
    try:
        require_readable(given)
    except UserError as error:
        print(f"neuromtm-prep: {printable(shortened(error))}", file=sys.stderr)
        return 2
    if not given or given[0] not in COMMANDS:
        overview = _overview()
        overview.parse_args(given)  # prints help or the usage, and ends the program
        overview.error("name a command first")
    name, *arguments = given
    parser = parser_of(name)
    options = parser.parse_args(arguments)
    module = importlib.import_module(COMMANDS[name].module)
    inspects = getattr(options, "inspect", False)
    if COMMANDS[name].is_source and options.out is None and not inspects:
        parser.error("the following arguments are required: --out")
    try:
        if inspects:
            print(printable(module.inspect(options)))
            return 0
        if COMMANDS[name].is_source:
            from data_prep.commands.shared import prepare_plan

            return prepare_plan(module.plan(options), options)
        return module.run(options)
    except UserError as error:
        print(f"neuromtm-prep: {printable(shortened(error))}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(
            f"neuromtm-prep: {printable(shortened(error.filename))}: cannot be read or written ({error.strerror}). "
            "Name another folder.",
            file=sys.stderr,
        )
        return 2


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the default of an option, unless the default is None, False or an empty tuple."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # by identity: 0 is a default to show, though it equals False
        silent = action.default is None or action.default is False or action.default == ()
        return action.help if silent else super()._get_help_string(action)


def parser_of(name: str) -> argparse.ArgumentParser:
    """Build the parser of a command and its options."""
    module = importlib.import_module(COMMANDS[name].module)
    parser = OptionParser(
        prog=f"python -m data_prep {name}",
        description=module.DESCRIPTION,
        formatter_class=_Help,
    )
    if COMMANDS[name].is_source:
        from data_prep.commands.shared import inspect_option, out_options

        inspects = hasattr(module, "inspect")
        out_options(parser, required=not inspects)
        if inspects:
            inspect_option(parser)
    module.add_options(parser)
    return parser


def _overview() -> argparse.ArgumentParser:
    """Build the parser of the program, whose commands have no options yet."""
    description = (__doc__ or "").partition("\n")[0]
    parser = OptionParser(prog="python -m data_prep", description=description)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        commands.add_parser(name, help=command.summary)
    return parser

"""`neuromtm export`: write a run's predictions in the format of a public benchmark.

A kind is one module of `neuromtm.export`, which is imported when it is asked for.
"""

import argparse
import importlib
from collections.abc import Sequence

from neuromtm.commands.registry import Command

KINDS = {
    "nlb": Command(
        "Write a submission to the Neural Latents Benchmark: the expected spikes of its train and test trials, HDF5.",
        "neuromtm.export.nlb",
    ),
    "bwb": Command(
        "Write predictions for BrainWideBench: behaviour, activity or the regions of neurons, safetensors.",
        "neuromtm.export.bwb",
    ),
}
"""name of a benchmark -> what is written for it, and the module that writes it"""


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Find the benchmark and write its file.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.
    """
    if not arguments or arguments[0] not in KINDS:
        summaries = " ".join(f"{name}: {kind.summary}" for name, kind in KINDS.items())
        parser.add_argument(
            "kind", metavar="KIND", choices=tuple(KINDS), help=f"{summaries} Its options: {parser.prog} KIND --help"
        )
        parser.parse_args(arguments[:1])  # prints help or what is wrong, and ends the program
    kind, *rest = arguments
    parser.prog, parser.description = f"{parser.prog} {kind}", KINDS[kind].summary
    importlib.import_module(KINDS[kind].module).run(rest, parser)

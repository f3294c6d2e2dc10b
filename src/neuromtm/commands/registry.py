"""The list of commands. None of them is imported here."""

from typing import NamedTuple


class Command(NamedTuple):
    """A command of the program."""

    summary: str
    module: str
    """imported when the command is given; its `run` takes the command line after the command's name, and an empty
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
    "adapt": Command(
        "Make stitchers of new sessions from few trials, without a training: a run directory for neuromtm test.",
        "neuromtm.commands.adapt",
    ),
    "average": Command(
        "Score the average of the rates of several trained models, and of a baseline beside them.",
        "neuromtm.commands.average",
    ),
    "baseline": Command(
        "Score a simple prediction (PSTH, ridge, Poisson regression ...) on the entries that a model's test scores.",
        "neuromtm.commands.baseline",
    ),
    "ceiling": Command(
        "Score the true rates of simulated sessions: the upper bound for any model.",
        "neuromtm.commands.ceiling",
    ),
    "compare": Command(
        "Compare tested runs: means, and differences paired over neurons and sessions.",
        "neuromtm.commands.compare",
    ),
    "export": Command("Write a run's predictions in the format of a public benchmark.", "neuromtm.commands.export"),
    "rates": Command(
        "Compare the predicted rates of simulated sessions with the true ones: R2, and a plot.",
        "neuromtm.commands.rates",
    ),
    "recipes": Command(
        "List the configurations that come with the package, or write them into a folder.",
        "neuromtm.commands.recipes",
    ),
    "search": Command(
        "Search for good options of a training with Optuna; many processes may share one search.",
        "neuromtm.commands.search",
    ),
    "report": Command("Write a run's numbers and plots, each explained, as one HTML page.", "neuromtm.commands.report"),
    "scaling": Command(
        "Draw a sweep's test metrics of held-out animals against the sessions of the pretraining, with a fitted curve.",
        "neuromtm.commands.scaling",
    ),
    "table": Command(
        "List the tested runs of a folder, e.g. of a sweep: what differs between them, and their metrics.",
        "neuromtm.commands.table",
    ),
}
"""the other commands"""

"""What a job would refuse at its start, said before it is submitted: python -m neuromtm.commands.checking COMMAND ...

Options are read, and what they describe is built: model, data module, trainer. No data and no checkpoint are needed,
and nothing is written. The scripts of `slurm/` call it.
"""

import logging
import sys
from collections.abc import Sequence

from neuromtm.arguments import OptionParser
from neuromtm.commands.failures import users_own
from neuromtm.commands.registry import COMMANDS
from neuromtm.errors import ConfigError


def check(command: str, arguments: Sequence[str]) -> str:
    """Check a command line.

    Args:
        command: `fit`, `baseline` or `search`.
        arguments: the command line after the command's name.

    Returns:
        The configuration of a training as YAML; empty for the others.

    Raises:
        UserError: or an error that `neuromtm.commands.failures.users_own` recognises.
    """
    if command == "fit":
        return check_fit(arguments)
    parser = OptionParser(prog=f"neuromtm {command}")
    if command == "baseline":
        from neuromtm.commands import baseline

        baseline.chosen_data(baseline.read_options(arguments, parser))
    elif command == "search":
        from neuromtm.commands import search

        settings = search.search_settings(arguments, parser)
        # every value of every list and both ends of every range are in one of these
        values = {name: allowed.extremes() for name, allowed in settings.space.items()}
        for place in range(max(map(len, values.values()))):
            chosen = [f"--{name}={search.written(own[place % len(own)])}" for name, own in values.items()]
            check_fit([*settings.fit, *chosen])
    else:
        raise ConfigError(f"{command}: not one of fit, baseline and search.")
    return ""


def check_fit(arguments: Sequence[str]) -> str:
    """Check the options of a training, and give its configuration as YAML. Its device is a CPU, wherever it will be."""
    from neuromtm.commands.cli import NeuromtmCLI, quieten

    class Built(NeuromtmCLI):
        def before_instantiate_classes(self) -> None:
            pass  # the run directory is not looked at

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    quieten()
    cli = Built(["fit", *arguments, "--trainer.accelerator=cpu"])
    return cli._parser("fit").dump(cli.config["fit"], skip_none=False)


def silence_lightning() -> None:
    """Let the program say nothing of the devices and seeds of this machine."""
    import lightning.pytorch  # noqa: F401  # which sets the levels when it is imported

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


if __name__ == "__main__":
    silence_lightning()
    try:
        if len(sys.argv) < 2 or (sys.argv[1] != "fit" and sys.argv[1] not in COMMANDS):
            raise ConfigError("name a command to check.")
        sys.stdout.write(check(sys.argv[1], sys.argv[2:]))
    except Exception as error:
        problem = users_own(error)
        if problem is None:
            raise
        print(f"neuromtm: {' '.join(str(problem).split())}", file=sys.stderr)
        sys.exit(2)

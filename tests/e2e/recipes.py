"""Every recipe and overlay of `conf/` is read by the parser: python -m tests.e2e.recipes

Nothing is built and no data are needed. `test_configs` builds what they describe.
"""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from neuromtm.commands.cli import NeuromtmCLI
from neuromtm.errors import UserError
from tests.conftest import ROOT

CONF = ROOT / "conf"
UNDER = {"lorenz": "temporal.yaml"}
"""folder of overlays -> the recipe that they are laid over, where it is not pretrain.yaml"""
COMPLETE = (".", "bwb")
"""folders of recipes that are laid over nothing"""


class Parsed(NeuromtmCLI):
    """Stops before it builds anything, so that a machine without a GPU reads the recipe for one."""

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def problems(conf: Path) -> Iterator[str]:
    """A sentence for each file that the parser refuses.

    Args:
        conf: folder of recipes, with overlays in folders below.
    """
    for path in sorted(conf.rglob("*.yaml")):
        folder = path.parent.relative_to(conf).as_posix()
        beneath = [] if folder in COMPLETE else [conf / UNDER.get(folder, "pretrain.yaml")]
        configs = [word for file in (*beneath, path) for word in ("--config", str(file))]
        try:
            if not isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict):
                raise UserError("holds no options.")
            Parsed(["fit", *configs, "--data.root", "nowhere"])
        except (UserError, yaml.YAMLError) as error:
            yield f"{path.relative_to(conf.parent)}: {' '.join(str(error).split())}"


if __name__ == "__main__":
    logging.getLogger("lightning.fabric.utilities.seed").setLevel(logging.WARNING)
    found = list(problems(CONF))
    print("\n".join(found) or f"All {len(list(CONF.rglob('*.yaml')))} recipes and overlays of conf/ parse.")
    sys.exit(bool(found))

"""What a run's folder says about the run: its configuration, and the curves of its training."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from neuromtm.evaluation.curves import read_scalars
from neuromtm.files import read_yaml
from neuromtm.metrics.keys import BPS_KEYS, SCORE_NAMES, SHORT_TITLES, behaviors, short_name
from neuromtm.plots.curves import CHANCE, curves_plot
from neuromtm.regular_files import regular_text
from neuromtm.report.pictures import picture
from neuromtm.report.texts import DECODER, PAGE
from neuromtm.report.view import TextFile, Training

CONFIGS = ("config.yaml", "config.test.yaml")
"""configurations of the training and of the test"""


@dataclass(frozen=True)
class RunFolder:
    """A run's folder and its configurations."""

    path: Path
    configs: Mapping[str, dict[str, Any]]
    """those of `CONFIGS` that are there"""

    @property
    def name(self) -> str:
        return self.path.resolve().name

    def option(self, group: str, name: str) -> Any:
        """An option of the test or, if the test does not name it, of the training; None if neither names it."""
        for config in (self.configs.get(file) for file in reversed(CONFIGS)):
            of_group = (config or {}).get(group)
            if isinstance(of_group, dict) and of_group.get(name) is not None:
                return of_group[name]
        return None

    @property
    def data(self) -> str | None:
        """The folder of its shards; None if no configuration names it."""
        root = self.option("data", "root")
        return root if isinstance(root, str) else None

    @property
    def target(self) -> str | None:
        """The behaviour that it decodes; None if it is no decoder."""
        target = self.option("model", "target")
        return target if isinstance(target, str) else None


def open_folder(path: Path) -> RunFolder:
    """Read the configurations of a run. A file that is not YAML gives no options; the page shows it as it is."""
    found = {}
    for name in CONFIGS:
        if (path / name).exists():
            try:
                config = read_yaml(path / name)
            except (yaml.YAMLError, UnicodeDecodeError):
                config = None
            found[name] = config if isinstance(config, dict) else {}
    return RunFolder(path, found)


def baseline_command(folder: RunFolder, eids: Sequence[str]) -> str:
    """The command that scores a baseline on the trials and neurons of the run's test, and shows it on the page."""
    out = folder.path.parent / f"{folder.path.resolve().name}-ridge"
    command = ["neuromtm", "baseline", "--data", folder.data or "DATA", "--kind", "ridge"]
    chosen = folder.option("data", "sessions") is not None or folder.option("data", "n_sessions") is not None
    role = folder.option("data", "role")
    command += ["--role", str(role)] if role and not chosen else ["--sessions", *eids]
    if lowest_hz := folder.option("data", "min_firing_rate_hz"):
        command += ["--min_firing_rate_hz", str(lowest_hz)]
    if isinstance(regions := folder.option("data", "regions"), list):
        command += ["--regions", *map(str, regions)]
    if n_train_trials := folder.option("data", "n_train_trials"):
        command += ["--n_train_trials", str(n_train_trials)]
    command += ["--out", str(out)]
    return f"{shlex.join(command)} && {shlex.join(['neuromtm', 'report', str(folder.path), '--baseline', str(out)])}"


def training_of(folder: RunFolder) -> Training:
    """The curves of the training, and the configurations as they are."""
    scalars = read_scalars(folder.path)
    keys = [tag.removeprefix("val/") for tag in scalars if tag.startswith("val/")]
    if folder.target is None:
        labels = {"loss": "loss (nats per hidden entry)", "score": "validation, bits per spike"}
        scores, caption = {f"val/{key}": SHORT_TITLES[key] for key in BPS_KEYS}, PAGE["curves"]
    else:
        name = short_name(folder.target)
        kind = behaviors(keys).get(name)
        loss = "loss" if kind is None else DECODER[f"loss_{kind}"]
        labels = {"loss": loss, "score": f"validation, {SCORE_NAMES.get(kind, 'score')}"}
        scores, caption = {f"val/{name}_{kind}": "decoder", f"val/{name}_chance": CHANCE}, DECODER["curves"]
    plot = curves_plot(scalars, scores=scores, **labels)
    texts = [TextFile(name=name, text=regular_text(folder.path / name, errors="replace")) for name in folder.configs]
    return Training(curves=None if plot is None else picture(plot, "training curves", caption), configs=texts)

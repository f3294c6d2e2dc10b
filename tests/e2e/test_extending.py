"""The examples of CONTRIBUTING.md, each planted into a copy of the code as the page says, and run by a command."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from neuromtm.data.shards import read_shard
from neuromtm.metrics.keys import BPS_KEYS
from tests.running import EIDS, HELDOUT, SHORT, finetune, scalars

PROGRAM = "import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"


class Tree:
    """A copy of the code that a test adds to."""

    def __init__(self, root: Path, folder: Path):
        self.folder, self.page = folder, (root / "CONTRIBUTING.md").read_text()
        for name in ("src", "data_prep"):
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))

    def example(self, heading: str, language: str = "python") -> str:
        """The code below a heading of the page, or the lines for a registry (`text`)."""
        text = self.page[self.page.index(f"### {heading}\n") :].split("\n### ")[0]
        (found,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
        return found

    def add_file(self, path: str, text: str) -> None:
        assert not (self.folder / path).exists()
        (self.folder / path).write_text(text)

    def add_to_line(self, path: str, before: str, more: str) -> None:
        """Write something behind what stands once in a file."""
        text = (self.folder / path).read_text()
        assert text.count(before) == 1
        (self.folder / path).write_text(text.replace(before, before + more))

    def run(self, module: str, *arguments: object) -> str:
        """Run the `main` of a module of the copy, and give what it prints."""
        search = os.pathsep.join([str(self.folder / "src"), str(self.folder)])
        result = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(module=module), *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": search},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout + result.stderr


@pytest.fixture
def tree(root, tmp_path):
    return Tree(root, tmp_path)


def test_a_baseline_is_one_file_and_its_name(tree, sessions_dir, tmp_path):
    choice = "src/neuromtm/baselines/choice.py"
    tree.add_file("src/neuromtm/baselines/marginal.py", tree.example("a baseline"))
    tree.add_to_line(choice, "import RIDGE\n", "from neuromtm.baselines.marginal import MARGINAL\n")
    tree.add_to_line(choice, "KINDS: dict[str, Baseline] = {\n", tree.example("a baseline", "text"))
    options = ("--data", sessions_dir, "--kind", "marginal", "--out", tmp_path / "b")
    tree.run("neuromtm.commands.main", "baseline", *options)
    chosen = json.loads((tmp_path / "b" / "baseline.json").read_text())["chosen"][HELDOUT]
    assert all("penalty" in setting for setting in chosen.values())
    assert json.loads((tmp_path / "b" / "metrics.json").read_text())["mean"].keys() >= set(BPS_KEYS)


def test_a_scheme_is_one_file_and_its_name(tree, root, sessions_dir, pretrained, tmp_path):
    tree.add_file("src/neuromtm/masking/stretch.py", tree.example("a masking scheme"))
    tree.add_to_line("src/neuromtm/batch.py", '"random_token"', ', "stretch"')
    best, run_dir = pretrained / "checkpoints" / "best.ckpt", tmp_path / "run"
    options = ("--data.sessions", f"[{EIDS[0]}]", "--model.objective.schemes", "[stretch]", "--run_dir", run_dir)
    said = tree.run("neuromtm.commands.main", *finetune(root, sessions_dir, best, *options))
    assert "from before the masking scheme stretch, whose prompt starts untrained" in said
    assert {"train/loss/stretch", "val/loss/stretch"} <= scalars(run_dir).keys()


def test_a_metric_of_neurons_is_one_file_and_one_line(tree, sessions_dir, pretrained, tmp_path):
    tree.add_file("src/neuromtm/metrics/expected_share.py", tree.example("a metric of neurons"))
    line = tree.example("a metric of neurons", "text")
    tree.add_to_line("src/neuromtm/metrics/neurons.py", "NEURON_METRICS = {\n", line)

    def tested(command, *options):
        tree.run("neuromtm.commands.main", command, *options)
        with (tmp_path / command / "neurons.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0])[-1] == "expected_share"
        return np.array([float(row["expected_share"] or "nan") for row in rows])

    options = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    model = tested("test", *options, "--run_dir", tmp_path / "test")
    baseline = tested("baseline", "--data", sessions_dir, "--kind", "psth", "--out", tmp_path / "baseline")
    ceiling = tested("ceiling", "--data", sessions_dir, "--out", tmp_path / "ceiling")
    assert np.nanmedian(model) == pytest.approx(1, abs=0.5)
    assert np.nanmedian(baseline) == pytest.approx(1, abs=0.5)
    assert np.nanmedian(ceiling) == pytest.approx(1, abs=0.1)
    tree.run("neuromtm.commands.main", "report", tmp_path / "test")
    assert "Expected spikes per spike." in (tmp_path / "test" / "report.html").read_text()


def test_a_metric_of_behaviour_is_a_function_and_one_line(tree, root, sessions_dir, pretrained, tmp_path):
    path, heading = "src/neuromtm/metrics/behavior.py", "a metric of behaviour"
    tree.add_to_line(path, "import numpy as np\n", "\n\n" + tree.example(heading))
    tree.add_to_line(path, "FURTHER_METRICS: dict[str, BehaviorMetric] = {\n", tree.example(heading, "text"))
    name = "whisker_correlation"

    tree.run("neuromtm.commands.main", "ceiling", "--data", sessions_dir, "--out", tmp_path / "ceiling")
    metrics = json.loads((tmp_path / "ceiling" / "metrics.json").read_text())["mean"]
    assert 0 < metrics[name] <= 1
    assert "choice_correlation" not in metrics
    with (tmp_path / "ceiling" / "behavior.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[-1] == "correlation"
    assert [bool(row["correlation"]) for row in rows] == [row["score"] == "r2" for row in rows]

    decoder = (tmp_path / "decoder", root / "conf" / "decode_whisker.yaml")
    options = ("--model.pretrained", pretrained / "checkpoints" / "best.ckpt", "--data.root", sessions_dir)
    tree.run("neuromtm.commands.main", "fit", "--config", decoder[1], *SHORT, *options, "--run_dir", decoder[0])
    tested = ("--config", decoder[0] / "config.yaml", "--ckpt_path", decoder[0] / "checkpoints" / "last.ckpt")
    tree.run("neuromtm.commands.main", "test", *tested)
    assert name in json.loads((decoder[0] / "metrics.json").read_text())["mean"]
    assert name in (decoder[0] / "decoding.csv").read_text().splitlines()[0].split(",")
    tree.run("neuromtm.commands.main", "report", decoder[0])
    assert "Correlation of a trace with its prediction." in (decoder[0] / "report.html").read_text()


def test_a_source_is_one_file_and_one_line(tree, tmp_path):
    tree.add_file("data_prep/sources/npz.py", tree.example("a source of recordings"))
    tree.add_to_line("data_prep/cli.py", "COMMANDS = {\n", tree.example("a source of recordings", "text"))
    assert "Prepare sessions of .npz files" in tree.run("data_prep.__main__", "--help")
    assert "--folder DIR" in tree.run("data_prep.__main__", "npz", "--help")

    onset_s = 1.0 + 2 * np.arange(12)  # neuron 0 fires 5 ms after each, neuron 1 twice, 25 and 26 ms after it
    times_s = (onset_s[:, None] + [0.005, 0.025, 0.026]).ravel()
    neuron = np.tile([0, 1, 1], len(onset_s))
    np.savez(tmp_path / "mouse.npz", spike_times_s=times_s, spike_neuron=neuron, stimulus_onset_s=onset_s)
    out = tmp_path / "out"
    options = ("--folder", tmp_path, "--out", out, "--window-s", "0", "0.04")
    assert "mouse: prepared: 12 trials" in tree.run("data_prep.__main__", "npz", *options)
    assert "mouse: already done" in tree.run("data_prep.__main__", "npz", *options)
    assert (read_shard(out / "mouse.h5").counts == [[1, 0], [0, 2]]).all()

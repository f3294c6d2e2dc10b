"""The ablation: what each overlay changes, and what `make ablation` runs, skips and refuses."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.test_configs import CONF, Parsed, command
from tests.running import neuromtm

OVERLAYS = sorted(path.stem for path in (CONF / "ablation").glob("*.yaml"))
CHANGES = {
    "temporal": {"model.objective.schemes": ("temporal",)},
    "neuron": {"model.objective.schemes": ("neuron",)},
    "causal": {"model.objective.schemes": ("causal",)},
    "intra_region": {"model.objective.schemes": ("intra_region",)},
    "inter_region": {"model.objective.schemes": ("inter_region",)},
    "no_prompt": {"model.backbone.init_args.prompt": False},
    # 0.3 is the default of two of them
    "ratio_0.1": {f"model.objective.{scheme}_ratio": 0.1 for scheme in ("neuron", "causal", "intra_region")},
    "ratio_0.3": {"model.objective.causal_ratio": 0.3},
    "ratio_0.6": {f"model.objective.{scheme}_ratio": 0.6 for scheme in ("neuron", "intra_region")},
    "learned_positions": {"model.backbone.init_args.rope": False},
    "rope": {"model.backbone.init_args.rope": True},
}


def settings(*files):
    """Dotted name -> value of every option of the model, the data and the trainer."""
    config = Parsed(command(CONF / "pretrain.yaml", *files)).config["fit"].as_flat()
    return {name: value for name, value in vars(config).items() if name != "config"}


def size_for(name):
    """The paper's model has learned positions, the others rotary ones."""
    return CONF / "model" / ("paper.yaml" if name == "rope" else "tiny.yaml")


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_changes_what_its_name_says_and_nothing_else(name):
    before, after = settings(size_for(name)), settings(size_for(name), CONF / "ablation" / f"{name}.yaml")
    changed = {option: value for option, value in after.items() if before.get(option, "unset") != value}
    assert {option: tuple(v) if isinstance(v, list) else v for option, v in changed.items()} == CHANGES[name]
    assert set(after) == set(before)


def test_the_temporal_overlay_makes_the_temporal_recipe():
    config = Parsed(command(CONF / "temporal.yaml")).config["fit"].as_flat()
    recipe = {name: value for name, value in vars(config).items() if name != "config"}
    assert settings(CONF / "ablation" / "temporal.yaml") == recipe


# ---- make ablation ----

STUB = """#!/bin/sh
# Stands for `neuromtm`: writes down how it was called, and leaves the files that make looks at.
echo "$*" >> "$(dirname "$0")/calls"
[ -e "$(dirname "$0")/fails_at" ] && echo "$*" | grep -q -e "$(cat "$(dirname "$0")/fails_at")" && exit 1
called=$1
while [ $# -gt 0 ]; do
  case $1 in
    --run_dir | --out_dir) folder=$2 ;;
    --ckpt_path) checkpoint=$2 ;;
  esac
  shift
done
folder=${folder:-$(dirname "$(dirname "$checkpoint")")}
mkdir -p "$folder"
case $called in
  fit) echo > "$folder/config.yaml" ;;
  test) echo > "$folder/metrics.json" ;;
  compare) echo "table of $(basename "$folder")" > "$folder/comparison.md" ;;
esac
"""


class Ablation:
    """`make ablation` with a program in the place of `neuromtm`."""

    def __init__(self, folder: Path):
        self.bin, self.runs, self.data = folder / "bin", folder / "runs", folder / "data"
        for created in (self.bin, self.data):
            created.mkdir()
        (self.data / "manifest.json").write_text("{}")
        (self.bin / "neuromtm").write_text(STUB)
        (self.bin / "neuromtm").chmod(0o755)

    def __call__(self, *variables: str, data: Path | None = None) -> subprocess.CompletedProcess[str]:
        (self.bin / "calls").unlink(missing_ok=True)
        given = (f"BIN={self.bin}", f"DATA={data or self.data}", f"ABLATION={self.runs}")
        return make("ablation", *given, *variables)

    def calls(self, name: str) -> list[str]:
        """The command lines of one of the program's commands."""
        lines = (self.bin / "calls").read_text().splitlines() if (self.bin / "calls").exists() else []
        return [line for line in lines if line.startswith(name + " ")]

    def fail_at(self, pattern: str | None) -> None:
        (self.bin / "fails_at").unlink(missing_ok=True)
        if pattern is not None:
            (self.bin / "fails_at").write_text(pattern)


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in the repository, without its environment."""
    if shutil.which("make") is None:
        pytest.skip("needs make")
    # a make that runs these tests hands its own options down
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    words = ["make", "--no-print-directory", "INSTALLED=", *arguments]
    return subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def ablation(tmp_path):
    return Ablation(tmp_path)


def trained(calls):
    """The names of the overlays in those command lines; None is the recipe as it is."""
    found = []
    for words in map(str.split, calls):
        configs = [Path(words[i + 1]) for i, word in enumerate(words) if word == "--config"]
        found.append(next((path.stem for path in configs if path.parent.name == "ablation"), None))
    return found


@pytest.mark.parametrize(("size", "position"), [("tiny", "learned_positions"), ("paper", "rope")])
def test_every_overlay_is_trained_and_the_recipe_once_and_all_are_tested(ablation, size, position):
    result = ablation(f"MODEL=conf/model/{size}.yaml")
    assert result.returncode == 0, result.stderr
    other = {"learned_positions", "rope"} - {position}
    names = trained(ablation.calls("fit"))
    assert len(names) == len(set(names))
    assert set(names) == {None, *OVERLAYS} - other
    asked = [call for call in ablation.calls("test") if "--activity.prompt" in call]
    assert len(asked) == 4
    assert len(ablation.calls("test")) == len(names) + 4


def test_the_tables_are_printed_in_the_order_of_the_paper(ablation):
    result = ablation()
    titles = [line for line in result.stdout.splitlines() if line.startswith("table of")]
    assert titles == [f"table of {name}" for name in ("schemes", "ratios", "positions", "prompts")]
    rows = [[word.split("=")[0] for word in call.split() if "=" in word] for call in ablation.calls("compare")]
    assert rows == [
        ["temporal", "neuron", "causal", "intra_region", "inter_region", "no_prompt", "mtm"],
        ["mtm", "ratio_0.1", "ratio_0.3", "ratio_0.6"],
        ["mtm", "learned_positions"],
        ["own", "neuron", "causal", "intra_region", "inter_region"],
    ]


def test_some_variants_make_the_tables_that_they_fill(ablation):
    result = ablation("VARIANTS=temporal no_prompt ratio_0.1")
    assert trained(ablation.calls("fit")) == ["temporal", "no_prompt", "ratio_0.1"]
    assert [call.split()[-1].split("/")[-1] for call in ablation.calls("compare")] == ["schemes"]
    assert "table of schemes" in result.stdout


def test_the_options_given_are_laid_over_all_others(ablation):
    ablation("VARIANTS=neuron", "OPTIONS=--model.lr 0.5 --data.sessions '[a, b]'", "EPOCHS=7", "ROLE=all")
    (call,) = ablation.calls("fit")
    assert call.index("--trainer.max_epochs 7") < call.index("--model.lr 0.5 --data.sessions [a, b]")
    assert "--data.role all" in call


def test_a_stopped_ablation_goes_on_and_leaves_what_is_tested(ablation):
    some = "VARIANTS=temporal neuron causal"
    ablation.fail_at("^test .*runs/neuron/")
    assert ablation(some).returncode != 0
    ablation.fail_at(None)
    assert ablation(some).returncode == 0
    fits = ablation.calls("fit")
    assert trained(fits) == ["neuron", "causal"]
    assert all("--auto_resume true" in call for call in fits)
    assert ablation(some).returncode == 0
    assert not ablation.calls("fit") + ablation.calls("test")


def test_runs_of_other_settings_do_not_get_into_one_table(ablation):
    assert ablation("VARIANTS=temporal").returncode == 0
    result = ablation("VARIANTS=temporal neuron", "OPTIONS=--model.lr 0.5")
    assert result.returncode != 0
    assert "was begun with" in result.stderr
    assert not ablation.calls("fit")
    assert ablation("VARIANTS=temporal neuron").returncode == 0  # more variants are no other settings
    assert trained(ablation.calls("fit")) == ["neuron"]


def test_settings_that_no_training_took_may_be_mended(ablation):
    ablation.fail_at("^fit ")
    assert ablation("OPTIONS=--model.lrr 0.5").returncode != 0
    ablation.fail_at(None)
    assert ablation("OPTIONS=--model.lr 0.5", "VARIANTS=temporal").returncode == 0


def test_a_folder_that_holds_no_sessions_is_refused(ablation, tmp_path):
    result = ablation(data=tmp_path / "nowhere")
    assert result.returncode != 0
    assert "is no folder of prepared sessions" in result.stderr
    assert not ablation.calls("fit")


def commands_of(*variables):
    """The command lines of `neuromtm` that make would run."""
    bin_dir = Path(sys.executable).parent
    listed = make("--dry-run", "ablation", f"BIN={bin_dir}", *variables).stdout.replace("\\\n", " ")
    lines = [line for line in listed.splitlines() if line.startswith(str(bin_dir))]
    return [shlex.split(line.partition(" > ")[0])[1:] for line in lines]


def test_its_commands_run_and_leave_the_tables(sessions_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    options = "--data.n_sessions 1 --data.sessions_per_batch 1 --trainer.check_val_every_n_epoch 1"
    some = ("VARIANTS=inter_region mtm", "PROMPTS=causal", "EPOCHS=1", f"OPTIONS={options}")
    for one in commands_of(f"DATA={sessions_dir}", f"ABLATION={tmp_path}", *some):
        neuromtm(*one)
    means = {
        name: json.loads((tmp_path / name / "metrics.json").read_text())["mean"]
        for name in ("inter_region", "mtm", "mtm/asked_causal")
    }
    own, causal = means["mtm"], means["mtm/asked_causal"]
    assert own["forward_prediction_bps"] == causal["forward_prediction_bps"]
    assert own["co_smoothing_bps"] != causal["co_smoothing_bps"]
    assert {path.name for path in (tmp_path / "tables").iterdir()} == {"schemes", "prompts"}
    table = (tmp_path / "tables" / "prompts" / "comparison.md").read_text()
    assert "| own " in table
    assert "| causal " in table

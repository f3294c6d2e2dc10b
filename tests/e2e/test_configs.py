"""Every shipped recipe and overlay, and the list of options."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from neuromtm.commands.cli import NeuromtmCLI
from neuromtm.masking.objective import Objective
from tests.conftest import ROOT
from tests.e2e.recipes import Parsed, problems

CONF = ROOT / "conf"
RECIPES = sorted(CONF.glob("*.yaml"))
BENCHMARKS = sorted((CONF / "bwb").glob("*.yaml"))
MODELS = sorted((CONF / "model").glob("*.yaml"))
OVERLAYS = sorted(path for path in CONF.glob("*/*.yaml") if path.parent.name not in ("model", "trainer", "bwb"))
OPTIONS = Path(__file__).with_name("options.txt")


def name_of(path: Path | None) -> str:
    return "alone" if path is None else str(path.relative_to(CONF))


class Instantiated(NeuromtmCLI):
    """Stops before it runs anything."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def command(*files, run_dir="runs/none"):
    configs = [word for file in files if file is not None for word in ("--config", str(file))]
    return ["fit", *configs, "--data.root", "nowhere", "--run_dir", str(run_dir)]


@pytest.mark.parametrize("model", [None, *MODELS], ids=name_of)
@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_recipes_instantiate_with_every_model(recipe, model, tmp_path):
    cli = Instantiated(command(recipe, model, CONF / "trainer" / "cpu.yaml", run_dir=tmp_path))
    if model is not None:
        options = yaml.safe_load(model.read_text())["model"]["backbone"]["init_args"]
        assert {name: cli.model.model.backbone.options[name] for name in options} == options
        assert set(options) == set(cli.model.model.backbone.options), "an overlay states all options of its class"
    assert cli.trainer.default_root_dir == str(tmp_path)


def test_a_model_s_overlay_leaves_nothing_of_another_one_s(tmp_path):
    """What has the same name in the class before is kept by the parser, so an overlay states every option."""
    models = [CONF / "model" / name for name in ("small.yaml", "ndt2_tiny.yaml")]
    cli = Instantiated(command(CONF / "temporal.yaml", *models, CONF / "trainer" / "cpu.yaml", run_dir=tmp_path))
    backbone = cli.model.model.backbone
    assert backbone.class_path == "neuromtm.models.ndt2.NDT2"
    assert backbone.options == yaml.safe_load(models[-1].read_text())["model"]["backbone"]["init_args"]
    assert cli.model.objective == Objective(schemes=("temporal",))


@pytest.mark.parametrize("overlay", OVERLAYS, ids=name_of)
def test_overlays_instantiate(overlay, tmp_path):
    Instantiated(command(CONF / "pretrain.yaml", overlay, CONF / "trainer" / "cpu.yaml", run_dir=tmp_path))


@pytest.mark.parametrize("recipe", RECIPES, ids=name_of)
def test_the_overlay_for_gpus_is_read(recipe):
    config = Parsed(command(recipe, CONF / "trainer" / "gpu.yaml")).config["fit"]
    assert config["trainer"]["precision"] == "auto"
    assert config["data"]["pin_memory"]


@pytest.mark.parametrize("name", ["h100", "h200"])
def test_the_overlay_for_one_gpu_scales_the_learning_rate_with_the_batch(name):
    files = [CONF / "pretrain.yaml", CONF / "trainer" / f"{name}.yaml"]
    before, now = (Parsed(command(*given)).config["fit"] for given in (files[:1], files))
    assert (now["trainer"]["accelerator"], now["trainer"]["precision"]) == ("gpu", "bf16-mixed")
    assert now["data"]["batch_size"] % now["data"]["sessions_per_batch"] == 0
    larger = now["data"]["batch_size"] / before["data"]["batch_size"]
    assert now["model"]["lr"] == pytest.approx(before["model"]["lr"] * larger**0.5, rel=0.05)


def leaves(tree, prefix=""):
    """Dotted name -> value of every option that a recipe sets."""
    for name, value in tree.items():
        if isinstance(value, dict) and name != "backbone":
            yield from leaves(value, f"{prefix}{name}.")
        elif name != "backbone":
            yield f"{prefix}{name}", value


@pytest.mark.parametrize("recipe", [*RECIPES, *BENCHMARKS], ids=name_of)
def test_what_a_recipe_sets_arrives(recipe, tmp_path):
    recipe_options = dict(leaves(yaml.safe_load(recipe.read_text())))
    cli = Instantiated([*command(recipe, CONF / "trainer" / "cpu.yaml")[:-1], str(tmp_path)])
    arrived = {
        "seed_everything": cli.model.seed,
        "run_dir": None,
        "best_by": cli.trainer.checkpoint_callback.monitor,
        **_objective_of(cli.model.objective),
        "model.target": getattr(cli.model, "target", None),
        "model.lr": cli.model.lr,
        "model.weight_decay": cli.model.weight_decay,
        "model.stitcher_weight_decay": cli.model.stitcher_weight_decay,
        "model.beta2": cli.model.beta2,
        "model.loss_per": getattr(cli.model, "loss_per", None),
        "model.schedule": cli.model.schedule,
        "model.warmup_fraction": cli.model.warmup_fraction,
        "data.role": cli.datamodule.role,
        "data.batch_size": cli.datamodule.batch_size,
        "data.sessions_per_batch": cli.datamodule.sessions_per_batch,
        "trainer.accelerator": cli.trainer._accelerator_connector._accelerator_flag,
        "trainer.devices": cli.trainer.num_devices,
        "trainer.precision": "auto" if cli.trainer.precision in ("bf16-mixed", "32-true") else cli.trainer.precision,
        "trainer.max_epochs": cli.trainer.max_epochs,
        "trainer.val_check_interval": cli.trainer.val_check_interval,
        "trainer.max_steps": cli.trainer.max_steps,
        "trainer.check_val_every_n_epoch": cli.trainer.check_val_every_n_epoch,
        "trainer.gradient_clip_val": cli.trainer.gradient_clip_val,
        "trainer.log_every_n_steps": cli.trainer.log_every_n_steps,
        "trainer.num_sanity_val_steps": cli.trainer.num_sanity_val_steps,
        "trainer.use_distributed_sampler": cli.trainer._accelerator_connector.use_distributed_sampler,
    }
    recipe_options.pop("run_dir")
    callbacks = recipe_options.pop("trainer.callbacks", [])
    there = {f"{type(c).__module__}.{type(c).__qualname__}".split(".")[-1] for c in cli.trainer.callbacks}
    assert {one["class_path"].split(".")[-1] for one in callbacks} <= there
    assert {name: arrived[name] for name in recipe_options} == recipe_options


def _objective_of(objective):
    if objective is None:
        return {}
    return {f"model.objective.{name}": value for name, value in dataclasses.asdict(objective).items()} | {
        "model.objective.schemes": list(objective.schemes)
    }


def test_a_recipe_and_its_baseline_have_the_same_seed_for_data_and_model(tmp_path):
    cli = Instantiated([*command(CONF / "pretrain.yaml", run_dir=tmp_path), "--seed_everything", "7"])
    assert (cli.model.seed, cli.datamodule.seed) == (7, 7)


def test_what_the_parser_refuses_is_named(tmp_path):
    """`make lint` reads all of conf/ so."""
    conf = tmp_path / "conf"
    (conf / "model").mkdir(parents=True)
    (conf / "pretrain.yaml").write_text((CONF / "pretrain.yaml").read_text())
    assert not list(problems(conf))
    (conf / "wrong.yaml").write_text("model:\n  learning_rate: 0.1\n")
    (conf / "model" / "wrong.yaml").write_text("model:\n  backbone:\n    class_path: neuromtm.models.ndt1.NDT3\n")
    (conf / "empty.yaml").write_text("# nothing\n")
    (conf / "broken.yaml").write_text("model: [\n")
    found = [sentence.partition(": ")[0] for sentence in problems(conf)]
    assert found == ["conf/broken.yaml", "conf/empty.yaml", "conf/model/wrong.yaml", "conf/wrong.yaml"]


def test_the_list_of_options_is_the_committed_one():
    """A new option shows in review. Written anew by: python -m tests.e2e.test_configs > tests/e2e/options.txt"""
    assert options() == OPTIONS.read_text().splitlines()


def options() -> list[str]:
    """The names of all options of `fit`, but the Trainer's own."""
    parser = Parsed(command(CONF / "pretrain.yaml"))._subcommand_parsers["fit"]
    names = {name for action in parser._actions for name in action.option_strings if name.startswith("--")}
    backbone = [f"--model.backbone.{name}" for name in sorted(_backbone_options())]
    ours = [n for n in names if not n.startswith("--trainer") and not n.endswith(("+", ".help"))]
    objective = [f"--model.objective.{field.name}" for field in dataclasses.fields(Objective)]
    return sorted({*ours, *backbone, *objective})


def _backbone_options() -> set[str]:
    overlays = [yaml.safe_load(path.read_text())["model"]["backbone"] for path in MODELS]
    return {option for backbone in overlays for option in backbone["init_args"]}


if __name__ == "__main__":
    print("\n".join(options()))

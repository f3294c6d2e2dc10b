"""Configurations from strangers: nothing that they name is imported or made, and none takes memory without end."""

import sys

import pytest
import yaml

from neuromtm.commands.class_paths import require_allowed_classes
from neuromtm.commands.recipes import shipped
from neuromtm.errors import ConfigError
from neuromtm.files import read_yaml
from tests.running import neuromtm, refusal

PACKAGE = "stranger_package"


@pytest.fixture
def imported(tmp_path, monkeypatch):
    """A package on the path that leaves a file behind when it is imported; the file."""
    mark = tmp_path / "imported"
    (tmp_path / f"{PACKAGE}.py").write_text(
        f"open({str(mark)!r}, 'w').close()\n"
        "from lightning.pytorch.callbacks import Callback\n"
        "class Evil(Callback): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield mark
    sys.modules.pop(PACKAGE, None)


@pytest.fixture
def config(tmp_path):
    """Write a configuration, and give its path."""

    def write(text, name="config.yaml"):
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


EVIL = f"{PACKAGE}.Evil"
PLACED = {
    "a callback": f"trainer: {{callbacks: [{{class_path: {EVIL}}}]}}",
    "a callback by its name alone": f"trainer: {{callbacks: [{EVIL}]}}",
    "a logger": f"trainer: {{logger: {{class_path: {EVIL}}}}}",
    "a strategy": f"trainer: {{strategy: {EVIL}}}",
    "an architecture": f"model: {{backbone: {{class_path: {EVIL}}}}}",
    "an architecture by its name alone": f"model: {{backbone: {EVIL}}}",
    "an argument of a class": "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
    f"init_args: {{on_fit_start: {EVIL}}}}}]}}",
    "any other place": f"figures: {{class_path: {EVIL}}}",
    "below a command": f"test: {{trainer: {{callbacks: [{EVIL}]}}}}",
}


@pytest.mark.parametrize("place", PLACED)
def test_a_class_of_somebody_else_is_neither_imported_nor_made(place, config, imported):
    path = config(PLACED[place])
    with pytest.raises(ConfigError, match=f"names {EVIL}, .* environment variable NEUROMTM_ALLOW={PACKAGE}"):
        require_allowed_classes(["test", "--config", path])
    assert not imported.exists()
    assert PACKAGE not in sys.modules


@pytest.mark.parametrize("command", ["fit", "test", "validate", "predict"])
def test_every_command_refuses_it(command, config, imported, capsys):
    path = config(PLACED["a callback"])
    assert f"{path}: names {EVIL}, which is not known to be harmless" in refusal(capsys, command, "--config", path)
    assert not imported.exists()


def test_a_file_that_the_configuration_leads_to_is_looked_into(config, imported):
    config(f"init_args: {{on_fit_start: {EVIL}}}", "part.yaml")
    config("class_path: part.yaml", "middle.yaml")
    path = config("trainer: {callbacks: middle.yaml}")
    with pytest.raises(ConfigError, match=rf"part\.yaml: names {EVIL}"):
        require_allowed_classes(["test", f"--config={path}"])
    with pytest.raises(ConfigError, match=rf"part\.yaml: names {EVIL}"):
        require_allowed_classes(["test", "--trainer.callbacks", config("class_path: part.yaml", "other.yaml")])
    assert not imported.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.abort",
        "os.system",
        "subprocess.Popen",
        "neuromtm.files.os.abort",
        "neuromtm.files.keep_previous",
        "lightning.pytorch.callbacks.model_checkpoint.os.abort",
        "lightning.pytorch.cli.LightningCLI",
        "lightning.pytorch.loggers.WandbLogger",
        "WandbLogger",
        "torch.load",
    ],
)
def test_functions_and_classes_that_could_do_harm_are_refused(name, config):
    lambda_callback = "{class_path: lightning.pytorch.callbacks.LambdaCallback, init_args: {on_fit_start: %s}}"
    for text in (f"trainer: {{callbacks: [{name}]}}", f"trainer: {{callbacks: [{lambda_callback % name}]}}"):
        with pytest.raises(ConfigError, match=f"names {name}, which"):
            require_allowed_classes(["fit", "--config", config(text)])


def test_the_user_can_allow_a_package_or_one_class(config, imported, monkeypatch):
    path = config(PLACED["a callback"])
    for allowed in (PACKAGE, f"other, {EVIL}"):
        monkeypatch.setenv("NEUROMTM_ALLOW", allowed)
        require_allowed_classes(["fit", "--config", path])
    for other in ("", ",", "stranger", f"{EVIL}s", f"{PACKAGE}.Other"):
        monkeypatch.setenv("NEUROMTM_ALLOW", other)
        with pytest.raises(ConfigError, match=EVIL):
            require_allowed_classes(["fit", "--config", path])


def test_a_class_that_the_command_line_names_is_the_users_own(config, imported):
    path = config(f"model: {{backbone: {{class_path: {EVIL}}}}}")
    for typed in (["--model.backbone", EVIL], [f"--model.backbone.class_path={EVIL}"]):
        require_allowed_classes(["fit", "--config", path, *typed])
    with pytest.raises(ConfigError, match=EVIL):
        require_allowed_classes(["fit", "--config", path, "--data.root", f"{PACKAGE}.data"])


def test_all_recipes_and_usual_options_are_allowed(config):
    for path in shipped().values():
        require_allowed_classes(["fit", "--config", str(path)])
    usual = {
        "trainer": {
            "default_root_dir": "runs.old",
            "strategy": "ddp",
            "profiler": "lightning.pytorch.profilers.SimpleProfiler",
            "logger": {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "my.logs"}},
            "callbacks": [
                {"class_path": "EarlyStopping", "init_args": {"monitor": "val.loss"}},
                {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "best.model"}},
            ],
        },
        "data": {"sessions": ["test.support", "os.path"]},
    }
    require_allowed_classes(["fit", "--config", config(yaml.safe_dump(usual))])


def test_a_small_file_that_repeats_itself_without_end_is_refused(tmp_path, capsys):
    levels = ["a: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(levels) + "\ntrainer: *a11\n")
    assert path.stat().st_size < 1000
    with pytest.raises(yaml.YAMLError, match="references repeat more than"):
        read_yaml(path)
    assert "references repeat more than" in refusal(capsys, "fit", "--config", path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: &a [*a]", "repeat"),
        ("[" * 3_000, "nested too deeply"),
        ("a: " + "1" * 10_000, "digits"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 2001-99-99", "month"),
    ],
)
def test_yaml_that_is_no_plain_configuration_is_one_sentence(text, reason, tmp_path, capsys):
    path = tmp_path / "odd.yaml"
    path.write_text(text)
    with pytest.raises(yaml.YAMLError, match=reason):
        read_yaml(path)
    assert refusal(capsys, "fit", "--config", path).startswith(f"neuromtm: --config {path}: no ")


def test_a_reference_that_is_used_twice_is_read(tmp_path):
    path = tmp_path / "anchor.yaml"
    path.write_text("a: &a {width: 3}\nb: *a\nc: {<<: *a, depth: 1}\n")
    assert read_yaml(path) == {"a": {"width": 3}, "b": {"width": 3}, "c": {"width": 3, "depth": 1}}


def test_help_needs_no_configuration(capsys):
    with pytest.raises(SystemExit, match="0"):
        neuromtm("fit", "--help")

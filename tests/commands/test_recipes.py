"""The shipped recipes: listed, written out, and found by their names."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from neuromtm.commands.cli import names_a_target
from neuromtm.commands.recipes import shipped, with_shipped_recipes
from neuromtm.errors import ConfigError
from tests.conftest import ROOT
from tests.running import neuromtm, refusal

CONF = ROOT / "conf"
NAMES = sorted(path.relative_to(CONF).as_posix() for path in CONF.rglob("*.yaml"))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Path:
    """An empty working directory outside the repository."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def test_they_are_listed_without_torch():
    statement = "import sys; from neuromtm.commands.main import main; main(['recipes']); print('torch' in sys.modules)"
    listed = subprocess.run([sys.executable, "-c", statement], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines()[-1] == "False"


def test_all_of_conf_is_shipped_recipes_before_overlays():
    names = list(shipped())
    assert sorted(names) == NAMES
    assert [("/" in name) for name in names] == sorted("/" in name for name in names)


def test_the_list_names_every_recipe_with_its_first_line(capsys):
    neuromtm("recipes")
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.partition("\n\n")[0].splitlines()]
    assert {name: f"# {summary}" for name, summary in lines} == {
        name: (CONF / name).read_text().splitlines()[0] for name in NAMES
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_begins_with_a_sentence_that_ends_in_its_line(name):
    first = (CONF / name).read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith(".")


def test_they_are_written_as_they_are_and_a_second_time_nothing_changes(capsys, elsewhere):
    neuromtm("recipes", "mine/conf")
    assert contents(elsewhere / "mine" / "conf") == contents(CONF)
    before = {path: path.stat().st_mtime_ns for path in (elsewhere / "mine").rglob("*.yaml")}
    neuromtm("recipes", "mine/conf")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert f"{len(NAMES)} there already" in capsys.readouterr().out


def test_a_changed_file_is_not_overwritten_and_nothing_is_written(capsys, elsewhere):
    changed = elsewhere / "conf" / "model" / "tiny.yaml"
    changed.parent.mkdir(parents=True)
    changed.write_text("model: mine\n")
    line = refusal(capsys, "recipes", "conf")
    assert "model/tiny.yaml" in line
    assert "another folder" in line
    assert contents(elsewhere) == {"conf/model/tiny.yaml": b"model: mine\n"}


def test_a_file_in_the_place_of_the_folder_is_an_error(capsys, elsewhere):
    (elsewhere / "conf").write_text("")
    assert "conf" in refusal(capsys, "recipes", "conf")
    assert contents(elsewhere) == {"conf": b""}


@pytest.mark.parametrize("given", ["pretrain.yaml", "model/tiny.yaml", "conf/pretrain.yaml", "conf/model/tiny.yaml"])
@pytest.mark.parametrize("option", ["--config", "-c"])
def test_a_recipe_is_found_by_its_name(elsewhere, given, option):
    found = str(CONF / given.removeprefix("conf/"))
    assert with_shipped_recipes(["fit", option, given, "--seed_everything", "1"]) == [
        "fit", option, found, "--seed_everything", "1",
    ]  # fmt: skip
    assert with_shipped_recipes(["fit", f"{option}={given}"]) == ["fit", f"{option}={found}"]


def test_a_file_is_taken_before_a_recipe_of_its_name(elsewhere):
    (elsewhere / "pretrain.yaml").write_text("seed_everything: 5\n")
    assert with_shipped_recipes(["fit", "--config", "pretrain.yaml"]) == ["fit", "--config", "pretrain.yaml"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--config", "{seed_everything: 3}"],
        ["fit", "--config"],
        ["fit", "--data.root", "pretrain.yaml"],
        ["fit", "--run_dir=pretrain.yaml"],
    ],
)
def test_what_names_no_configuration_stays(elsewhere, arguments):
    assert with_shipped_recipes(arguments) == arguments


@pytest.mark.parametrize("given", ["another.yaml", "x" * 5000])
def test_an_unknown_name_is_an_error_that_lists_the_recipes(elsewhere, given):
    with pytest.raises(ConfigError, match="finetune") as error:
        with_shipped_recipes(["fit", "--config", given])
    assert all(name in str(error.value) for name in NAMES)


def test_the_command_says_so_in_one_line(capsys, elsewhere):
    line = refusal(capsys, "fit", "--config", "pretrian.yaml", "--data.root", "nowhere")
    assert "--config pretrian.yaml: no such file" in line
    assert "pretrain.yaml" in line


def test_a_recipe_s_name_gives_the_same_configuration_as_its_file(capsys, elsewhere):
    def printed(*configs):
        with pytest.raises(SystemExit) as ended:
            neuromtm("fit", *configs, "--data.root", "x", "--print_config")
        assert ended.value.code == 0
        return yaml.safe_load(capsys.readouterr().out)

    named = printed("--config", "pretrain.yaml", "--config=model/tiny.yaml")
    assert named == printed("--config", CONF / "pretrain.yaml", "--config", CONF / "model" / "tiny.yaml")
    assert named["model"]["backbone"]["init_args"]["width"] == 64


def test_a_decoder_s_recipe_is_recognised_by_its_name(elsewhere):
    assert names_a_target(with_shipped_recipes(["fit", "--config", "decode_choice.yaml"]))
    assert not names_a_target(with_shipped_recipes(["fit", "--config", "pretrain.yaml"]))


def test_a_decoder_s_recipe_makes_a_decoder(capsys, elsewhere):
    with pytest.raises(SystemExit) as ended:
        neuromtm("fit", "--config", "decode_choice.yaml", "--data.root", "x", "--print_config")
    assert ended.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["model"]["target"] == "choice"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pretrian.yaml", "Did you mean pretrain.yaml?"),
        ("model/tinny.yaml", "Did you mean model/tiny.yaml?"),
        ("conf/conf/pretrain.yaml", "Did you mean pretrain.yaml?"),
        ("pretrain", "Did you mean pretrain.yaml?"),
        ("runs/x/config.yaml", "no such file. A run writes its config.yaml"),
        ("another.yaml", "There are the recipes "),
    ],
)
def test_a_name_that_is_not_there_is_answered_by_what_helps(name, said):
    with pytest.raises(ConfigError, match=f"--config {name}: no such file") as refused:
        with_shipped_recipes(["fit", "--config", name])
    assert said in str(refused.value)


def test_a_mistake_in_yaml_is_told_with_its_file(elsewhere):
    good, bad = elsewhere / "good.yaml", elsewhere / "bad.yaml"
    good.write_text("a: 1\n")
    bad.write_text("model:\n  lr: 0.1\n lr: 2\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml: no valid YAML at line 3"):
        with_shipped_recipes(["fit", "--config", str(good), "--config", str(bad)])


def test_a_file_in_the_place_of_the_folder_is_refused(capsys, elsewhere):
    (elsewhere / "afile").write_text("mine")
    assert "afile: is a file. Name a folder" in refusal(capsys, "recipes", "afile")
    assert (elsewhere / "afile").read_text() == "mine"

"""The wheel: built, installed into a fresh environment, and used outside the repository."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGED = ("conf", "data_prep", "src", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "setup.cfg")
"""what a wheel is made of"""


def run(*command: object, folder: Path) -> str:
    """Run a program without what points to the repository, and give what it prints."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    result = subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built of the source distribution, as whoever uploads a release does it.

    It is made of a copy of the files, so that nothing is left in the repository.
    """
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    source.mkdir()
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignore)
        else:
            shutil.copy(ROOT / name, source)
    # by the environment's own setuptools, and so without network
    statement = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    run(sys.executable, "-c", statement, folder, folder=source)
    (distribution,) = folder.glob("*.tar.gz")
    options = ("--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, distribution, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def programs(wheel, tmp_path_factory) -> Path:
    """Folder of the programs of an environment that holds the wheel and, of the running one, what it depends on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    options = ("--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, wheel, folder=folder)
    # behind the wheel's own files on the path; and the .pth files in there are not read, so an editable neuromtm is
    # not found
    (own,) = folder.glob("lib/python*/site-packages")
    dependencies = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "dependencies.pth").write_text("\n".join(dependencies) + "\n")
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path) -> Path:
    """An empty folder outside the repository."""
    assert ROOT not in tmp_path.resolve().parents
    return tmp_path


def files_below(folder: str, pattern: str) -> set[str]:
    return {path.relative_to(ROOT / folder).as_posix() for path in (ROOT / folder).rglob(pattern)}


def test_the_wheel_holds_all_code_recipes_and_templates_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {f"neuromtm/{name}" for name in files_below("src/neuromtm", "*.py")}
    ours |= {f"data_prep/{name}" for name in files_below("data_prep", "*.py")}
    ours |= {f"data_prep/{name}" for name in files_below("data_prep", "*.csv")}
    ours |= {f"neuromtm/recipes/{name}" for name in files_below("conf", "*.yaml")}
    ours |= {f"neuromtm/report/templates/{path.name}" for path in (ROOT / "src/neuromtm/report/templates").glob("*")}
    assert names == ours | {"neuromtm/py.typed", "data_prep/py.typed"}


def test_it_is_the_wheel_that_runs(programs, elsewhere):
    statement = "import neuromtm, data_prep, json; print(json.dumps([neuromtm.__file__, data_prep.__file__]))"
    for file in json.loads(run(programs / "python", "-c", statement, folder=elsewhere)):
        assert programs.parent in Path(file).parents


def test_the_wheel_goes_from_simulated_sessions_to_a_report(programs, elsewhere):
    def neuromtm(*arguments: object) -> str:
        return run(programs / "neuromtm", *arguments, folder=elsewhere)

    assert neuromtm("--version").startswith("neuromtm ")
    assert "model/tiny.yaml" in neuromtm("recipes")
    neuromtm("recipes", "mine")
    assert {path.relative_to(elsewhere / "mine").as_posix() for path in (elsewhere / "mine").rglob("*.yaml")} == (
        files_below("conf", "*.yaml")
    )
    sessions = ("--n-sessions", 2, "--n-heldout", 1, "--n-neurons", 12, "--n-trials", 20, "--window-s", -0.1, 0.3)
    run(programs / "neuromtm-prep", "simulate", "--out", "data", *sessions, folder=elsewhere)
    configs = [word for name in ("pretrain.yaml", "model/tiny.yaml", "trainer/cpu.yaml") for word in ("--config", name)]
    steps = ("--trainer.max_epochs", 1, "--trainer.max_steps", 2, "--trainer.check_val_every_n_epoch", 1)
    neuromtm("fit", *configs, "--data.root", "data", "--run_dir", "run", *steps)
    assert (elsewhere / "run" / "checkpoints" / "best.ckpt").is_file()
    assert "Report: " in neuromtm("report", "run")
    assert "<html" in (elsewhere / "run" / "report.html").read_text(encoding="utf-8")

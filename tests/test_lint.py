"""The rules that a program can check: ruff's, the layers, and that the repository is clean."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

LARGEST_FILE_BYTES = 1_000_000


def run(*command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the tests' own environment."""
    program = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [str(program), *command[1:]],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("command", [("check", "."), ("format", "--check", ".")], ids=["check", "format"])
def test_ruff_finds_nothing(root, command):
    result = run("ruff", *command, folder=root)
    assert result.returncode == 0, result.stdout + result.stderr


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of setup.cfg on the packages in a folder, not on the installed ones."""
    path = os.pathsep.join([str(folder / "src"), str(folder)])
    return run("lint-imports", "--no-cache", "--no-logo", folder=folder, PYTHONPATH=path)


def test_imports_keep_the_contracts(root):
    result = lint_imports(root)
    assert result.returncode == 0, result.stdout + result.stderr


def check_types(folder: Path) -> subprocess.CompletedProcess[str]:
    return run("ty", "check", "--python", sys.prefix, "--output-format", "concise", folder=folder)


def test_the_type_checker_finds_nothing(root):
    result = check_types(root)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "line", "rule"),
    [
        ("src/neuromtm/planted.py", 'n_bins: int = "three"', "invalid-assignment"),
        ("data_prep/planted.py", "import numpy as np\nnp.no_such_function()", "missing-attribute"),
        ("src/neuromtm/callbacks/planted.py", "import lightning\nlightning.Trainer().datamodule", "missing-attribute"),
        ("src/neuromtm/data/planted.py", "from neuromtm.batch import Bach", "missing-module-member"),
    ],
)
def test_the_type_checker_sees_a_planted_fault(root, tmp_path, file, line, rule):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "src" / "neuromtm", tmp_path / "src" / "neuromtm", ignore=ignore)
    shutil.copytree(root / "data_prep", tmp_path / "data_prep", ignore=ignore)
    shutil.copy(root / "pyproject.toml", tmp_path)
    (tmp_path / file).write_text(f"{line}\n")
    result = check_types(tmp_path)
    assert result.returncode == 1
    (found,) = [line for line in result.stdout.splitlines() if file in line]
    assert f"[{rule}]" in found


def test_the_hooks_of_a_commit_find_nothing(root, tmp_path):
    tracked_files(root)  # a checkout
    environment = {"PRE_COMMIT_HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    result = run("pre-commit", "run", "--all-files", folder=root, **environment)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "Failed" not in result.stdout


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("a = 1 \n", "blanks-at-line-end"),
        ("a = 1", "newline-at-end"),
        ("a = 1\n\n", "newline-at-end"),
        ("<<<<<<< ours\n", "merge-conflict"),
        ("import os\n", "ruff-check"),
        ("a=1\n", "ruff-format"),
    ],
)
def test_a_hook_stops_a_commit(root, tmp_path, text, hook):
    environment = {"PRE_COMMIT_HOME": str(tmp_path / "home"), "GIT_CONFIG_GLOBAL": os.devnull}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    shutil.copy(root / ".pre-commit-config.yaml", checkout)
    shutil.copy(root / "pyproject.toml", checkout)
    (checkout / "planted.py").write_text(text)
    subprocess.run(["git", "init", "--quiet"], cwd=checkout, check=True)
    subprocess.run(["git", "add", "."], cwd=checkout, check=True)
    result = run("pre-commit", "run", hook, folder=checkout, **environment)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "Failed" in result.stdout


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("src/neuromtm/errors.py", "neuromtm.batch"),
        ("src/neuromtm/files.py", "neuromtm.randomness"),
        ("src/neuromtm/smoothing.py", "neuromtm.batch"),
        ("src/neuromtm/metrics/planted.py", "neuromtm.masking"),
        ("src/neuromtm/masking/planted.py", "neuromtm.models"),
        ("src/neuromtm/data/planted.py", "neuromtm.models"),
        ("src/neuromtm/models/planted.py", "neuromtm.data"),
        ("src/neuromtm/models/planted.py", "neuromtm.training"),
        ("src/neuromtm/decoding/planted.py", "neuromtm.models"),
        ("src/neuromtm/decoding/planted.py", "neuromtm.evaluation"),
        ("src/neuromtm/evaluation/planted.py", "neuromtm.baselines"),
        ("src/neuromtm/baselines/planted.py", "neuromtm.training"),
        ("src/neuromtm/training/planted.py", "neuromtm.callbacks"),
        ("src/neuromtm/plots/planted.py", "neuromtm.evaluation"),
        ("src/neuromtm/plots/planted.py", "neuromtm.files"),
        ("src/neuromtm/report/planted.py", "neuromtm.models"),
        ("src/neuromtm/report/planted.py", "neuromtm.callbacks"),
        ("src/neuromtm/callbacks/planted.py", "neuromtm.commands"),
        ("src/neuromtm/evaluation/planted.py", "data_prep"),
        ("data_prep/planted.py", "neuromtm.models"),
        ("data_prep/planted.py", "neuromtm.data"),
        ("src/neuromtm/utils.py", "neuromtm.errors"),
        ("src/neuromtm/commands/planted.py", "neuromtm.api.model"),
        ("src/neuromtm/report/planted.py", "neuromtm.api.sessions"),
    ],
)
def test_the_contracts_catch_a_planted_import(root, tmp_path, importer, imported):
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "src" / "neuromtm", tmp_path / "src" / "neuromtm", ignore=ignore)
    shutil.copytree(root / "data_prep", tmp_path / "data_prep", ignore=ignore)
    shutil.copy(root / "setup.cfg", tmp_path)
    with (tmp_path / importer).open("a") as file:
        file.write(f"\nimport {imported}\n")
    result = lint_imports(tmp_path)
    assert result.returncode != 0
    assert Path(importer).stem in result.stdout


def tracked_files(root: Path) -> list[Path]:
    """The files that git carries and that exist; none where this is not a git checkout."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [path for name in listing.split("\0") if name and (path := root / name).is_file()]


def text_of(path: Path) -> str | None:
    """The file's text; None if it is no text."""
    content = path.read_bytes()
    return None if b"\0" in content else content.decode("utf-8")


def test_no_tracked_file_is_large(root):
    large = {str(path.relative_to(root)): path.stat().st_size for path in tracked_files(root)}
    assert not {name: size for name, size in large.items() if size > LARGEST_FILE_BYTES}


def test_nothing_that_a_run_makes_is_tracked(root):
    made = {".h5", ".ckpt", ".pt", ".npz", ".pyc", ".log"}
    assert not [path for path in tracked_files(root) if path.suffix in made or path.name.startswith("events.out")]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a folder of somebody's machine", r"(?<![\w.$~})/-])/(home|Users|root|work|scratch|mnt)/\w"),
        ("a merge conflict", r"^(<{7}|>{7}) "),
        ("blanks at a line's end", r"[ \t]+$"),
    ],
)
def test_no_tracked_text_holds(root, what, pattern):
    found = [
        f"{path.relative_to(root)}:{number}: {what}"
        for path in tracked_files(root)
        if path != Path(__file__) and (text := text_of(path)) is not None
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


def test_tracked_text_ends_with_one_newline(root):
    texts = {path.relative_to(root): text_of(path) for path in tracked_files(root)}
    assert not [
        str(name) for name, text in texts.items() if text and (not text.endswith("\n") or text.endswith("\n\n"))
    ]


def test_every_target_that_the_makefile_names_has_a_rule(root):
    """One that is phony but has no rule does nothing, and says that all is well."""
    text = (root / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY:(.*)$", text, flags=re.MULTILINE)[1].split()
    helped = re.findall(r'@echo "make ([\w-]+)', text)
    rules = {name for line in re.findall(r"^([\w .%$()/-]+):(?!=)", text, flags=re.MULTILINE) for name in line.split()}
    assert {"test", "docs", "demo"} <= set(phony)
    assert set(phony) | set(helped) <= rules


def test_files_of_tests_have_different_names(root):
    names = [path.name for path in (root / "tests").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}  # pytest would import one of them for the other

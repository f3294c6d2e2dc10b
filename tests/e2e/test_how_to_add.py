"""The examples of CONTRIBUTING.md, each planted into a copy of the code as the page says, and run by a command."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import EIDS, finetune, scalars

PROGRAM = "import sys; from {module} import main; sys.exit(main(sys.argv[1:]))"


class Tree:
    """A copy of the code that a test adds to."""

    def __init__(self, root: Path, folder: Path):
        self.folder, self.page = folder, (root / "CONTRIBUTING.md").read_text()
        for name in ("src", "data_prep"):
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))

    def example(self, heading: str) -> str:
        """The code below a heading of the page."""
        text = self.page[self.page.index(f"### {heading}\n") :].split("\n### ")[0]
        (found,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
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


def test_a_scheme_is_one_file_and_its_name(tree, root, sessions_dir, pretrained, tmp_path):
    tree.add_file("src/neuromtm/masking/stretch.py", tree.example("a masking scheme"))
    tree.add_to_line("src/neuromtm/batch.py", '"random_token"', ', "stretch"')
    best, run_dir = pretrained / "checkpoints" / "best.ckpt", tmp_path / "run"
    options = ("--data.sessions", f"[{EIDS[0]}]", "--model.objective.schemes", "[stretch]", "--run_dir", run_dir)
    said = tree.run("neuromtm.commands.main", *finetune(root, sessions_dir, best, *options))
    assert "prompts.stretch" in said
    assert {"train/loss/stretch", "val/loss/stretch"} <= scalars(run_dir).keys()

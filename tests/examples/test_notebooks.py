"""The notebooks run in small, each by itself, and are kept without outputs."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.stripped import EXAMPLES, main, stripped

NOTEBOOKS = sorted(EXAMPLES.glob("*.ipynb"))
each = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def test_there_are_three():
    assert [path.stem[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


def run(notebook: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a notebook with nbmake, in its own folder and with this environment's kernel."""
    jupyter = folder / "jupyter"  # nobody's settings, and no kernel but that of this environment
    environment = {name: str(jupyter) for name in ("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR")}
    environment |= {"JUPYTER_PREFER_ENV_PATH": "1", "IPYTHONDIR": str(jupyter), "NEUROMTM_EXAMPLES": "small"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--nbmake", "--nbmake-kernel=python3", "--overwrite", f"--rootdir={folder}", str(notebook)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=500
    )


@pytest.fixture
def needs_nbmake():
    if find_spec("nbmake") is None or find_spec("ipykernel") is None:
        pytest.skip("needs nbmake and ipykernel: pip install '.[test]'")


@each
@pytest.mark.usefixtures("needs_nbmake")
def test_a_notebook_runs_by_itself_and_shows_its_plots(notebook, tmp_path):
    copy = Path(shutil.copy(notebook, tmp_path))
    result = run(copy, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    cells = [cell for cell in json.loads(copy.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in cells)
    plots = [cell for cell in cells if re.search(r"^\w+_plot\(", "".join(cell["source"]), flags=re.MULTILINE)]
    assert len(plots) >= 2
    for cell in plots:
        assert any("image/png" in output.get("data", {}) for output in cell["outputs"]), cell["source"]


@pytest.mark.usefixtures("needs_nbmake")
def test_a_cell_that_fails_is_told(tmp_path):
    notebook = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    planted = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    planted["source"] = "raise RuntimeError('planted')"
    path = tmp_path / "planted.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    result = run(path, tmp_path)
    assert result.returncode == 1
    assert "RuntimeError" in result.stdout


@each
def test_a_notebook_is_stripped(notebook):
    text = notebook.read_text(encoding="utf-8")
    assert stripped(text) == text, f"python -m tests.examples.stripped {notebook.name}"


def test_what_a_run_leaves_is_taken_away_and_nothing_else(tmp_path, capsys):
    text = NOTEBOOKS[0].read_text(encoding="utf-8")
    notebook = json.loads(text)
    code = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    code |= {"execution_count": 7, "outputs": [{"name": "stdout", "output_type": "stream", "text": ["4\n"]}]}
    code["metadata"] = {"execution": {"iopub.status.busy": "2026-01-01T00:00:00Z"}}
    notebook["metadata"]["kernelspec"]["name"] = "somebody"
    path = tmp_path / "used.ipynb"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert main([path]) == 1
    assert "used.ipynb" in capsys.readouterr().out
    assert path.read_text(encoding="utf-8") == text
    assert main([path]) == 0


@each
def test_a_notebook_names_no_folder_of_a_machine(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        assert not re.search(r"(?<![\w.:/}])(/[a-z]+/\w|[A-Z]:\\|~/)", source), source


@each
def test_the_sizes_stand_in_the_first_code_cell_alone(notebook):
    first, *others = [
        "".join(cell["source"])
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
    ]
    assert 'small = os.environ.get("NEUROMTM_EXAMPLES") == "small"' in first
    assert not [source for source in others if re.search(r"\bsmall\b", source)]


@each
def test_the_links_of_a_notebook_lead_somewhere(notebook):
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        for target in re.findall(r"\]\(([^)#]+)\)", "".join(cell["source"])):
            assert (EXAMPLES / target).is_file(), target

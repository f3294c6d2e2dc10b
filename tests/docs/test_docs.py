"""The pages: links, commands and code in them hold, the site builds, and each check finds what is planted."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from neuromtm import __version__
from tests.docs import check, commands


def test_nothing_is_wrong_with_any_page(root):
    found = check.problems(root)
    assert not found, "\n".join(found)
    assert min(check.counts(root).values()) > 0


def test_the_citation_is_of_this_version_and_names_the_paper(root):
    citation = yaml.safe_load((root / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__
    (paper,) = citation["references"]
    assert (
        paper["title"].lower()
        in (root / "README.md")
        .read_text(encoding="utf-8")
        .replace("\n", " ")
        .replace("'universal translator'", '"universal translator"')
        .lower()
    )


# ---- what is planted is found ----

FENCE = "```"


def page_of(*lines: str) -> str:
    return "\n".join(("# A page", "", "## One heading: of `two`, or more?", "", *lines, ""))


def shell(*lines: str) -> str:
    return page_of(FENCE, *lines, FENCE)


GOOD_FIT = "neuromtm fit --config conf/pretrain.yaml --data.root DIR --run_dir runs/here"


@pytest.fixture
def planted(root, tmp_path):
    """A function that gives the problems of a page with this text, in a repository of nothing else."""
    shutil.copytree(root / "conf", tmp_path / "conf")
    shutil.copytree(root / "slurm", tmp_path / "slurm")
    shutil.copy(root / "Makefile", tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## Same\n\n## Same\n")

    def problems(text: str) -> list[str]:
        (tmp_path / "docs" / "page.md").write_text(text)
        return check.problems(tmp_path)

    return problems


@pytest.mark.parametrize(
    "text",
    [
        page_of(
            "[a](other.md), [b](other.md#same-1), [c](#one-heading-of-two-or-more), [d](https://nowhere.invalid/x)"
        ),
        shell(GOOD_FIT),
        shell(GOOD_FIT + " \\", "  --model.lr 0.01", "neuromtm test --config runs/here/config.yaml --ckpt_path a.ckpt"),
        shell(
            'SMALL="--config conf/model/tiny.yaml --data.root DIR"',
            "for run in pretrain temporal; do",
            "  neuromtm fit --config conf/$run.yaml $SMALL --run_dir runs/$run",
            "  neuromtm test --config runs/$run/config.yaml --ckpt_path runs/$run/checkpoints/best.ckpt",
            "done",
            "(cd runs && neuromtm compare a=pretrain b=temporal)",
        ),
        shell("neuromtm test --config RUN/config.yaml --ckpt_path RUN/checkpoints/best.ckpt"),
        shell("neuromtm report runs/mtm --ceiling runs/ceiling  # a remark"),
        shell("python -m data_prep simulate --out DIR --n-sessions 2", "neuromtm-prep check DIR"),
        shell("make demo DEMO=runs/other"),
        shell(
            "slurm/sweep_sessions.sh --out SWEEP --sessions 1,2 --steps 9 --pretrain-config conf/small.yaml \\",
            "  -- --model.lr 0.1 -- --trainer.max_epochs 20",
            "slurm/status SWEEP --retry",
            "slurm/submit pretrain --config conf/small.yaml --data.root DIR --run_dir RUN",
            "sbatch --nodes 2 slurm/pretrain.sbatch --config conf/small.yaml --data.root DIR --run_dir RUN",
        ),
        page_of(FENCE + "python", "from neuromtm.masking.temporal import hide_bins", FENCE),
        page_of(FENCE + "yaml", "model: {lr: 0.1}", FENCE),
    ],
)
def test_a_good_page_has_no_problem(planted, text):
    assert planted(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (page_of("[a](missing.md)"), "no such file"),
        (page_of("![a](figures/missing.png)"), "no such file"),
        (page_of("[a](../../outside.md)"), "no such file"),
        (page_of("[a](other.md#different)"), "no such heading"),
        (page_of("[a](other.md#same-2)"), "no such heading"),
        (page_of("[a](#nowhere)"), "no such heading"),
        (shell("neuromtm fit --config conf/pretrain.yaml --data.root DIR --model.lrr 0.1"), "lrr"),
        (shell("neuromtm fit --config conf/pretrain.yaml --data.root DIR --model.lr much"), "lr"),
        (shell("neuromtm fit --config conf/missing.yaml --data.root DIR"), "missing.yaml"),
        (shell("neuromtm fit --config conf/pretrain.yaml"), "data.root"),
        (shell("neuromtm test --config runs/nobody/config.yaml --ckpt_path a.ckpt"), "no command of any page makes"),
        (shell("neuromtm fly"), "no such command"),
        (shell("neuromtm"), "no command"),
        (shell("neuromtm compare"), "required"),
        (shell("neuromtm report RUN --celing DIR"), "--celing"),
        (shell("neuromtm baseline --data DIR --out RUN --kind magic"), "magic"),
        (shell("python -m data_prep simulate --n-sessions 2"), "--out"),
        (shell("neuromtm-prep simulate --out DIR --n-session 2"), "--n-session"),
        (shell("python -m data_perp check DIR"), "no such module"),
        (shell("python benchmarks/missing.py"), "no such script"),
        (shell("make dmeo"), "no target dmeo"),
        (shell("make demo DMEO=runs/other"), "no variable DMEO"),
        (shell("rm -rf everything"), "no program that a page may name"),
        (shell("slurm/sweep_sessions.sh --out SWEEP --session 1"), "no option --session"),
        (shell("slurm/sweep_sessions.sh --out SWEEP -- --model.lr 0.1 -- --model.lrr 0.1"), "lrr"),
        (shell("slurm/submit finetune --config conf/finetune.yaml --data.root DIR --data.rot DIR"), "rot"),
        (shell("sbatch slurm/pretrian.sbatch --config conf/small.yaml --data.root DIR"), "no such script"),
        (shell("for run in a b; do neuromtm report $run"), "bash"),
        (shell("neuromtm report $RUN"), "bash"),
        (shell("# only a remark"), "no command in it"),
        (page_of(FENCE + "python", "for x in y", FENCE), "does not compile"),
        (page_of(FENCE + "python", "import neuromtm.evaluation.missing", FENCE), "missing"),
        (page_of(FENCE + "python", "from neuromtm.masking.temporal import hide_everything", FENCE), "hide_everything"),
        (page_of(FENCE + "yaml", "a: [1", FENCE), "YAML"),
        (page_of(FENCE + "perl", "die", FENCE), "perl"),
    ],
)
def test_what_is_wrong_with_a_page_is_said_with_its_place(planted, text, said):
    (problem,) = planted(text)
    assert problem.startswith("docs/page.md:")
    assert said in problem


@pytest.mark.parametrize("name", ["masking/missing.py", "missing/", "NoSuchClass", "NO_SUCH_NAME", "Objective.qqxz"])
def test_a_name_that_the_code_does_not_have_is_found(root, tmp_path, name):
    for folder in ("src", "data_prep"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    page = tmp_path / "CONTRIBUTING.md"
    page.write_text(f"`masking/schemes.py`, `masking/`, `Objective.hide`, `MTM` and `hide_bins`\n\n`{name}`\n")
    (problem,) = check.name_problems(page, tmp_path)
    assert problem.startswith("CONTRIBUTING.md:3")
    assert name in problem


def test_no_command_of_a_page_runs(tmp_path):
    made = tmp_path / "made"
    block = check.Block("page.md", 1, "", f"touch {made}\nneuromtm report {made}\n")
    assert commands.given(block) == [["touch", str(made)], ["neuromtm", "report", str(made)]]
    assert not made.exists()


# ---- the site ----


def build(folder: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a repository, as `make docs` does."""
    program = Path(sys.executable).parent / "sphinx-build"
    command = [program, "--quiet", "--fresh-env", "--fail-on-warning", folder / "docs", out]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=os.environ | {"NO_COLOR": "1"})


def test_the_site_builds_without_a_warning(root, tmp_path):
    """Of a copy, since the build writes the pages of the API reference into docs/."""
    ignore = shutil.ignore_patterns("__pycache__", "api")
    for name in ("docs", "src", "data_prep"):
        shutil.copytree(root / name, tmp_path / name, ignore=ignore)
    for path in root.glob("*"):
        if path.is_file():
            shutil.copy(path, tmp_path)
    result = build(tmp_path, tmp_path / "site")
    assert result.returncode == 0, result.stderr[-3000:]
    reference = (tmp_path / "site" / "api" / "neuromtm" / "neuromtm.masking.html").read_text()
    assert "the hidden entries that the loss scores" in reference, "the string below a field is shown"


@pytest.fixture
def small_site(root, tmp_path):
    """A repository of one page and two packages, with the site's configuration."""
    for package, text in (("src/neuromtm", '"""Ours."""\n\n__version__ = "0"\n'), ("data_prep", '"""Data."""\n')):
        (tmp_path / package).mkdir(parents=True)
        (tmp_path / package / "__init__.py").write_text(text)
    (tmp_path / "docs").mkdir()
    shutil.copy(root / "docs" / "conf.py", tmp_path / "docs")
    tree = ["```{toctree}", "api/neuromtm/neuromtm", "api/data_prep/data_prep", "```", ""]
    (tmp_path / "docs" / "index.md").write_text("\n".join(["# Here", "", *tree]))
    return tmp_path


COLONS = '''
"""A module."""

from typing import NamedTuple


class One(NamedTuple):
    """A class."""

    trial: int
    """what trial: or neuron stands before a colon, is no type"""


class Other(NamedTuple):
    """Another one with a field of the same name."""

    trial: int


def f(x: int) -> int:
    """Do it.

    Args:
        x: (trial, bin): a number.

    Returns:
        (trial, neuron) bool: what trial it is.

    Raises:
        ValueError: if there is none.
    """
'''


def test_prose_before_a_colon_is_no_type(small_site):
    (small_site / "src" / "neuromtm" / "colons.py").write_text(COLONS)
    result = build(small_site, small_site / "site")
    assert result.returncode == 0, result.stderr
    page = (small_site / "site" / "api" / "neuromtm" / "neuromtm.html").read_text()
    assert "(trial, neuron) bool: what trial it is." in page
    assert "what trial: or neuron stands before a colon, is no type" in page


@pytest.mark.parametrize(
    ("file", "planted", "said"),
    [
        ("docs/index.md", "\n[a](missing.md)\n", "missing.md"),
        ("docs/alone.md", "# Alone\n", "toctree"),
        ("src/neuromtm/planted.py", "def f():\n    '''Unclosed ``code.'''\n", "literal"),
        ("src/neuromtm/planted.py", "import no_such_package\n", "no_such_package"),
    ],
)
def test_a_warning_of_the_site_is_an_error(small_site, file, planted, said):
    with (small_site / file).open("a") as opened:
        opened.write(planted)
    result = build(small_site, small_site / "site")
    assert result.returncode != 0
    assert said in result.stderr


def test_tests_that_pages_name_are_there(root):
    for page in (root / "docs").glob("*.md"):
        for name in re.findall(r"tests/[\w/]+\.py", page.read_text(encoding="utf-8")):
            assert (root / name).is_file(), f"{page.name}: {name}"

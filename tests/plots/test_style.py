"""One place for colours and sizes of type: no plot has any of its own."""

import ast
import re
from collections.abc import Iterator

import pytest
from matplotlib.colors import is_color_like

from tests.conftest import ROOT

PLOTS = sorted(path for path in (ROOT / "src" / "neuromtm" / "plots").glob("*.py") if path.name != "style.py")
SIZES = {"fontsize", "labelsize", "size", "titlesize"}
SHORT = "rgbcmykw"
"""matplotlib's colours of one letter; in code a letter is more often a marker or an axis"""


def strays(source: str) -> Iterator[str]:
    """Colours and sizes of type that the source writes itself."""
    tree = ast.parse(source)
    texts = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}  # docstrings
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            named = re.fullmatch(r"[a-z:]+|0?\.\d+|#[0-9a-fA-F]{3,8}|C\d", node.value)
            if named and node.value not in (*SHORT, "none") and is_color_like(node.value):
                yield f"line {node.lineno}: colour {node.value!r}"
        if isinstance(node, ast.keyword) and node.arg in SIZES and isinstance(node.value, ast.Constant):
            yield f"line {node.value.lineno}: {node.arg}={node.value.value}"
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("colormaps"):
            yield f"line {node.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.stem)
def test_no_plot_has_colours_and_sizes_of_its_own(path):
    assert not list(strays(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ('axes.plot(x, color="0.3")', True),
        ('axes.plot(x, color="black")', True),
        ('axes.plot(x, color="tab:red")', True),
        ('COLOUR = "#ff0000"', True),
        ('MAP = colormaps["Greys"]', True),
        ("axes.set_title(name, fontsize=9)", True),
        ("axes.set_title(name, fontsize=TITLE)", False),
        ('axes.plot(x, color=ACCENT, marker="o", linestyle="--")', False),
        ('axes.plot(x, "k", facecolor="none")', False),
        ('"""black"""', False),
    ],
)
def test_the_check_sees_them(line, found):
    assert bool(list(strays(line))) == found

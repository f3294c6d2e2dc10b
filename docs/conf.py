"""How Sphinx builds the site: Markdown pages of this folder, and the API reference from the docstrings."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (ROOT / "src", ROOT)
"""the packages are read here, whatever is installed"""
sys.path[:0] = [str(folder) for folder in SOURCES]
os.environ.setdefault("OMP_NUM_THREADS", "1")

from sphinx.application import Sphinx  # noqa: E402
from sphinx.ext.napoleon import Config, GoogleDocstring  # noqa: E402

from neuromtm import __version__  # noqa: E402

project = "neuromtm"
author = "The neuromtm developers"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.apidoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
html_theme = "furo"
html_title = f"neuromtm {__version__}"
html_copy_source = html_show_sourcelink = html_show_copyright = False

# The pages are read on GitHub too: an anchor is made of a heading as there.
myst_heading_anchors = 4
# Blocks of commands have no language on purpose: they are the reader's shell, not a session of it.
highlight_language = "none"

# ---- the API reference ----

# One page a package, with all of its modules. Each build makes the pages anew.
apidoc_modules = [
    {"path": folder, "destination": f"api/{folder.name}", "module_first": True, "max_depth": 1}
    for folder in (ROOT / "src" / "neuromtm", ROOT / "data_prep")
]
exclude_patterns = ["api/*/modules.rst"]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
autoclass_content = "both"
# In the docstrings single backticks are code, as in Markdown.
default_role = "code"

MADE_BY_NAMEDTUPLE = ("Alias for field number", "Create new instance of")


class Sections(GoogleDocstring):
    """The sections of a docstring; what is returned is said in prose, and its type stands in the signature."""

    def _consume_returns_section(self, preprocess_types: bool = False) -> list[tuple[str, str, list[str]]]:
        # napoleon by itself would take all that stands before a colon for a type
        lines = self._dedent(self._consume_to_next_section())
        return [("", "", lines)] if lines else []


def read_google_style(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Read the sections of a docstring (Args, Returns, Raises). The string below a field has none."""
    lines[:] = [line for line in lines if not line.startswith(MADE_BY_NAMEDTUPLE)]
    if what not in ("attribute", "data"):
        kind = "method" if what == "property" else what
        lines[:] = Sections(lines, Config(napoleon_use_ivar=True), app, kind, name, obj, options).lines()


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-docstring", read_google_style)

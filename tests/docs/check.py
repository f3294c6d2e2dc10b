"""What a program can check of the pages: links resolve, commands parse, Python compiles.

    python -m tests.docs.check

prints a line for each problem and ends with 1 if there is one. The tests run the same checks.
"""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).resolve().parents[2]
SHELL = ("", "bash", "sh", "console")
"""languages of blocks of commands"""
PLAIN = ("text", "json", "yaml", "make", "csv", "toml", "ini")
"""languages of blocks that are no commands and no Python"""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str


def pages(root: Path = ROOT) -> list[Path]:
    """The pages that a reader meets."""
    return [*sorted(root.glob("*.md")), *sorted((root / "docs").glob("*.md"))]


def tokens(text: str) -> list[Token]:
    """A page's tokens, in their order."""
    return MarkdownIt("commonmark").enable("table").parse(text)


def blocks(page: Path, root: Path = ROOT) -> list[Block]:
    """A page's fenced blocks, in their order."""
    found = [token for token in tokens(page.read_text(encoding="utf-8")) if token.type == "fence" and token.map]
    name = page.relative_to(root).as_posix()
    return [Block(name, token.map[0] + 1, token.info.strip().split(" ")[0], token.content) for token in found]


# ---- links ----


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them."""
    found: dict[str, int] = {}
    every = tokens(page.read_text(encoding="utf-8"))
    for heading, inline in pairwise(every):
        if heading.type == "heading_open":
            text = "".join(child.content for child in inline.children or ())
            slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
    return {slug if number == 0 else f"{slug}-{number}" for slug, last in found.items() for number in range(last + 1)}


def links(page: Path) -> Iterator[tuple[int, str]]:
    """Line and target of every link and picture of a page."""
    for token in tokens(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type in ("link_open", "image"):
                yield (token.map or [0])[0] + 1, str(child.attrGet("href") or child.attrGet("src") or "")


def link_problems(page: Path, root: Path = ROOT) -> Iterator[str]:
    """The links inside the repository that lead nowhere."""
    for line, target in links(page):
        if re.match(r"[a-z][a-z0-9+.-]*:", target):  # http:, mailto:
            continue
        name, _, anchor = target.partition("#")
        place = f"{page.relative_to(root).as_posix()}:{line}"
        path = (page.parent / unquote(name)).resolve() if name else page
        if not path.exists() or not path.is_relative_to(root):
            yield f"{place}: {target}: no such file in the repository"
        elif anchor and (path.suffix != ".md" or anchor not in anchors(path)):
            yield f"{place}: {target}: no such heading there"


# ---- Python and YAML ----


def python_problems(block: Block) -> Iterator[str]:
    """Why a block of Python does not compile, or which of our names it imports that there is not."""
    import ast
    import importlib

    place = f"{block.page}:{block.line}"
    try:
        tree = ast.parse(block.text)
    except SyntaxError as error:
        yield f"{place}: Python does not compile: {error}"
        return
    for node in ast.walk(tree):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module and node.level == 0 else []
        for name in modules:
            if name.partition(".")[0] not in ("neuromtm", "data_prep"):
                continue
            try:
                module = importlib.import_module(name)
            except ImportError as error:
                yield f"{place}: import {name}: {error}"
                continue
            for alias in node.names if isinstance(node, ast.ImportFrom) else ():
                if not (hasattr(module, alias.name) or _is_module(f"{name}.{alias.name}")):
                    yield f"{place}: {name} has no {alias.name}"


def _is_module(name: str) -> bool:
    import importlib.util

    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # what stands before the last dot is no package
        return False


def yaml_problems(block: Block) -> Iterator[str]:
    """Why a block of YAML cannot be read."""
    import yaml

    try:
        yaml.safe_load(block.text)
    except yaml.YAMLError as error:
        yield f"{block.page}:{block.line}: YAML: {' '.join(str(error).split())}"


# ---- the names of the code in CONTRIBUTING.md ----


def name_problems(page: Path, root: Path = ROOT) -> Iterator[str]:
    """The files and names in backticks that the code does not have; a name is a path, a constant or a class."""
    rooms = [root, root / "src" / "neuromtm", root / "src" / "neuromtm" / "plots", root / "data_prep", root / "tests"]
    files = [path for folder in ("src", "data_prep", "tests") for path in (root / folder).rglob("*.py")]
    code = {word for path in files for word in re.findall(r"\w+", path.read_text(encoding="utf-8"))}
    for token in tokens(page.read_text(encoding="utf-8")):
        for child in token.children or ():
            if child.type != "code_inline":
                continue
            name, place = child.content, f"{page.relative_to(root).as_posix()}:{(token.map or [0])[0] + 1}"
            is_path = re.fullmatch(r"[\w/]+\.(py|cfg|txt)|(\w+/)+", name)
            if is_path and "NAME" not in name and not any((room / name).exists() for room in rooms):
                if name.split("/")[0] not in ("dist", "build"):
                    yield f"{place}: there is no {name}"
            elif re.fullmatch(r"([A-Z]\w+|[a-z]\w+_\w+)(\.\w+)*", name) and not set(name.split(".")) <= code:
                yield f"{place}: the code has no {name}"


# ---- all of it ----


def problems(root: Path = ROOT, only: Iterable[Path] | None = None) -> list[str]:
    """What is wrong with the pages; a line each.

    Args:
        root: the repository's folder.
        only: pages to check; by default all of them. Runs that another page makes are known in any case.
    """
    from tests.docs.commands import Checker

    every = pages(root)
    shell = {page: [block for block in blocks(page, root) if block.language in SHELL] for page in every}
    checker = Checker(root, [block for of_page in shell.values() for block in of_page])
    found: list[str] = []
    for page in every if only is None else only:
        found += link_problems(page, root)
        found += name_problems(page, root) if page.name == "CONTRIBUTING.md" else ()
        for block in blocks(page, root):
            if block.language in SHELL:
                found += checker.problems(block)
            elif block.language == "python":
                found += python_problems(block)
            elif block.language == "yaml":
                found += yaml_problems(block)
            elif block.language not in PLAIN and not block.language.startswith("{"):
                found.append(f"{block.page}:{block.line}: a block of {block.language!r}: not one of {(*SHELL, *PLAIN)}")
    return found


def counts(root: Path = ROOT) -> Mapping[str, int]:
    """How much there was to check, so that a reader of the output sees that it was looked at."""
    every = [block for page in pages(root) for block in blocks(page, root)]
    return {
        "pages": len(pages(root)),
        "links": sum(1 for page in pages(root) for _ in links(page)),
        "blocks of commands": sum(block.language in SHELL for block in every),
        "blocks of Python": sum(block.language == "python" for block in every),
    }


def main() -> int:
    """Print every problem; 1 if there is one."""
    found = problems()
    print("\n".join(found or ["docs: " + ", ".join(f"{number} {what}" for what, number in counts().items())]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

"""What is imported when, and what the installed package consists of."""

import ast
import configparser
import importlib.metadata
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import neuromtm
from tests.conftest import ROOT

LARGEST_FILE_LINES = 400
SOURCES = {"neuromtm": ROOT / "src" / "neuromtm", "data_prep": ROOT / "data_prep"}
FILES = sorted(path for folder in SOURCES.values() for path in folder.rglob("*.py"))
OPTIONAL = {"one", "iblatlas", "iblutil", "pandas", "pyarrow", "pynwb", "hdmf", "rastermap", "sympy", "wandb"}
"""Packages of extras: a machine that only trains or simulates need not have them."""
HEAVY = {
    "lightning",
    "pytorch_lightning",
    "torchmetrics",
    "jsonargparse",
    "sklearn",
    "scipy",
    "matplotlib",
    "tensorboard",
}
GLOBAL_TORCH_DRAWS = {
    "bernoulli", "manual_seed", "multinomial", "normal", "poisson", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "seed",
}  # fmt: skip
OWNED_NUMPY = {"BitGenerator", "Generator", "PCG64", "Philox", "SeedSequence", "default_rng"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def settings() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


# ---- what an import brings ----


def modules_after(statement: str) -> set[str]:
    """The top-level names in sys.modules of a fresh interpreter that ran the statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted({{m.partition('.')[0] for m in sys.modules}})))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return set(json.loads(output.splitlines()[-1]))


def test_importing_the_package_alone_brings_nothing_heavy():
    assert not modules_after("import neuromtm") & (HEAVY | OPTIONAL | {"torch", "numpy"})


def test_reading_shards_needs_neither_lightning_nor_an_extra():
    statement = "import neuromtm.data.shards, neuromtm.data.manifest"
    assert not modules_after(statement) & (HEAVY | OPTIONAL | {"torch"})


PUBLIC = SOURCES["neuromtm"] / "__init__.py"


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=name_of)
def test_init_files_import_nothing(path):
    tree = ast.parse(path.read_text())
    if path == PUBLIC:  # its names are imported when they are used
        assert set(imports_on_loading(tree)) == {"typing"}
    else:
        assert not list(imports(tree))


def test_the_public_names_are_there_and_a_type_checker_sees_the_same():
    names = set(neuromtm._PLACES)
    assert names <= set(dir(neuromtm))
    for name in names:
        assert getattr(neuromtm, name).__module__ == neuromtm._PLACES[name]
    (block,) = (node for node in ast.parse(PUBLIC.read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == neuromtm._PLACES
    with pytest.raises(AttributeError, match="module 'neuromtm' has no attribute 'nothing'"):
        _ = neuromtm.nothing


def test_the_version_is_read_from_the_source_without_importing_anything():
    assigned = {
        ast.unparse(node.targets[0]): node.value
        for node in ast.parse(PUBLIC.read_text()).body
        if isinstance(node, ast.Assign)
    }
    assert ast.literal_eval(assigned["__version__"]) == neuromtm.__version__


def imports(tree: ast.AST) -> Iterator[str]:
    """The absolute names of all modules that a tree imports, wherever the statement stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def imports_on_loading(tree: ast.Module) -> Iterator[str]:
    """Likewise, without those inside functions and `if TYPE_CHECKING` blocks."""
    waiting: list[ast.AST] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from imports(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting.extend(node.orelse)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting.extend(ast.iter_child_nodes(node))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_optional_packages_are_imported_where_they_are_used(path):
    assert not {name.partition(".")[0] for name in imports_on_loading(ast.parse(path.read_text()))} & OPTIONAL


def test_the_check_sees_imports_on_loading_only():
    source = "try:\n    import pandas\nexcept ImportError:\n    pass\ndef read():\n    import one.api\n"
    assert list(imports_on_loading(ast.parse(source))) == ["pandas"]
    assert set(imports(ast.parse(source))) == {"pandas", "one.api"}


# ---- what is installed ----


def test_every_folder_with_code_is_listed_as_a_package():
    listed = settings()["options"]["packages"].split()
    on_disk = {
        ".".join([name, *path.parent.relative_to(folder).parts])
        for name, folder in SOURCES.items()
        for path in folder.rglob("*.py")
    }
    assert sorted(listed) == sorted({*on_disk, "neuromtm.recipes"})  # that is conf/, and has no code
    missing = [package for package in on_disk if not (package_folder(package) / "__init__.py").exists()]
    assert not missing, "folders with code but without __init__.py"


def package_folder(package: str) -> Path:
    top, *below = package.split(".")
    return SOURCES[top].joinpath(*below)


def test_every_imported_package_is_declared():
    needed = " ".join([settings()["options"]["install_requires"], *settings()["options.extras_require"].values()])
    declared = {canonical(name) for name in re.findall(r"(?:^|\s)([A-Za-z][\w.-]*)(?=[\[ ><=])", needed)}
    distributions = importlib.metadata.packages_distributions()
    undeclared = set()
    for path in FILES:
        for name in imports(ast.parse(path.read_text())):
            top = name.partition(".")[0]
            if top and top not in sys.stdlib_module_names and top not in SOURCES:
                candidates = {canonical(found) for found in distributions.get(top, [top])}
                if not candidates & declared:
                    undeclared.add(f"{name_of(path)} imports {top}")
    assert not undeclared


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_tested_versions_are_the_installed_ones_and_lie_in_the_ranges():
    from packaging.requirements import Requirement

    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonical(pin.name): str(pin.specifier).removeprefix("==") for pin in pins}
    options = settings()
    installed = ("ibl", "test", "docs")  # the extras of `make env`
    ranges = [options["options"]["install_requires"]]
    ranges += [options["options.extras_require"][extra] for extra in installed]
    for text in ranges:
        for requirement in map(Requirement, filter(None, text.splitlines())):
            version = pinned.get(canonical(requirement.name))
            assert version is not None, f"{requirement.name} has no tested version in constraints.txt"
            assert requirement.specifier.contains(version), f"{requirement} does not admit {version}"


def test_the_oldest_versions_that_are_tried_are_the_lower_bounds():
    from packaging.requirements import Requirement
    from packaging.version import Version

    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pinned = {canonical(pin.name): Version(str(pin.specifier).removeprefix("==")) for pin in pins}
    options = settings()
    extras = options["options.extras_require"]
    fast_needs = re.search(r"^FAST_NEEDS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    ranges = [options["options"]["install_requires"], extras["ibl"], extras["search"]]
    ranges += [line for line in extras["test"].splitlines() if line.partition(" ")[0] in fast_needs]
    requirements = [Requirement(line) for text in ranges for line in text.splitlines() if line]
    assert {requirement.name for requirement in requirements} >= {"torch", "ONE-api", "optuna", *fast_needs}
    for requirement in requirements:
        bounds = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
        version = pinned.get(canonical(requirement.name))
        assert bounds == [version], f"{requirement}, but constraints-oldest.txt has {version}"


def test_the_tested_versions_install_on_the_oldest_python_that_is_promised():
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    oldest = settings()["options"]["python_requires"].removeprefix(">=") + ".0"
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    refused = {}
    for pin in [Requirement(line) for line in lines if line and not line.startswith("#")]:
        try:
            found = importlib.metadata.metadata(pin.name)
        except importlib.metadata.PackageNotFoundError:  # of another platform
            continue
        needs = found["Requires-Python"]
        if found["Version"] in pin.specifier and needs and not SpecifierSet(needs).contains(oldest):
            refused[str(pin)] = needs
    assert not refused


@pytest.mark.parametrize("command", ["neuromtm", "neuromtm-prep"])
def test_the_commands_are_installed_and_lead_somewhere(command):
    (found,) = importlib.metadata.entry_points(group="console_scripts", name=command)
    assert callable(found.load())
    assert (Path(sys.executable).parent / command).exists()


# ---- how the code is kept ----

OF_THE_WHOLE = {"docs", "e2e", "examples", "science", "faults", "fixtures", "slurm", "data_prep/contract"}
"""folders of tests that belong to no room of the source"""


def test_the_tests_stand_in_the_rooms_of_the_source():
    tests = ROOT / "tests"
    rooms = {path.parent.relative_to(tests) for path in tests.rglob("test_*.py")}
    of_source = {path.relative_to(SOURCES["neuromtm"]) for path in SOURCES["neuromtm"].rglob("*") if path.is_dir()}
    of_source |= {path.relative_to(ROOT) for path in (SOURCES["data_prep"], *SOURCES["data_prep"].rglob("*"))}
    others = {room.as_posix() for room in rooms - of_source if room.parts and room.parts[0] not in OF_THE_WHOLE}
    assert others <= OF_THE_WHOLE


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= LARGEST_FILE_LINES


TWICE = {
    "main": "a program each: neuromtm and neuromtm-prep",
    "run": "what each command's module is called by",
    "add_options": "likewise, of data_prep",
    "plan": "what each source of recordings is called by",
    "inspect": "likewise, for --inspect",
    "hide": "what each masking scheme's file defines",
    "allows": "likewise, where a scheme needs regions",
}
"""names of functions that may stand in several modules, and why"""


def names_defined(tree: ast.Module) -> Iterator[str]:
    """The public classes and functions of a module."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node.name


def test_a_name_stands_once():
    places: dict[str, list[str]] = {}
    for path in FILES:
        for name in names_defined(ast.parse(path.read_text())):
            places.setdefault(name, []).append(name_of(path))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not {name: where for name, where in twice.items() if name not in TWICE}
    assert set(TWICE) <= set(twice), "no longer needed"


def test_the_check_of_names():
    source = "class A: \n    def b(self): ...\ndef c(): ...\nasync def d(): ...\ndef _e(): ...\nF = 1\n"
    assert list(names_defined(ast.parse(source))) == ["A", "c", "d"]


def global_draws(tree: ast.AST) -> Iterator[str]:
    """Uses of randomness that no generator owns: `random`, `np.random`, `torch.rand` and their like."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imports(node):
                if name == "random" or (name in {"numpy.random", "torch.random"}):
                    yield f"line {node.lineno}: imports {name}"
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        module, _, function = called.rpartition(".")
        owned = any(keyword.arg == "generator" for keyword in node.keywords)
        # dropout and initial weights draw from the global stream: whoever seeds it names the owner
        owned |= function == "manual_seed" and ast.unparse(node.args[0]).startswith("seed_from(")
        if module in {"np.random", "numpy.random"}:
            unseeded = function == "default_rng" and not (node.args or node.keywords)
            if unseeded or function not in OWNED_NUMPY:
                yield f"line {node.lineno}: {called}"
        elif module == "torch" and function in GLOBAL_TORCH_DRAWS and not owned:
            yield f"line {node.lineno}: {called} without a generator"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_draw_has_a_generator(path):
    assert not list(global_draws(ast.parse(path.read_text())))


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import random", True),
        ("from random import shuffle", True),
        ("np.random.permutation(3)", True),
        ("np.random.seed(0)", True),
        ("np.random.default_rng()", True),
        ("np.random.default_rng(seed)", False),
        ("torch.rand(3)", True),
        ("torch.rand(3, generator=generator)", False),
        ("torch.randn_like(x)", True),
        ("torch.manual_seed(0)", True),
        ("torch.manual_seed(seed_from(seed, 'dropout', epoch))", False),
        ("torch.Generator().manual_seed(0)", False),
        ("torch.nn.init.normal_(weight)", False),
    ],
)
def test_the_check_of_draws(line, found):
    assert bool(list(global_draws(ast.parse(line)))) == found

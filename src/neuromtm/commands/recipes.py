"""`neuromtm recipes`: the configurations of `conf/`, which come with the package, and how commands find them."""

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from neuromtm.errors import ConfigError
from neuromtm.files import read_yaml, write_whole
from neuromtm.regular_files import A_PIPE, is_pipe

CONFIG_OPTIONS = ("--config", "-c")


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """List the shipped recipes, or write them into a folder.

    Args:
        arguments: the command line after the command's name.
        parser: an empty parser with the command's name.

    Raises:
        ConfigError: if the folder holds a file of the same name with other content; nothing is written then.
    """
    parser.add_argument(
        "folder",
        metavar="DIR",
        nargs="?",
        type=Path,
        help="folder to write the recipes into, e.g. conf; without it they are listed",
    )
    folder = parser.parse_args(arguments).folder
    recipes = shipped()
    if folder is not None:
        _write(recipes, folder)
        return
    width = max(map(len, recipes))
    for name, path in recipes.items():
        print(f"{name.ljust(width)}  {_summary(path)}")
    print("\nneuromtm fit --config NAME uses one by its name; neuromtm recipes DIR writes them all into a folder.")


def shipped() -> dict[str, Path]:
    """Name -> file of every shipped recipe, e.g. `model/tiny.yaml`; complete recipes first, then overlays."""
    folder = _shipped_folder()
    files = sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.relative_to(folder).parts), path))
    return {path.relative_to(folder).as_posix(): path for path in files}


def _shipped_folder() -> Path:
    package = Path(__file__).resolve().parents[1]
    installed = package / "recipes"  # setup.cfg puts conf/ there
    # a checkout that is used where it lies, or installed by `pip install --editable`
    return installed if installed.is_dir() else package.parents[1] / "conf"


def with_shipped_recipes(arguments: Sequence[str]) -> list[str]:
    """Replace the name of a shipped recipe by its file, wherever a command line names a configuration.

    A file that exists is taken before a recipe of the same name. A recipe may be named with `conf/` before it.

    Args:
        arguments: a command line.

    Raises:
        ConfigError: if a name is neither that of a file nor that of a recipe.
    """
    replaced = list(arguments)
    for place, value, prefix in _configs(arguments):
        replaced[place] = f"{prefix}{_found(value)}"
    return replaced


def _configs(arguments: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """For each configuration in a command line: its place, its text, and what is before it in the same argument."""
    for place, argument in enumerate(arguments):
        option, joined, value = argument.partition("=")
        if option not in CONFIG_OPTIONS:
            continue
        if joined:
            yield place, value, f"{option}="
        elif place + 1 < len(arguments):
            yield place + 1, arguments[place + 1], ""


def config_texts(arguments: Sequence[str]) -> list[str]:
    """The configurations that a command line names, in their order: files, or YAML itself."""
    return [value for _, value, _ in _configs(arguments)]


def _found(value: str) -> str:
    if _is_file(value):
        _require_yaml(Path(value))
        return value
    if _is_yaml(value):
        return value
    recipes = shipped()
    path = recipes.get(value) or recipes.get(value.removeprefix("conf/"))
    if path is None:
        raise ConfigError(f"--config {value}: {_not_found(value, recipes)}")
    return str(path)


def _not_found(value: str, recipes: Mapping[str, Path]) -> str:
    if Path(value).name in ("config.yaml", "config.test.yaml"):  # of a run, never a recipe
        return "no such file. A run writes its config.yaml when its training starts."
    near = difflib.get_close_matches(value.removeprefix("conf/"), recipes, n=1, cutoff=0.75)
    if near:
        return f"no such file, and no recipe of this name. Did you mean {near[0]}? `neuromtm recipes` lists them all."
    return f"no such file, and no recipe of this name. There are the recipes {', '.join(recipes)}."


def _is_file(value: str) -> bool:
    try:
        return Path(value).exists()  # the parser reports a folder or an unreadable file
    except OSError:  # too long for the name of a file
        return False


def _require_yaml(path: Path) -> None:
    """Name the file of a mistake: the parser knows only the text, and several files may be given."""
    if is_pipe(path):
        raise ConfigError(f"--config {path}: {A_PIPE}. Save what it holds as a file, and name that.")
    try:
        read_yaml(path)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" at line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(f"--config {path}: no valid YAML{where}: {error.problem}.") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"--config {path}: no configuration: {error}.") from error
    except (OSError, UnicodeDecodeError):
        pass  # the parser reports a folder, or a file that cannot be read


def _is_yaml(value: str) -> bool:
    """Whether the text is itself a configuration, which the parser takes in place of a file."""
    try:
        return isinstance(yaml.safe_load(value), dict)
    except (yaml.YAMLError, RecursionError, ValueError):
        return False


def _summary(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("#").strip()


def _write(recipes: dict[str, Path], folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file. Name a folder for the recipes, e.g. neuromtm recipes conf")
    texts = {folder / name: path.read_text(encoding="utf-8") for name, path in recipes.items()}
    there = {path for path in texts if path.exists()}
    other = [path for path in there if not path.is_file() or path.read_bytes() != texts[path].encode()]
    if other:
        names = ", ".join(sorted(str(path.relative_to(folder)) for path in other))
        raise ConfigError(
            f"{folder}: has other files of the same name: {names}. Nothing was written. Name another folder, or move "
            "these files away first."
        )
    try:
        for path, text in texts.items():
            if path not in there:
                write_whole(path, text)
    except OSError as error:
        raise ConfigError(
            f"{folder}: recipes cannot be written there ({error.strerror}). Name a folder that is yours to write to."
        ) from error
    print(f"Recipes: {folder} ({len(texts) - len(there)} written, {len(there)} there already)")

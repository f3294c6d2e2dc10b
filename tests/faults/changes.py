"""Changes of a file that leave it a file of its format: another tree of JSON or YAML, another table, other arrays.

`flips.py` damages bytes. Here a key is missing, a number is a text, a row stands there twice, a dataset is a group.
"""

import codecs
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st


class Change(NamedTuple):
    """What becomes of a good file."""

    what: str
    """in words"""
    is_other: bool
    """whether the file may be another good one; else it must be refused, or be without effect on any number"""
    apply: Callable[[Path], object]
    """changes the file in its place"""


# ---- text of any kind

TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "is empty": lambda text: b"",
    "holds a space alone": lambda text: b" ",
    "begins with a byte order mark": lambda text: codecs.BOM_UTF8 + text,
    "has line ends of Windows": lambda text: text.replace(b"\n", b"\r\n"),
    "has line ends of old Macs": lambda text: text.replace(b"\r\n", b"\n").replace(b"\n", b"\r"),
    "is UTF-16": lambda text: text.decode(errors="replace").encode("utf-16"),
    "is Latin-1 with an umlaut": lambda text: text[: len(text) // 2] + "ä".encode("latin-1") + text[len(text) // 2 :],
    "holds a zero byte": lambda text: text[: len(text) // 2] + b"\0" + text[len(text) // 2 :],
    "stands there twice": lambda text: text + text,
    "ends half-way": lambda text: text[: len(text) // 2],
    "has no line end": lambda text: text.rstrip(b"\r\n"),
    "ends in empty lines": lambda text: text + b"\n\n\n",
}


def texts() -> st.SearchStrategy[Change]:
    """Changes of the bytes of any text file."""
    return st.sampled_from(sorted(TEXTS)).map(
        lambda what: Change(
            what, what == "ends half-way", lambda path: path.write_bytes(TEXTS[what](path.read_bytes()))
        )
    )


# ---- trees: JSON, YAML, the content of a checkpoint

NUMBERS = {
    "minus one": -1, "zero": 0, "a half": 0.5, "10^30": 10**30, "1e308": 1e308, "-1e308": -1e308, "2^31": 2**31,
}  # fmt: skip
NO_NUMBERS = {"NaN": float("nan"), "infinity": float("inf"), "minus infinity": float("-inf")}
OTHER_TYPES: dict[str, Callable[[Any], Any]] = {
    "null": lambda old: None,
    "a text": lambda old: "ab c",
    "its text": lambda old: str(old),
    "true": lambda old: True,
    "a number": lambda old: 7,
    "an empty list": lambda old: [],
    "a list of it": lambda old: [old],
    "an empty mapping": lambda old: {},
    "a mapping with it": lambda old: {"a": old},
    "a list of lists": lambda old: [[[]]],
}
NAMES = {
    "an empty text": "", "unicode": "Mäuse 鼠 🐁", "a path": "../a", "long": "a" * 5000, "markup": "<b>a</b>",
    "a number as text": "1e5",
}  # fmt: skip


def places(tree: Any, place: tuple = ()) -> Iterator[tuple]:
    """Where something stands in a tree: keys and numbers, from the top."""
    yield place
    items = tree.items() if isinstance(tree, Mapping) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    for key, value in items:
        yield from places(value, (*place, key))


def _kind(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        return "number"
    return "text" if isinstance(value, str) else type(value).__name__


@st.composite
def tree_changes(draw: st.DrawFn, tree: Any, *, plain: bool = True) -> tuple[str, bool, Any]:
    """What is changed, whether it may be another good tree, and the tree. The given one stays.

    Args:
        draw: of hypothesis.
        tree: mappings, lists and values.
        plain: whether the tree is JSON, which has no NaN; a YAML file has.
    """
    place = draw(st.sampled_from(sorted(places(tree), key=repr)))
    old = tree
    for key in place:
        old = old[key]
    ways = ["type"]
    if isinstance(old, Mapping):
        ways += ["key", "key"]
    if isinstance(old, (list, tuple)) and old:
        ways += ["twice", "backwards"]
    if _kind(old) == "number":
        ways += ["number", "number", "not finite"]
    if isinstance(old, str):
        ways += ["name", "name"]
    if place:
        ways += ["without", "without"]
    way, at = draw(st.sampled_from(ways)), ".".join(map(str, place)) or "all of it"
    if way == "without":
        return f"no {at}", True, _put(tree, place, _GONE)
    if way == "key":
        return f"{at} has one key more", True, _put(tree, place, {**old, "unheard of": 1})
    if way == "twice":
        return f"{at} has an entry twice", True, _put(tree, place, [*old, old[0]])
    if way == "backwards":
        return f"{at} goes backwards", True, _put(tree, place, [*old][::-1])
    table = {"number": NUMBERS, "not finite": NO_NUMBERS, "name": NAMES}.get(way)
    if table is not None:
        name = draw(st.sampled_from(sorted(table)))
        return f"{at} is {name}", way != "not finite", _put(tree, place, table[name])
    kinds = [name for name, make in OTHER_TYPES.items() if _kind(make(old)) != _kind(old)]
    name = draw(st.sampled_from(kinds))
    return f"{at} is {name}", False, _put(tree, place, OTHER_TYPES[name](old))


_GONE = object()


def _put(tree: Any, place: tuple, value: Any) -> Any:
    if not place:
        return value
    first, *rest = place
    items = dict(tree) if isinstance(tree, Mapping) else dict(enumerate(tree))
    items[first] = _put(items[first], tuple(rest), value)
    if items[first] is _GONE:
        del items[first]
    return items if isinstance(tree, Mapping) else list(items.values())


def json_changes(path: Path) -> st.SearchStrategy[Change]:
    """Changes of a JSON file."""
    trees = tree_changes(json.loads(path.read_text(encoding="utf-8")))
    return st.one_of(
        trees.map(lambda made: Change(*made[:2], lambda file: file.write_text(json.dumps(made[2]), encoding="utf-8"))),
        trees.map(lambda made: Change(*made[:2], lambda file: file.write_text(json.dumps(made[2]), encoding="utf-8"))),
        texts(),
    )


def yaml_changes(path: Path) -> st.SearchStrategy[Change]:
    """Changes of a YAML file."""
    import yaml

    trees = tree_changes(yaml.safe_load(path.read_text(encoding="utf-8")))

    def change(made: tuple[str, bool, Any]) -> Change:
        return Change(*made[:2], lambda file: file.write_text(yaml.safe_dump(made[2], allow_unicode=True), "utf-8"))

    return st.one_of(trees.map(change), trees.map(change), texts())


# ---- tables

CELLS = {
    "nothing": "", "nan": "nan", "inf": "inf", "-inf": "-inf", "1e308": "1e308", "-1": "-1", "0.5": "0.5",
    "a word": "abc", "a decimal comma": "1,5", "true": "true", "unicode": "Mäuse 鼠", "a long word": "a" * 200_000,
    "1_0": "1_0", "an Arabic digit": "٣", "a formula": "=1+1", "markup": "<b>a</b>", "2^63": str(2**63),
    "a superscript": "²",
}  # fmt: skip
OF_TABLES = (
    "cell", "cell", "cell", "cell", "column gone", "column twice", "column renamed", "columns swapped", "row gone",
    "row twice", "row longer", "row shorter", "row empty", "no rows", "no names", "quote", "semicolons", "tabs",
    "numbers in quotes", "names in capitals",
)  # fmt: skip
HARMLESS_CELLS = {"0.5", "-1"}


@st.composite
def table_changes(draw: st.DrawFn, path: Path, *, delimiter: str = ",") -> Change:
    """Changes of a table with one line of names."""
    if draw(st.integers(0, 3)) == 0:
        return draw(texts())
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file, delimiter=delimiter)
    way = draw(st.sampled_from(OF_TABLES))
    row, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, len(names) - 1))
    name, is_other, text = names[column], True, None
    table = [names[:], *(one[:] for one in rows)]
    what = f"{way}: {name}, row {row + 2}"
    match way:
        case "cell":
            cell = draw(st.sampled_from(sorted(CELLS)))
            table[row + 1][column] = CELLS[cell]
            what, is_other = f"{name} is {cell} in row {row + 2}", True
        case "column gone":
            table = [line[:column] + line[column + 1 :] for line in table]
        case "column twice":
            table, is_other = [[*line, line[column]] for line in table], False
        case "column renamed":
            table[0][column] = "unheard of"
        case "columns swapped":
            table = [[*line[column + 1 :], *line[: column + 1]] for line in table]
            is_other = False
        case "row gone":
            del table[row + 1]
        case "row twice":
            table.append(table[row + 1])
        case "row longer":
            table[row + 1], is_other = [*table[row + 1], "1"], False
        case "row shorter":
            table[row + 1], is_other = table[row + 1][:-1], False
        case "row empty":
            table[row + 1], is_other = [""] * len(names), True
        case "no rows":
            table = table[:1]
        case "no names":
            table = table[1:]
        case "quote":
            table[row + 1][column], is_other = table[row + 1][column] + '"', True
            text = "\n".join(delimiter.join(line) for line in table) + "\n"
        case "semicolons":
            text, is_other = _table_text(table, ";"), False
        case "tabs":
            text, is_other = _table_text(table, "\t"), False
        case "numbers in quotes":
            text = "\n".join(delimiter.join(f'"{cell}"' for cell in line) for line in table) + "\n"
            is_other = False
        case "names in capitals":
            table[0] = [name.upper() for name in names]
    made = _table_text(table, delimiter) if text is None else text
    return Change(what, is_other, lambda file: file.write_text(made, encoding="utf-8", newline=""))


def _table_text(table: list[list[str]], delimiter: str) -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator="\n").writerows(table)
    return text.getvalue()

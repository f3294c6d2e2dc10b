"""Changes of files of arrays, npy, npz and HDF5, that leave them files of their format."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import strategies as st

from tests.faults.changes import TEXTS, Change

# ---- arrays


def _element(value: object) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        fits = isinstance(value, float) and values.dtype.kind in "iub"
        changed = values.astype(np.float64) if fits else values.copy()
        with np.errstate(all="ignore"):
            changed.reshape(-1)[changed.size // 2 : changed.size // 2 + 1] = value
        return changed

    return change


def _whole(value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        kind = values.dtype
        limits = (np.iinfo(kind).min, np.iinfo(kind).max) if kind.kind in "iu" else (value, value)
        return _element(kind.type(np.clip(value, *limits)))(values)

    return change


def _as_text(values: np.ndarray) -> np.ndarray:
    return values.astype(str).astype("S") if values.dtype.kind not in "SO" else np.zeros(values.shape)


ARRAYS: dict[str, tuple[bool, Callable[[np.ndarray], np.ndarray]]] = {
    "is of float16": (True, lambda v: v.astype(np.float16)),
    "is of float32": (True, lambda v: v.astype(np.float32)),
    "is of float64": (True, lambda v: v.astype(np.float64)),
    "is of int8": (True, lambda v: v.astype(np.int8)),
    "is of int64": (True, lambda v: v.astype(np.int64)),
    "is of uint64": (True, lambda v: v.astype(np.uint64)),
    "has the other byte order": (False, lambda v: v.astype(v.dtype.newbyteorder(">"))),
    "is of bool": (True, lambda v: v.astype(bool)),
    "is of complex numbers": (False, lambda v: v.astype(complex)),
    "is of texts or of numbers": (False, _as_text),
    "has one axis more": (False, lambda v: v[..., None]),
    "has one axis more in front": (False, lambda v: v[None]),
    "is one value": (False, lambda v: v.reshape(-1)[0]),
    "has one entry less": (False, lambda v: v[:-1]),
    "has one entry more": (False, lambda v: np.concatenate([v, v[-1:]])),
    "has no entry": (False, lambda v: v[:0]),
    "goes backwards": (True, lambda v: v[::-1].copy()),
    "has a NaN": (True, _element(np.nan)),
    "has an infinity": (True, _element(np.inf)),
    "has a minus infinity": (True, _element(-np.inf)),
    "has 1e300": (True, _element(1e300)),
    "has -1e300": (True, _element(-1e300)),
    "has -1": (True, _whole(-1)),
    "has -128 or what is smallest": (True, _whole(-128)),
    "has 10^9 or what is largest": (True, _whole(10**9)),
    "has 2^62 or what is largest": (True, _whole(2**62)),
    "has a half": (True, _element(0.5)),
    "is all zeros": (True, lambda v: np.zeros_like(v)),
    "is all NaN": (True, lambda v: np.full(v.shape, np.nan)),
    "is all the same": (True, lambda v: np.broadcast_to(v.reshape(-1)[0], v.shape).copy()),
}
OF_TEXTS: dict[str, tuple[bool, Callable[[np.ndarray], np.ndarray]]] = {
    "has an empty text": (True, _element(b"")),
    "has unicode": (True, _element("Mäuse 鼠".encode())),
    "has bytes that are no UTF-8": (False, _element(b"\xff\xfe\x00a")),
    "has a long text": (True, lambda v: _element(b"a" * 70_000)(v.astype("S70000"))),
    "has the first text twice": (True, lambda v: _element(v.reshape(-1)[0])(v)),
    "has markup": (True, lambda v: _element(b"<b>a</b>")(v.astype("S100"))),
}
NUMBERS_ALONE = {"is of complex numbers", "is all NaN"}


def array_ways(values: np.ndarray) -> dict[str, tuple[bool, Callable[[np.ndarray], np.ndarray]]]:
    """The changes that make sense of an array."""
    if np.ndim(values) == 0 or values.size == 0:
        return {}
    if values.dtype.kind in "SUO":
        shape = {
            n: c for n, c in ARRAYS.items() if "axis" in n or "entry" in n or n in ("is one value", "goes backwards")
        }
        return shape | {"is of texts or of numbers": ARRAYS["is of texts or of numbers"]} | OF_TEXTS
    return ARRAYS


@st.composite
def npy_changes(draw: st.DrawFn, path: Path) -> Change:
    """Changes of an npy or npz file."""
    if draw(st.integers(0, 9)) == 0:
        how = draw(st.sampled_from(["is empty", "ends half-way", "holds a space alone"]))
        return Change(how, False, lambda file: file.write_bytes(TEXTS[how](file.read_bytes())))
    arrays = dict(np.load(path)) if path.suffix == ".npz" else {"": np.load(path)}
    name = draw(st.sampled_from(sorted(arrays)))
    if name and (way := draw(st.sampled_from(["change"] * 8 + ["gone", "more"]))) != "change":
        changed = (
            {**arrays, "unheard of": np.zeros(3)} if way == "more" else {n: v for n, v in arrays.items() if n != name}
        )
        return Change(f"{name or 'an array'} is {way}", way == "gone", lambda file: np.savez(file, **changed))
    ways = array_ways(arrays[name])
    what = draw(st.sampled_from(sorted(ways)))
    is_other, change = ways[what]
    is_other |= name == "values" and "axis" in what  # of a trace: one of several variables
    with np.errstate(all="ignore"):
        arrays[name] = change(arrays[name])
    if name:
        return Change(f"{name} {what}", is_other, lambda file: np.savez(file, **arrays))
    return Change(what, is_other, lambda file: np.save(file, arrays[""]))


# ---- HDF5

OF_ITEMS = ("change",) * 8 + ("gone", "gone", "kind", "attribute", "attribute", "attribute", "more")
ATTRIBUTES: dict[str, Callable[[Any], Any]] = {
    "is a text": lambda old: "ab c",
    "is an empty text": lambda old: "",
    "is a number": lambda old: 7,
    "is NaN": lambda old: np.nan,
    "is infinite": lambda old: np.inf,
    "is -1": lambda old: -1,
    "is 1e300": lambda old: 1e300,
    "is a list": lambda old: [old, old] if np.ndim(old) == 0 and not isinstance(old, h5py.Empty) else [1.0, 2.0, 3.0],
    "is an array without entries": lambda old: np.zeros(0),
    "is nothing": lambda old: h5py.Empty("f8"),
    "is bytes that are no UTF-8": lambda old: np.bytes_(b"\xff\xfea"),
    "is broken JSON": lambda old: "{",
    "is a list in JSON": lambda old: "[1]",
    "is unicode": lambda old: "Mäuse 鼠",
    "is a reference": lambda old: h5py.Reference(),
}


@st.composite
def hdf5_changes(draw: st.DrawFn, path: Path) -> Change:
    """Changes of what an HDF5 file holds."""
    names, about = [], [""]
    with h5py.File(path, "r", locking=False) as file:
        file.visit(lambda name: names.append(name) or about.append(name))
        way = draw(st.sampled_from(OF_ITEMS))
        if way == "attribute":
            owner = draw(st.sampled_from(sorted(name for name in about if len((file[name] if name else file).attrs))))
            attribute = draw(st.sampled_from(sorted((file[owner] if owner else file).attrs)))
            how = draw(st.sampled_from(["is missing", *sorted(ATTRIBUTES)]))
            what = f"the attribute {attribute} of {owner or 'the file'} {how}"
            return Change(what, True, lambda file: _change_attribute(file, owner, attribute, how))
        name = draw(st.sampled_from(sorted(names)))
        is_group = isinstance(file[name], h5py.Group)
        if way == "change" and is_group:
            way = "gone"
        if way != "change":
            what = {"gone": f"no {name}", "kind": f"{name} is a {'dataset' if is_group else 'group'}"}
            is_other = way != "kind"
            return Change(
                what.get(way, f"{name} has a neighbour"), is_other, lambda file: _change_item(file, name, way)
            )
        ways = array_ways(file[name][()]) if file[name].dtype.names is None else {}
        if not ways:
            return Change(f"no {name}", True, lambda file: _change_item(file, name, "gone"))
        what = draw(st.sampled_from(sorted(ways)))
    is_other = ways[what][0] or name.startswith("splits/")  # of which trials a split consists is the writer's choice
    return Change(f"{name} {what}", is_other, lambda file: _replace(file, name, ways[what][1]))


def _change_attribute(path: Path, owner: str, attribute: str, how: str) -> None:
    with h5py.File(path, "r+", locking=False) as file:
        attributes = (file[owner] if owner else file).attrs
        old = attributes[attribute]
        del attributes[attribute]
        if how == "is a reference":
            attributes.create(attribute, file.ref, dtype=h5py.ref_dtype)
        elif how != "is missing":
            attributes[attribute] = ATTRIBUTES[how](old)


def _change_item(path: Path, name: str, way: str) -> None:
    with h5py.File(path, "r+", locking=False) as file:
        was_group = isinstance(file[name], h5py.Group)
        parent = name.rpartition("/")[0]
        if way == "more":
            file[f"{parent}/unheard_of"] = np.arange(3.0)
            return
        del file[name]
        if way == "kind" and was_group:
            file[name] = np.arange(3.0)
        elif way == "kind":
            file[f"{name}/inner"] = np.arange(3.0)


def _replace(path: Path, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with h5py.File(path, "r+", locking=False) as file:
        old = file[name]
        about, chunks, checked = dict(old.attrs), old.chunks, old.fletcher32
        with np.errstate(all="ignore"):
            made = change(old[()])
        del file[name]
        same = chunks is not None and np.ndim(made) == len(chunks) and np.size(made)
        kept = {"chunks": tuple(map(min, chunks, made.shape)), "fletcher32": checked} if same else {}
        if np.asarray(made).dtype.kind == "O":
            kept["dtype"] = h5py.string_dtype()
        file.create_dataset(name, data=made, **kept)
        for key, value in about.items():
            file[name].attrs[key] = value

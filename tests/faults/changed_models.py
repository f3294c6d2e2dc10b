"""Changes of what checkpoints and saved weights hold."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.faults.changed_arrays import array_ways
from tests.faults.changes import Change, tree_changes


@st.composite
def checkpoint_changes(draw: st.DrawFn, path: Path) -> Change:
    """Changes of the content of a checkpoint."""
    content = torch.load(path, weights_only=True)
    part = draw(st.sampled_from(["record"] * 4 + ["weights"] * 3 + ["training"] * 3 + ["all"]))
    if part == "weights":
        what, is_other, weights = draw(_tensors(content["state_dict"]))
        changed = content | {"state_dict": weights}
    elif part == "record":
        what, is_other, record = draw(tree_changes(content["neuromtm"]))
        changed = content | {"neuromtm": record}
    else:
        rest = {name: value for name, value in content.items() if name not in ("state_dict", "neuromtm")}
        what, is_other, rest = draw(tree_changes(rest if part == "training" else content))
        changed = content | rest if part == "training" and isinstance(rest, dict) else rest
        if part == "training" and isinstance(rest, dict):
            changed = {
                name: value for name, value in changed.items() if name in rest or name in ("state_dict", "neuromtm")
            }
    return Change(f"{part}: {what}", is_other, lambda file: torch.save(changed, file))


@st.composite
def _tensors(draw: st.DrawFn, weights: Mapping[str, torch.Tensor]) -> tuple[str, bool, dict[str, torch.Tensor]]:
    name = draw(st.sampled_from(sorted(weights)))
    way = draw(st.sampled_from(["gone", "twice", "renamed", "change", "change", "change", "change", "change"]))
    if way == "gone":  # tokens of prompts that are newer than a checkpoint are missing in it
        return (
            f"no {name}",
            ".prompts." in name or name.startswith("prompts."),
            {n: w for n, w in weights.items() if n != name},
        )
    if way == "twice":
        return f"{name} is there by another name too", True, {**weights, f"{name}.more": weights[name].clone()}
    if way == "renamed":
        return f"{name} has another name", False, {(f"{n}x" if n == name else n): w for n, w in weights.items()}
    ways = array_ways(weights[name].numpy())
    if not ways:
        return f"no {name}", False, {n: w for n, w in weights.items() if n != name}
    none_of_torch = {"is of texts or of numbers", "has the other byte order", "is of complex numbers"}
    what = draw(st.sampled_from(sorted(set(ways) - none_of_torch)))
    with np.errstate(all="ignore"):
        made = torch.from_numpy(np.ascontiguousarray(ways[what][1](weights[name].numpy())))
    return f"{name} {what}", ways[what][0], {**weights, name: made}


def safetensors_changes(path: Path) -> st.SearchStrategy[Change]:
    """Changes of saved weights."""
    return _tensors(load_file(path)).map(lambda made: Change(*made[:2], lambda file: save_file(made[2], file)))

"""All that the commands and the Python interface read of shards, manifests, checkpoints and saved models."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

import neuromtm
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import read_manifest
from neuromtm.decoding.targets import target_names, target_of
from neuromtm.training.checkpoint import glance_at_checkpoint
from neuromtm.training.checkpoint_bytes import SMALL_BYTES
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO

Kind = Literal["shard", "manifest", "checkpoint", "saved model"]


class Good(NamedTuple):
    """Whole files."""

    data: Path
    """folder of shards"""
    checkpoint: Path
    saved: Path
    """folder of a saved model"""
    config: Path | None = None
    """of the training, for the commands"""


def _of_data(root: Path, cache_: Literal["memory", "none"]) -> Iterator[Any]:
    """All that a training, a test and a prediction read of the data."""
    data = SessionDataModule(root=str(root), role="all", batch_size=4, cache=cache_)
    data.setup("fit")
    yield data.headers
    for eid, header in data.headers.items():
        yield data.fingerprint(eid), data.statistics(eid), data.trial_average(eid), data.choice(eid)
        yield [data.behavior(eid, name) for name in header.behaviors]
        yield [target_of(data, eid, name) for name in target_names(header)]
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        yield [[vars(group) for group in batch.groups] for batch in loader]
    data.teardown("fit")


def _sessions(root: Path) -> Iterator[Any]:
    sessions = neuromtm.Sessions(root)
    yield sessions.table()
    yield [vars(sessions[eid]) for eid in sessions]


def _glance(path: Path) -> dict[str, Any]:
    """What is read of a checkpoint whose weights are not: all but large tensors."""
    return _without_weights(glance_at_checkpoint(path))


def _without_weights(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_weights(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_weights(item) for item in value]
    return value.shape if isinstance(value, torch.Tensor) and value.nbytes > SMALL_BYTES else value


def _model(path: Path) -> list[Any]:
    model = neuromtm.load(path)
    return [model.record, model.metrics, dict(model.stitched.state_dict())]


READINGS: dict[str, tuple[tuple[Kind, ...], Callable[[Good], Any]]] = {
    "fit, test, predict": (("shard", "manifest"), lambda files: list(_of_data(files.data, "memory"))),
    "the same from the files": (("shard", "manifest"), lambda files: list(_of_data(files.data, "none"))),
    "Sessions": (("shard", "manifest"), lambda files: list(_sessions(files.data))),
    "the list of sessions": (("manifest",), lambda files: read_manifest(files.data)),
    "going on, fine-tuning, test": (
        ("checkpoint",),
        lambda files: WholeFileCheckpointIO().load_checkpoint(files.checkpoint),
    ),
    "whether a training is finished": (("checkpoint",), lambda files: _glance(files.checkpoint)),
    "load of a checkpoint": (("checkpoint",), lambda files: _model(files.checkpoint)),
    "load of a saved model": (("saved model",), lambda files: _model(files.saved)),
}
"""name -> the kinds of files that it reads, and the reading"""


def digest(value: Any) -> str:
    """A hash of every bit of a tree of values."""
    found = hashlib.sha256()
    for part in _parts(value):
        found.update(len(part).to_bytes(8, "little") + part)
    return found.hexdigest()


def _parts(value: Any) -> Iterator[bytes]:
    if isinstance(value, torch.Tensor):
        value = value.detach().contiguous().numpy()
    if isinstance(value, np.ndarray):
        yield repr((value.dtype, value.shape)).encode()
        yield value.tobytes() if value.dtype != object else repr(value.tolist()).encode()
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield repr(key).encode()
            yield from _parts(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield field.name.encode()
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        yield repr((type(value).__name__, len(value))).encode()
        for item in value:
            yield from _parts(item)
    else:
        yield repr(value).encode()

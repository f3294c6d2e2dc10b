"""A model as a folder: model.safetensors, config.json and a model card. Nothing in it is ever executed."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from neuromtm import __version__
from neuromtm.errors import CheckpointError
from neuromtm.evaluation.results import Metrics, metrics_problem
from neuromtm.files import hash_of, sha256, whole_file, whole_folder, write_whole
from neuromtm.models.stitching import StitchedModel
from neuromtm.regular_files import regular_text
from neuromtm.training.checkpoint import KEY, MODEL_PREFIX, CheckpointRecord

FORMAT = "neuromtm-model"
FORMAT_VERSION = 1
WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
CARD_FILE = "README.md"
DIGEST = "config_sha256"
"""field of config.json: checksum of all its other fields, among them that of the weights. It finds accidents, and not
an attacker, who can compute it too."""


class Saved(NamedTuple):
    """What a saved folder holds."""

    checkpoint: dict[str, Any]
    """weights and record, as `load_checkpoint` gives them"""
    metrics: Metrics | None


def is_saved_model(folder: Path) -> bool:
    """Whether a folder looks like one that `save_model` wrote."""
    return (folder / CONFIG_FILE).is_file() or (folder / WEIGHTS_FILE).is_file()


def save_model(
    folder: Path, model: StitchedModel, record: CheckpointRecord, *, metrics: Metrics | None, card: str
) -> None:
    """Write a model, whole or not at all.

    Args:
        folder: new, or empty.
        model: model with its weights.
        record: its architecture, sessions and objective.
        metrics: metrics of its test; None if it was not tested.
        card: text of README.md.

    Raises:
        UserError: if the folder holds anything.
    """
    with whole_folder(folder) as new:
        # copies, because safetensors refuses weights that share memory
        weights = {name: value.detach().cpu().clone().contiguous() for name, value in model.state_dict().items()}
        with whole_file(new / WEIGHTS_FILE) as temporary:
            save_file(weights, temporary, metadata={"format": "pt"})
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "neuromtm_version": __version__,
            "weights_sha256": sha256(new / WEIGHTS_FILE),
            "model": record.to_plain(),
            "metrics": metrics,
        }
        config[DIGEST] = _digest(config)
        write_whole(new / CONFIG_FILE, json.dumps(config, indent=1, allow_nan=False) + "\n")
        write_whole(new / CARD_FILE, card)


def _digest(config: Mapping[str, Any]) -> str:
    """The SHA-256 of all other fields, as JSON without regard to the order and the spaces."""
    return hash_of(json.loads(json.dumps({name: value for name, value in config.items() if name != DIGEST})))


def read_saved(folder: Path) -> Saved:
    """Read what `save_model` wrote.

    Raises:
        CheckpointError: if a file is missing, damaged or of another format or version.
    """
    config, path = _config(folder), folder / WEIGHTS_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {WEIGHTS_FILE} beside {CONFIG_FILE}. Copy the whole folder again.")
    # safetensors has no checksum: a damaged weight would load unnoticed
    if sha256(path) != config.get("weights_sha256"):
        raise CheckpointError(
            f"{path}: not the weights that {CONFIG_FILE} was written for; the file is damaged, cut short or replaced. "
            "Copy the whole folder again."
        )
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error}). Copy it again.") from error
    state_dict = {f"{MODEL_PREFIX}{name}": value for name, value in weights.items()}
    return Saved({KEY: config.get("model"), "state_dict": state_dict}, config.get("metrics"))


def _config(folder: Path) -> Mapping[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise CheckpointError(f"{folder}: no {CONFIG_FILE} beside {WEIGHTS_FILE}. Copy the whole folder again.")
    try:
        config = json.loads(regular_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not readable ({error}). Copy the whole folder again.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise CheckpointError(f"{folder}: its {CONFIG_FILE} is not one of neuromtm. Name a folder of Model.save.")
    if config.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder}: format version {config.get('format_version')!r}, but this program reads {FORMAT_VERSION}. Use "
            f"the version of neuromtm that wrote it, {config.get('neuromtm_version')}."
        )
    if _digest(config) != config.get(DIGEST):
        raise CheckpointError(f"{path}: was changed since it was saved. Copy the whole folder again.")
    if not _is_metrics(config.get("metrics")):
        raise CheckpointError(f"{path}: its metrics are not those of a test. Copy the whole folder again.")
    return config


def _is_metrics(value: Any) -> bool:
    if value is None:
        return True
    try:
        return set(value) == {"sessions", "mean"} and metrics_problem(value) is None
    except (KeyError, TypeError, AttributeError):
        return False

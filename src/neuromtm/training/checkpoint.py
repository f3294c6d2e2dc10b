"""The checkpoint's record of itself, in plain types, so that it opens without the data and with `weights_only`."""

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuromtm.batch import SessionInfo
from neuromtm.errors import CheckpointError, ConfigError
from neuromtm.files import whole_file
from neuromtm.masking.objective import FORMER_OPTIONS, Objective
from neuromtm.models.blocks import Prompts
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import StitchedModel, module_key
from neuromtm.training.architecture import first_line, make_backbone
from neuromtm.training.checkpoint_bytes import require_whole
from neuromtm.training.record_fields import plain_session, record_problems, session_of
from neuromtm.training.training_fields import training_problems

KEY = "neuromtm"
FORMAT_VERSION = 1
MODEL_PREFIX = "model."
"""of the names of all weights in a checkpoint"""
BACKBONE_PREFIX = f"{MODEL_PREFIX}backbone."


@dataclass(frozen=True)
class CheckpointRecord:
    """What a checkpoint says about its model."""

    class_path: str
    """full name of the backbone's class"""
    options: dict[str, Any]
    """the backbone's constructor arguments"""
    sessions: tuple[SessionInfo, ...]
    n_bins: int
    bin_size_s: float
    objective: Objective = field(default_factory=Objective)
    """the masking that the model was trained with"""
    trials: Mapping[str, str] = field(default_factory=dict)
    """eid -> fingerprint of the session's trials and splits"""
    batches: Mapping[str, int | float | str] = field(default_factory=dict)
    """the options that decide which trials, masks and learning rate a step gets. Checkpoints of older versions have
    fewer."""
    decoder: Mapping[str, Any] | None = None
    """the behaviour it decodes and how, if it is a decoder"""
    subjects: Mapping[str, str] = field(default_factory=dict)
    """eid -> subject of every session that the shared weights have learned from: `sessions`, and before them those of
    the pretraining. Empty in checkpoints of older versions."""

    @classmethod
    def of(
        cls,
        model: StitchedModel,
        *,
        n_bins: int,
        bin_size_s: float,
        objective: Objective,
        trials: Mapping[str, str],
        batches: Mapping[str, int | float | str],
        decoder: Mapping[str, Any] | None = None,
        subjects: Mapping[str, str],
    ) -> "CheckpointRecord":
        """Describe a model and its training; the arguments are the fields."""
        backbone, sessions = model.backbone, tuple(model.sessions.values())
        return cls(
            backbone.class_path,
            backbone.options,
            sessions,
            n_bins,
            bin_size_s,
            objective,
            dict(trials),
            dict(batches),
            decoder,
            dict(subjects),
        )

    def to_plain(self) -> dict[str, Any]:
        """The record in types that `torch.load(weights_only=True)` accepts."""
        return {
            "format_version": FORMAT_VERSION,
            "backbone": {"class_path": self.class_path, "init_args": dict(self.options)},
            "sessions": [plain_session(session) for session in self.sessions],
            "n_bins": self.n_bins,
            "bin_size_s": self.bin_size_s,
            "objective": asdict(self.objective) | {"schemes": list(self.objective.schemes)},
            "trials": dict(self.trials),
            "batches": dict(self.batches),
            "decoder": None if self.decoder is None else dict(self.decoder),
            "subjects": dict(self.subjects),
        }

    @classmethod
    def from_checkpoint(cls, checkpoint: Mapping[str, Any], *, name: str) -> "CheckpointRecord":
        """Read a loaded checkpoint's record.

        Args:
            checkpoint: as loaded by torch.
            name: name of the file, for messages.

        Raises:
            CheckpointError: if it is no checkpoint of neuromtm, or of another version.
        """
        plain = checkpoint.get(KEY) if isinstance(checkpoint, Mapping) else None
        if not isinstance(plain, Mapping):
            raise CheckpointError(f"{name}: not a checkpoint of neuromtm; it has no entry {KEY!r}.")
        if plain.get("format_version") != FORMAT_VERSION:
            raise CheckpointError(
                f"{name}: checkpoint format version {plain.get('format_version')!r}, but this program reads "
                f"{FORMAT_VERSION}. Use the version of neuromtm that wrote it."
            )
        if problems := record_problems(plain):
            raise CheckpointError(f"{name}: its entry {KEY!r} is not whole: {'; '.join(problems)}. Use another one.")
        try:
            objective = Objective(**{**FORMER_OPTIONS, **plain["objective"]})
        except (TypeError, ConfigError) as error:
            raise CheckpointError(f"{name}: its entry {KEY!r} is not whole ({error}). Use another one.") from error
        return cls(
            plain["backbone"]["class_path"],
            plain["backbone"]["init_args"],
            tuple(map(session_of, plain["sessions"])),
            plain["n_bins"],
            plain["bin_size_s"],
            objective,
            plain["trials"],
            plain["batches"],
            plain.get("decoder"),
            plain.get("subjects", {}),
        )

    def build_backbone(self, *, name: str) -> Backbone:
        """Rebuild the architecture, with untrained weights; see `make_backbone`.

        Args:
            name: name of the file, for messages.

        Raises:
            CheckpointError: if it cannot be found or made, or is of a package that was not imported.
        """
        return make_backbone(self.class_path, self.options, name=name)

    def require_masked_model(self, *, name: str) -> None:
        """Refuse the checkpoint of a decoder.

        Raises:
            CheckpointError: if it is one.
        """
        if self.decoder is not None:
            raise CheckpointError(
                f"{name}: a decoder of {self.decoder.get('target')!r}, not a masked model. Use it with the "
                "config.yaml of its own run; to train its encoder further, give it as --model.pretrained."
            )

    def require_bin_size(self, bin_size_s: float, *, name: str) -> None:
        """Refuse data of other bins than the model was trained on.

        Raises:
            CheckpointError: naming both widths.
        """
        if self.bin_size_s != bin_size_s:
            raise CheckpointError(
                f"{name}: trained on bins of {self.bin_size_s} s, but the data have bins of {bin_size_s} s. "
                "Prepare the data again with that bin size."
            )

    def require_backbone(self, backbone: Backbone, *, name: str) -> None:
        """Check that the checkpoint's architecture is the given one.

        Raises:
            CheckpointError: naming every difference.
        """
        if self.class_path != backbone.class_path:
            raise CheckpointError(
                f"{name}: holds a model of another class, {self.class_path}, but model.backbone is "
                f"{backbone.class_path}. Leave model.backbone out to take the checkpoint's."
            )
        mine, theirs = backbone.options, {**backbone.former_options, **self.options}
        differing = [
            f"{option} {theirs.get(option)!r} there and {mine.get(option)!r} here"
            for option in sorted(set(mine) | set(theirs))
            if theirs.get(option) != mine.get(option)
        ]
        if differing:
            raise CheckpointError(
                f"{name}: holds another model: {'; '.join(differing)}. Leave model.backbone out to take the "
                "checkpoint's."
            )


def write_checkpoint(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    Args:
        path: its file.
        checkpoint: tensors and plain types.
    """
    # given an open file, torch keeps the reason why it could not be written
    with whole_file(path) as temporary, temporary.open("wb") as file:
        torch.save(checkpoint, file)


def load_checkpoint(path: Path | str) -> dict[str, Any]:
    """Load a checkpoint onto the CPU without running anything that it holds.

    Raises:
        CheckpointError: if it is missing, damaged or without weights, or holds more than tensors and plain types.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(_absence(path))
    require_whole(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch's own message advises to switch this protection off
        raise CheckpointError(
            f"{path}: not a checkpoint of neuromtm; it holds more than tensors and plain types."
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError, AttributeError, ImportError, IndexError) as error:
        raise CheckpointError(f"{path}: not a readable checkpoint, perhaps cut short ({first_line(error)}).") from error
    if isinstance(checkpoint, Mapping) and KEY in checkpoint and not isinstance(checkpoint.get("state_dict"), Mapping):
        raise CheckpointError(f"{path}: not a checkpoint of neuromtm; it has no weights, no entry 'state_dict'.")
    return checkpoint


def glance_at_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint for what it says of its training; its weights are neither read nor checked.

    Raises:
        CheckpointError: if it is damaged or no checkpoint of neuromtm.
    """
    try:
        require_whole(path, large=False)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:
        checkpoint = load_checkpoint(path)  # which finds the sentence for it
    CheckpointRecord.from_checkpoint(checkpoint, name=str(path))
    require_training_fields(checkpoint, name=str(path))
    return checkpoint


def require_training_fields(checkpoint: Mapping[str, Any], *, name: str) -> None:
    """Refuse a checkpoint from which no training can go on.

    Raises:
        CheckpointError: naming what is wrong with the states of the training.
    """
    if problems := training_problems(checkpoint):
        raise CheckpointError(f"{name}: not a whole checkpoint: {'; '.join(problems[:3])}. Use another one.")


def _absence(path: Path) -> str:
    """Why there is no file of this name, and what to give instead."""
    if path.is_dir():
        best = path / "best.ckpt" if path.name == "checkpoints" else path / "checkpoints" / "best.ckpt"
        return f"{path}: is a folder, not a checkpoint. Give a file in it, e.g. {best}."
    last = path.with_name("last.ckpt")
    if path.name == "best.ckpt" and last.is_file():
        return f"{path}: no such checkpoint, because the training ended before its first validation. Use {last}."
    return f"{path}: no such checkpoint."


def _weights(checkpoint: Mapping[str, Any], prefix: str) -> dict[str, Tensor]:
    weights = checkpoint["state_dict"]
    return {k.removeprefix(prefix): v for k, v in weights.items() if str(k).startswith(prefix)}


def load_backbone(backbone: Backbone, checkpoint: Mapping[str, Any], *, name: str) -> list[str]:
    """Give a backbone the shared weights of a loaded checkpoint.

    Args:
        backbone: one of the checkpoint's architecture; its weights are replaced.
        checkpoint: as loaded.
        name: name of the file, for messages.

    Returns:
        The masking schemes that are newer than the checkpoint. Their prompt tokens stay untrained.

    Raises:
        CheckpointError: naming weights that are missing, unknown or of another shape.
    """
    weights, mine = _weights(checkpoint, BACKBONE_PREFIX), backbone.state_dict()
    new = _new_prompts(backbone, weights, name=name)
    untrained = {key: mine[key] for key in (f"{place}.{scheme}" for place, scheme in new)}
    _load(backbone, {**weights, **untrained}, name=name)
    return [scheme for _, scheme in new]


def drop_new_prompts(backbone: Backbone, checkpoint: Mapping[str, Any], *, name: str) -> list[str]:
    """Remove a backbone's prompt tokens of masking schemes that are newer than a loaded checkpoint.

    The backbone then has the weights that the checkpoint has, so that the optimiser's state fits them too. The
    checkpoint's model was not trained with these schemes and never asks for their tokens.

    Args:
        backbone: one of the checkpoint's architecture; it is changed.
        checkpoint: as loaded.
        name: name of the file, for messages.

    Returns:
        The masking schemes whose tokens were removed.

    Raises:
        CheckpointError: if the checkpoint has the token of a scheme that is not known.
    """
    new = _new_prompts(backbone, _weights(checkpoint, BACKBONE_PREFIX), name=name)
    for place, scheme in new:
        prompts = backbone.get_submodule(place)
        assert isinstance(prompts, Prompts)
        del prompts[scheme]
    return [scheme for _, scheme in new]


def _new_prompts(backbone: Backbone, weights: Mapping[str, Tensor], *, name: str) -> list[tuple[str, str]]:
    """The place of a backbone's prompts and a scheme, for each scheme that is missing in the weights."""
    new, unknown = [], []
    for place, prompts in backbone.named_modules():
        if isinstance(prompts, Prompts):
            stored = [key.removeprefix(f"{place}.") for key in weights if key.startswith(f"{place}.")]
            unknown += [scheme for scheme in stored if scheme not in prompts]
            # without any token it is another model: `_load` says so
            new += [(place, scheme) for scheme in prompts if stored and scheme not in stored]
    if unknown:
        raise CheckpointError(
            f"{name}: has a prompt token of the masking scheme {', '.join(unknown)}, which this program does not have. "
            "Use the version of neuromtm that wrote it."
        )
    return new


def load_stitcher(model: StitchedModel, eid: str, checkpoint: Mapping[str, Any], *, name: str) -> None:
    """Give a session of a model the weights that it has in a loaded checkpoint; arguments as in `load_backbone`."""
    key = module_key(eid)
    _load(model.stitchers[key], _weights(checkpoint, f"{MODEL_PREFIX}stitchers.{key}."), name=name)


def build_model(record: CheckpointRecord, checkpoint: Mapping[str, Any], *, name: str) -> StitchedModel:
    """Make the model of a loaded checkpoint, with its weights, in evaluation mode.

    Args:
        record: of this checkpoint.
        checkpoint: as loaded.
        name: of the file, for messages.

    Raises:
        CheckpointError: if the weights are not those of its architecture and sessions.
    """
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, only to be replaced
        model = StitchedModel(record.build_backbone(name=name))
        try:
            for session in record.sessions:
                model.add_session(session)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise CheckpointError(
                f"{name}: its sessions cannot be made ({first_line(error)}). Use another one."
            ) from error
    load_backbone(model.backbone, checkpoint, name=name)
    for eid in model.sessions:
        load_stitcher(model, eid, checkpoint, name=name)
    return model.eval()


def to_checkpoint(model: StitchedModel, record: CheckpointRecord) -> dict[str, Any]:
    """A model as a checkpoint without the state of a training: `--model.pretrained` takes it."""
    return {KEY: record.to_plain(), "state_dict": {f"{MODEL_PREFIX}{k}": v for k, v in model.state_dict().items()}}


def _load(module: nn.Module, weights: Mapping[str, Tensor], *, name: str) -> None:
    mine = module.state_dict()
    problems = [f"{key} is missing" for key in mine if key not in weights]
    problems += [f"{key} is no tensor" for key, value in weights.items() if not isinstance(value, Tensor)]
    problems += [f"{key} is not known" for key in weights if key not in mine]
    problems += [
        f"{key} is {tuple(weights[key].shape)} there and {tuple(mine[key].shape)} here"
        for key in mine
        if isinstance(weights.get(key), Tensor) and weights[key].shape != mine[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{name}: its weights are not those of its architecture: {', '.join(problems[:3])}{more}. Use another one."
        )
    odd = [key for key in mine if weights[key].is_floating_point() != mine[key].is_floating_point()]
    if odd or (bad := [key for key in mine if not weights[key].isfinite().all()]):
        what = f"{odd[0]} is of the type {weights[odd[0]].dtype}" if odd else f"{bad[0]} is not finite"
        raise CheckpointError(f"{name}: its weights cannot be used: {what}. Use another one, e.g. an earlier one.")
    module.load_state_dict(weights)


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The checkpoint from which a stopped run continues: the newest of `last.ckpt` and those written on a requeue."""
    found = [*run_dir.glob("checkpoints/last.ckpt"), *run_dir.glob("hpc_ckpt_*.ckpt")]
    return max(found, key=lambda path: path.stat().st_mtime, default=None)

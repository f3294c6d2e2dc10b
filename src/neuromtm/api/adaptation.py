"""Fine-tuning from Python, by the same code as `neuromtm fit --config finetune.yaml`."""

from __future__ import annotations

import json
import logging
import signal
import tempfile
import threading
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from lightning.pytorch.utilities.seed import isolate_rng

from neuromtm.api.given import checked_path, is_number, is_whole, require_flag
from neuromtm.api.loading import load
from neuromtm.api.sessions import Sessions
from neuromtm.commands import cli
from neuromtm.commands.adapt import write_run
from neuromtm.commands.main import users_own
from neuromtm.commands.recipes import shipped, with_shipped_recipes
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError, DataError, TrainingError, UserError
from neuromtm.files import read_yaml
from neuromtm.training.checkpoint import load_checkpoint, to_checkpoint, write_checkpoint
from neuromtm.training.few_trials import adapt_in_closed_form

if TYPE_CHECKING:
    from neuromtm.api.model import Model

RECIPE = "finetune.yaml"
PRETRAINED_FILE = "pretrained.ckpt"
"""file in the run directory: the model that a fine-tuning starts from"""
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
CLOSED_FORM_OPTIONS = ("data.n_train_trials", "data.min_firing_rate_hz", "data.regions")
"""options that an adaptation without a training takes"""
SETTLED = ("data.root", "data.sessions", "model.pretrained", "seed_everything", "run_dir")
"""options that follow from the arguments of `Model.adapt`"""


def adapt(
    model: Model,
    sessions: Sessions,
    *,
    method: object,
    run_dir: Path | None,
    seed: int,
    overlays: Sequence[Path | str],
    options: Mapping[str, object],
    progress: bool,
) -> Model:
    """Fine-tune a model; the arguments are those of `Model.adapt`.

    Args:
        model: the model to start from.
        sessions: the sessions to learn.
        method: `training`, or `closed_form` for none.
        run_dir: folder that keeps the run; None for a temporary one.
        seed: seed of every random draw.
        overlays: configurations that override the recipe.
        options: options that override both, by their names on the command line.
        progress: whether to show progress.
    """
    if not isinstance(sessions, Sessions):
        raise ConfigError(
            f"adapt takes neuromtm.Sessions, not a {type(sessions).__name__}. Sessions.write makes them from arrays."
        )
    if method not in ("training", "closed_form"):
        raise ConfigError(f"method is {method!r}, neither 'training' nor 'closed_form'.")
    _check_arguments(seed=seed, overlays=overlays, options=options, progress=progress)
    if method == "closed_form":
        if overlays:
            raise ConfigError("overlays are for a training: leave them out with method 'closed_form'.")
        if seed != 0:
            raise ConfigError(f"seed is {seed}, but method 'closed_form' draws nothing. Leave it out.")
        return _without_training(model, sessions, run_dir=run_dir, options=options, progress=progress)
    _require_usable(model, sessions)
    if twice := [name for name in options if name in SETTLED]:
        raise ConfigError(f"options names {', '.join(twice)}, which adapt sets from its other arguments.")
    recipes = [shipped()[RECIPE], *map(_overlay, overlays)]
    chosen = _defaults(recipes, options, progress=progress) | dict(options)
    with ExitStack() as stack:
        if run_dir is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="neuromtm-adapt-")))
        else:
            folder = run_dir
            _require_free(folder)
        pretrained = folder / PRETRAINED_FILE
        write_checkpoint(pretrained, to_checkpoint(model.stitched, model.record))
        settled = (str(sessions.folder), list(sessions), str(pretrained), seed, str(folder))
        chosen |= dict(zip(SETTLED, settled, strict=True))
        try:
            with _in_the_user_s_words(str(pretrained), model.name):
                _fit(recipes, chosen, quiet=not progress)
        finally:
            if not (folder / "config.yaml").exists():  # the training was refused before it began
                pretrained.unlink()
        adapted = load(folder, device=model.device)
        _require_finite(adapted, folder / "checkpoints" / "best.ckpt")
    if run_dir is None:
        adapted.name = f"{model.name}, adapted to {', '.join(sessions)}"
    return adapted


def _without_training(
    model: Model, sessions: Sessions, *, run_dir: Path | None, options: Mapping[str, object], progress: bool
) -> Model:
    """Adapt in closed form; arguments as of `adapt`."""
    if unfit := [name for name in options if name not in CLOSED_FORM_OPTIONS]:
        raise ConfigError(
            f"method 'closed_form' trains nothing: leave out {', '.join(unfit)}. It takes the options "
            f"{', '.join(CLOSED_FORM_OPTIONS)}."
        )
    if run_dir is not None:
        _require_free(run_dir)
    chosen: dict[str, Any] = {name.removeprefix("data."): value for name, value in options.items()}
    chosen |= {"root": str(sessions.folder), "sessions": list(sessions)}
    data = SessionDataModule(**chosen)
    data.setup()
    done = print if progress else None
    adapted = adapt_in_closed_form(model.stitched, model.record, data, name=model.name, done=done)
    if run_dir is None:
        return type(model)(*adapted, name=f"{model.name}, adapted to {', '.join(sessions)}")
    pretrained = run_dir / PRETRAINED_FILE
    write_checkpoint(pretrained, to_checkpoint(model.stitched, model.record))
    words = {"data": sessions.folder, "pretrained": pretrained, "out": run_dir, **chosen}
    command = ["adapt", *(f"--{name}={value}" for name, value in words.items() if name != "root")]
    write_run(run_dir, adapted, pretrained=pretrained, data=chosen, command=command)
    return load(run_dir, device=model.device)


def _fit(recipes: Sequence[Path], options: Mapping[str, object], *, quiet: bool) -> None:
    """Run `neuromtm fit` in this process."""
    arguments = ["fit", *(f"--config={path}" for path in recipes)]
    arguments += [f"--{name}={_as_yaml(value)}" for name, value in options.items()]
    try:
        with isolate_rng(), _interruptible(), _quiet(quiet):
            cli.run(arguments)
    except Exception as error:
        problem = users_own(error)
        if problem is None or problem is error:
            raise
        raise problem from error


def _check_arguments(*, seed: object, overlays: object, options: Mapping[str, object], progress: object) -> None:
    """Check the types here: the parser of the command line would explain them at length, by other names."""
    if not is_whole(seed):
        raise ConfigError(f"seed is {seed!r}, not a whole number.")
    if isinstance(overlays, str | Path) or not isinstance(overlays, Sequence):
        raise ConfigError(f"overlays is {overlays!r}, not a list. Give a list of files, such as ['trainer/gpu.yaml'].")
    for overlay in overlays:
        checked_path(overlay, what="overlays: an entry")
    require_flag(progress, what="progress")
    epochs, lr = options.get("trainer.max_epochs", 1), options.get("model.lr", 1.0)
    if not is_whole(epochs):
        raise ConfigError(f"max_epochs is {epochs!r}, not a whole number.")
    if not is_number(lr):
        raise ConfigError(f"lr is {lr!r}, not a number.")
    if (accelerator := options.get("trainer.accelerator", "auto")) not in ACCELERATORS:
        raise ConfigError(f"accelerator is {accelerator!r}, not one of {', '.join(ACCELERATORS)}.")


@contextmanager
def _in_the_user_s_words(file: str, name: str) -> Generator[None]:
    """Say a user's error in one line, and name the model by its own name instead of the file that this module wrote."""
    try:
        yield
    except UserError as error:
        said = " ".join(str(error).split())
        if said.replace(file, name) == str(error):
            raise
        raise type(error)(said.replace(file, name)) from error


def _require_finite(adapted: Model, best: Path) -> None:
    """Refuse a model whose training diverged.

    Raises:
        TrainingError: if a weight, or the validation loss of the best epoch, is not a finite number.
    """
    states = load_checkpoint(best).get("callbacks", {})
    scores = [state["best_model_score"] for state in states.values() if "best_model_score" in state]
    values = [
        *adapted.stitched.state_dict().values(),
        *(torch.as_tensor(score) for score in scores if score is not None),
    ]
    if not all(bool(value.isfinite().all()) for value in values):
        raise TrainingError(
            "The training diverged: the weights or the validation loss of its best epoch are not finite numbers. Lower "
            "lr, or give options={'trainer.gradient_clip_val': 1.0}."
        )


def _require_usable(model: Model, sessions: Sessions) -> None:
    """Refuse here what a training would refuse only after it has begun, or by the name of a temporary file."""
    table = sessions.table()
    for split in ("train", "val"):
        if not table[f"n_{split}"].any():
            raise DataError(f"{sessions.folder}: the chosen sessions have no trial in the split {split!r}.")
    for bin_size_s in table["bin_size_s"].tolist():
        model.record.require_bin_size(bin_size_s, name=model.name)
    model.stitched.backbone.require_n_bins(int(table["n_bins"].max()))


def _require_free(run_dir: Path) -> None:
    if run_dir.exists() and (not run_dir.is_dir() or any(run_dir.iterdir())):
        raise ConfigError(f"run_dir {run_dir}: is in use already. Choose a new folder.")


def _overlay(name: Path | str) -> Path:
    """A configuration file by its path, or a shipped recipe by its name."""
    (found,) = with_shipped_recipes([f"--config={name}"])
    path = Path(found.removeprefix("--config="))
    if not path.is_file():
        raise ConfigError(f"overlays: {name}: not a configuration file.")
    return path


def _trainer_options(path: Path) -> dict[str, object]:
    """The options of the trainer in a configuration file; none of a file in which the parser will find an error."""
    try:
        content = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    own = content.get("trainer") if isinstance(content, dict) else None
    return own if isinstance(own, dict) else {}


def _defaults(recipes: Sequence[Path], options: Mapping[str, object], *, progress: bool) -> dict[str, object]:
    """Options that differ from a fine-tuning on the command line, unless `options` sets them."""
    trainer: dict = {}
    for path in recipes:
        trainer |= _trainer_options(path)
    epochs, every = options.get("trainer.max_epochs", trainer.get("max_epochs")), trainer["check_val_every_n_epoch"]
    if isinstance(epochs, int) and epochs < 1:
        raise ConfigError(f"max_epochs is {epochs}, less than 1.")
    # on several devices Lightning would start the user's own script again on each
    defaults: dict[str, object] = {"trainer.devices": 1}
    # a training without a validation has no best checkpoint
    if isinstance(epochs, int) and isinstance(every, int) and epochs < every:
        defaults["trainer.check_val_every_n_epoch"] = epochs
    if not progress:
        defaults |= {"trainer.enable_progress_bar": False, "trainer.enable_model_summary": False}
    return defaults


def _as_yaml(value: object) -> str:
    # JSON is YAML, and an eid such as 1e5 stays text in it
    if isinstance(value, np.generic | Path):
        value = value.item() if isinstance(value, np.generic) else str(value)
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"options has a value that the command line cannot take, {value!r} ({error}). Give texts, numbers, lists "
            "and mappings."
        ) from error


@contextmanager
def _interruptible() -> Generator[None]:
    """Turn an interrupt of a training back into a `KeyboardInterrupt`, and keep later interrupts possible.

    Lightning turns an interrupt into the end of the program and ignores further interrupts. A notebook could then not
    be interrupted again.
    """
    here = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from ended
        raise
    finally:
        if here:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet(quiet: bool) -> Generator[None]:
    """Hide what Lightning says, except warnings. Afterwards restore the user's filters, which the command changes."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")] if quiet else []
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            if quiet:  # a session of few trials always has fewer batches
                warnings.filterwarnings("ignore", message="The number of training batches")
                # a scheme that no session allows has no validation loss
                warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

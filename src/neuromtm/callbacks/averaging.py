"""An exponential moving average of the weights, which is validated and kept in the place of the weights of one step."""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from neuromtm.errors import CheckpointError, ConfigError

EMA_KEY = "neuromtm_ema"
"""of a checkpoint: the decay, and the weights that training goes on with; its `state_dict` holds the averages"""


class AveragedWeights(lightning.Callback):
    """Averages the weights after every optimiser step: average = d * average + (1 - d) * weight.

    d is `decay`, but at most (1 + step) / (10 + step), so that the first weights are soon forgotten. A validation
    scores the averages, and training goes on with the weights themselves. Checkpoints hold the averages where every
    program looks for weights, so that best.ckpt is tested, fine-tuned and saved as any other. The weights to go on with
    lie beside them. After a training the module has the averages.

    Only parameters are averaged: the buffers of a model are statistics of the data and do not change. All ranks have
    the same weights, so that each averages for itself.

    Lightning's own `WeightAveraging` is not used. It copies the module in `setup`, before the sessions of the data or
    of a checkpoint have their weights, so that its checkpoints lack the stitchers. It also takes the averages away
    before the callbacks of a validation have scored, which is at the validation's end.

    Args:
        decay: between 0 and 1, e.g. 0.999; None averages nothing.

    Raises:
        ConfigError: for another decay.
    """

    def __init__(self, decay: float | None = None):
        if decay is not None and not 0 < decay < 1:
            raise ConfigError(f"ema_decay is {decay}, not between 0 and 1. Take 0.999, or leave it out for no average.")
        self.decay = decay
        self._others: dict[str, Tensor] = {}  # averages by name; while they are in the module, the weights themselves
        self._averages_are_in = False
        self._step = 0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        if stage == "fit":  # perhaps another one than before
            self._others, self._averages_are_in, self._step = {}, False, 0

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the weights to go on with in the place of the averages, which Lightning has loaded as the weights."""
        if trainer.state.fn != "fit":  # a test takes the averages
            return
        kept = checkpoint.get(EMA_KEY)
        before = _decay_of(kept, name=str(trainer.ckpt_path))
        if before != self.decay:
            raise ConfigError(
                f"{trainer.ckpt_path}: a run must continue with the options it began with, but ema_decay was "
                f"{_words(before)} and is now {_words(self.decay)}. Use the same value, or start a new run with "
                "model.pretrained."
            )
        if kept is None:
            return
        weights = dict(pl_module.named_parameters())
        problems = [name for name in weights if name not in kept["weights"]]
        if problems or any(kept["weights"][name].shape != weight.shape for name, weight in weights.items()):
            raise CheckpointError(
                f"{trainer.ckpt_path}: its entry {EMA_KEY!r} is not of its own model. Use another one."
            )
        self._others = {name: weight.detach().clone() for name, weight in weights.items()}
        with torch.no_grad():
            for name, weight in weights.items():
                weight.copy_(kept["weights"][name])

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._begin(pl_module)
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx: int) -> None:
        if self.decay is None or trainer.global_step == self._step:  # else gradients are accumulated
            return
        self._step = trainer.global_step
        decay = min(self.decay, (1 + self._step) / (10 + self._step))
        averages, weights = _pairs(self._others, pl_module)
        get_ema_multi_avg_fn(decay)(averages, weights, None)

    # the averages are there for the whole validation: callbacks score when its epoch ends

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.state.fn == "fit" and self.decay is not None:
            self._begin(pl_module)  # the check of the validation comes before the training
            self._swap(pl_module)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self._averages_are_in:
            self._swap(pl_module)

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        # not when the training ends: it does not begin in a run that goes on after its last step
        if self._others and not self._averages_are_in:
            self._begin(pl_module)
            self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Store the averages as the weights, and the weights beside them."""
        if not self._others:
            return
        inside = {name: weight.detach() for name, weight in pl_module.named_parameters()}
        averages, weights = (inside, self._others) if self._averages_are_in else (self._others, inside)
        checkpoint["state_dict"] = {**checkpoint["state_dict"], **averages}
        checkpoint[EMA_KEY] = {"decay": self.decay, "weights": dict(weights)}

    def _begin(self, module: nn.Module) -> None:
        """Start the averages from the weights, unless a checkpoint has brought them; and bring them to the device."""
        if self.decay is None:
            return
        weights = dict(module.named_parameters())
        if not self._others:
            self._others = {name: weight.detach().clone() for name, weight in weights.items()}
        self._others = {name: average.to(weights[name].device) for name, average in self._others.items()}

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        for other, inside in zip(*_pairs(self._others, module), strict=True):
            kept = inside.clone()
            inside.copy_(other)
            other.copy_(kept)
        self._averages_are_in = not self._averages_are_in


def _pairs(others: Mapping[str, Tensor], module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    names, weights = zip(*module.named_parameters(), strict=True)
    return [others[name] for name in names], [weight.detach() for weight in weights]


def _decay_of(kept: Any, *, name: str) -> float | None:
    if kept is None:
        return None
    try:
        decay, weights = kept["decay"], kept["weights"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{name}: its entry {EMA_KEY!r} is not whole. Use another one.") from error
    if not isinstance(decay, float) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise CheckpointError(f"{name}: its entry {EMA_KEY!r} is not whole. Use another one.")
    return decay


def _words(decay: float | None) -> str:
    return "none" if decay is None else str(decay)

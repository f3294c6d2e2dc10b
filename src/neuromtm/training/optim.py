"""AdamW with weight decay on matrices only, and learning-rate schedules over a known number of steps."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

Schedule = Literal["one_cycle", "cosine", "constant"]
START_FACTOR = 0.1
"""factor of the learning rate at the first step of `one_cycle`"""


def parameter_groups(model: nn.Module, *, weight_decay: float) -> list[dict]:
    """Two groups of trained parameters: matrices with weight decay; biases, norms, embeddings and tokens without."""
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    matrices, others = [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        decays = parameter.ndim >= 2 and id(parameter) not in embeddings
        (matrices if decays else others).append(parameter)
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def learning_rate_factor(schedule: Schedule, *, n_steps: int, warmup_fraction: float) -> Callable[[int], float]:
    """The learning rate at each step, as a factor of its maximum.

    `one_cycle` rises from a tenth along a half cosine and falls to zero along another (Smith & Topin 2018);
    `cosine` rises linearly from zero and falls to zero along a half cosine; `constant` rises linearly and stays at 1.

    Args:
        schedule: which one.
        n_steps: optimiser steps in the whole training.
        warmup_fraction: share of them in which the rate rises.
    """
    n_warmup = max(1, round(warmup_fraction * n_steps))

    def factor(step: int) -> float:
        if step < n_warmup:
            if schedule != "one_cycle":
                return (step + 1) / n_warmup
            return START_FACTOR + (1 - START_FACTOR) * (1 - math.cos(math.pi * step / n_warmup)) / 2
        if schedule == "constant":
            return 1.0
        done = min(1.0, (step - n_warmup) / max(1, n_steps - n_warmup))
        return (1 + math.cos(math.pi * done)) / 2

    return factor


def make_optimizer(
    model: nn.Module, *, lr: float, weight_decay: float, schedule: Schedule, n_steps: int, warmup_fraction: float
) -> dict:
    """Optimiser and schedule as `LightningModule.configure_optimizers` returns them; steps are optimiser steps."""
    optimizer = torch.optim.AdamW(parameter_groups(model, weight_decay=weight_decay), lr=lr)
    factor = learning_rate_factor(schedule, n_steps=n_steps, warmup_fraction=warmup_fraction)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

"""AdamW with weight decay on matrices only, clipping, and learning-rate schedules over a known number of steps."""

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuromtm.errors import CheckpointError
from neuromtm.models.stitching import StitchedModel

Schedule = Literal["one_cycle", "cosine", "constant"]
START_FACTOR = 0.1
"""factor of the learning rate at the first step of `one_cycle`"""


def parameter_groups(model: nn.Module, *, weight_decay: float, stitcher_weight_decay: float) -> list[dict]:
    """Three groups of trained parameters: shared matrices, matrices of stitchers, and what does not decay.

    No decay: biases, norms, tokens, positions and start states, which are vectors, alone or in rows. A module says by a
    class attribute `no_decay` which of its own parameters are rows of such vectors; shared embeddings are known.
    In a stitcher every matrix decays, for an embedding of neurons is a read-in.

    Args:
        model: holds one `StitchedModel` at most.
        weight_decay: of shared matrices, heads among them.
        stitcher_weight_decay: of the sessions' own matrices.
    """
    stitched = [part for part in model.modules() if isinstance(part, StitchedModel)]
    of_stitchers = {id(parameter) for part in stitched for parameter in part.stitchers.parameters()}
    vectors = {
        id(parameter)
        for part in model.modules()
        for name, parameter in part.named_parameters(recurse=False)
        if parameter.ndim < 2 or isinstance(part, nn.Embedding) or name in getattr(part, "no_decay", ())
    }
    shared, stitchers, others = [], [], []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        if id(parameter) in of_stitchers:
            (stitchers if parameter.ndim >= 2 else others).append(parameter)
        else:
            (others if id(parameter) in vectors else shared).append(parameter)
    return [
        {"params": shared, "weight_decay": weight_decay},
        {"params": stitchers, "weight_decay": stitcher_weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]


def in_three_groups(checkpoint: dict[str, Any], model: nn.Module) -> None:
    """Change what a checkpoint holds of the optimiser to the groups of `parameter_groups`.

    Earlier versions had two groups, all matrices and all others. Embeddings of neurons did not decay then; rows of
    latents and start states did. A checkpoint with three groups stays as it is.

    Args:
        checkpoint: as Lightning saved it.
        model: the module that it is of, with all sessions.

    Raises:
        CheckpointError: if the state is of other weights than the model's.
    """
    (state,) = checkpoint["optimizer_states"]
    if len(state["param_groups"]) == 3:
        return
    embeddings = {id(p) for m in model.modules() if isinstance(m, nn.Embedding) for p in m.parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    two = (
        [p for p in trained if p.ndim >= 2 and id(p) not in embeddings],
        [p for p in trained if p.ndim < 2 or id(p) in embeddings],
    )
    if [len(group["params"]) for group in state["param_groups"]] != [len(group) for group in two]:
        raise CheckpointError(
            "The optimiser's state in the checkpoint is not of the weights of this model, so that the training cannot "
            "go on. Start a new run from the checkpoint by model.pretrained."
        )
    of_parameter = {
        id(parameter): state["state"].get(place)
        for parameters, group in zip(two, state["param_groups"], strict=True)
        for parameter, place in zip(parameters, group["params"], strict=True)
    }
    three = parameter_groups(model, weight_decay=0.0, stitcher_weight_decay=0.0)
    moments = [of_parameter[id(parameter)] for group in three for parameter in group["params"]]
    matrices, others = state["param_groups"]
    groups, start = [], 0
    for group, options in zip(three, (matrices, matrices, others), strict=True):
        groups.append({**options, "params": list(range(start, start + len(group["params"])))})
        start += len(group["params"])
    known = {place: own for place, own in enumerate(moments) if own is not None}
    checkpoint["optimizer_states"] = [{"state": known, "param_groups": groups}]
    for scheduler in checkpoint["lr_schedulers"]:  # these hold one value a group, all equal
        for name in ("base_lrs", "_last_lr", "lr_lambdas"):
            scheduler[name] = scheduler[name][:1] * 3


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
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    stitcher_weight_decay: float,
    beta2: float = 0.999,
    schedule: Schedule,
    n_steps: int,
    warmup_fraction: float,
    fused: bool,
) -> dict:
    """Optimiser and schedule as `LightningModule.configure_optimizers` returns them; steps are optimiser steps.

    Parameters that a step gave no gradient do not move, neither by decay nor by their moments.
    """
    groups = parameter_groups(model, weight_decay=weight_decay, stitcher_weight_decay=stitcher_weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, beta2), fused=fused)
    factor = learning_rate_factor(schedule, n_steps=n_steps, warmup_fraction=warmup_fraction)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def clip(parameters: Iterable[nn.Parameter], *, most: float, by: Literal["norm", "value"]) -> Tensor | None:
    """Clip gradients in place. Nothing is read back from the device.

    Args:
        parameters: those without a gradient are left out.
        most: largest norm of all gradients together, or largest value of an entry.
        by: which of the two.

    Returns:
        The norm of all gradients before, which is not finite if one of them is not; None if they are clipped by value.
    """
    if by == "value":
        torch.nn.utils.clip_grad_value_(parameters, most)
        return None
    return torch.nn.utils.clip_grad_norm_(parameters, most)

"""Training on several ranks: what belongs to one session or one scheme is exchanged only in steps that use it."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from neuromtm.errors import ConfigError
from neuromtm.training.stitched import StitchedModule

TRAINING = timedelta(minutes=30)
"""how long a rank waits in an exchange of a training. A rank that is gone is noticed much earlier, see `rank_watch`"""
SCORING = timedelta(days=1)
"""the same of a test, in which the first rank fits read-outs over all sessions and draws plots while others wait"""


class OccasionalGradients:
    """Averages the gradients of weights that a step may leave out, over all ranks.

    A step sends one byte for each of these weights to ask which of them any rank has used, and then the gradients of
    these alone, as one buffer. A rank that has not used one of them counts with zeros, as in
    `DistributedDataParallel`. The gradients of the others stay None, so that the optimiser moves neither the weights
    nor their moments.

    Args:
        parameters: the weights, in the same order on every rank.
        timeout: how long a rank waits for the others; by default torch's own.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], *, timeout: timedelta | None = None):
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        # between CPUs: a rank that asked through its GPU would wait for the whole backward pass
        self._asking = distributed.new_group(backend="gloo", timeout=timeout)

    def average(self) -> None:
        """Replace each gradient by its mean over ranks. Every rank must call this after the same backward pass."""
        used = torch.tensor([parameter.grad is not None for parameter in self.parameters], dtype=torch.uint8)
        distributed.all_reduce(used, op=distributed.ReduceOp.MAX, group=self._asking)
        chosen = [parameter for parameter, is_used in zip(self.parameters, used.tolist(), strict=True) if is_used]
        if not chosen:
            return
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in chosen])
        # divided before the sum, as `DistributedDataParallel` does, so that the rounding is the same
        flat.mul_(1 / distributed.get_world_size())
        distributed.all_reduce(flat)
        for parameter, own in zip(chosen, flat.split([parameter.numel() for parameter in chosen]), strict=True):
            parameter.grad = own.view_as(parameter).to(parameter.dtype)

    def close(self) -> None:
        """End the ranks' connection by which they ask."""
        if distributed.is_initialized():
            distributed.destroy_process_group(self._asking)


class StitchedDDP(DDPStrategy):
    """Data-parallel training of a `StitchedModule`; a step's traffic does not grow with the number of sessions.

    `DistributedDataParallel` averages the gradients of all shared weights during the backward pass. It does not know
    the module's `occasional_parts`: stitchers, prompts, heads of one session. `OccasionalGradients` averages theirs
    after the last backward pass of a step, before gradients are clipped.

    Losses and weights are those of `DistributedDataParallel` with `find_unused_parameters`. On more than two ranks,
    the order of the sums may differ, and with it the last bit.

    The search for unused weights, which costs time in each step, takes place only for architectures that do not say
    `uses_every_weight`.

    Args:
        options: those of Lightning's `DDPStrategy`.
    """

    def __init__(self, **options: Any):
        super().__init__(**options)
        self._gradients: OccasionalGradients | None = None
        self._exchanges = True

    def configure_ddp(self) -> None:
        """Wrap the shared weights, and give every rank the first rank's weights.

        Raises:
            ConfigError: if the module is no `StitchedModule`.
        """
        module = self.lightning_module
        if not isinstance(module, StitchedModule):
            raise ConfigError(f"StitchedDDP trains a StitchedModule, not a {type(module).__name__}: use strategy ddp.")
        occasional = _tensors_of(module.occasional_parts())
        everything = dict((*module.named_parameters(), *module.named_buffers()))
        shared = [p for p in module.parameters() if p.requires_grad and id(p) not in occasional]
        for tensor in everything.values():
            if not shared or id(tensor) in occasional:  # the others are sent when they are wrapped
                distributed.broadcast(tensor.detach(), src=0)
        self._gradients = OccasionalGradients(
            [p for p in module.parameters() if id(p) in occasional], timeout=self._timeout
        )
        if not shared:  # a decoder with a head for each session on a frozen model: there is nothing to wrap
            return
        names = [name for name, tensor in everything.items() if id(tensor) in occasional]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)
        self._ddp_kwargs["find_unused_parameters"] = not module.built_model.backbone.uses_every_weight
        super().configure_ddp()
        del module._ddp_params_and_buffers_to_ignore  # a later training may use another strategy

    @contextmanager
    def block_backward_sync(self) -> Generator[None, None, None]:
        """Exchange nothing in the backward passes inside: their gradients add up until the last one of the step."""
        self._exchanges = False
        try:
            with super().block_backward_sync():
                yield
        finally:
            self._exchanges = True

    def post_backward(self, closure_loss: Tensor) -> None:
        """Average what the wrapped module did not. Lightning clips later, so that it sees the same norm everywhere."""
        super().post_backward(closure_loss)
        if self._gradients is not None and self._exchanges:
            self._gradients.average()

    def teardown(self) -> None:
        if self._gradients is not None:
            self._gradients.close()
            self._gradients = None
        super().teardown()


def _tensors_of(modules: Sequence[nn.Module]) -> set[int]:
    """The identities of the modules' parameters and buffers."""
    return {id(tensor) for module in modules for tensor in (*module.parameters(), *module.buffers())}


def strategy_for(
    *, accelerator: Any, devices: Any, num_nodes: int, plugins: Any, timeout: timedelta = TRAINING
) -> StitchedDDP | str:
    """What `--trainer.strategy auto` means here: `StitchedDDP` where Lightning would choose `ddp`.

    Args:
        accelerator: as of Lightning's Trainer; so are the others.
        devices: devices on each node.
        num_nodes: number of nodes.
        plugins: may describe the cluster.
        timeout: how long a rank waits in an exchange for the others.
    """
    # Lightning alone knows what it finds: devices, a scheduler's tasks, a notebook
    found = _AcceleratorConnector(accelerator=accelerator, devices=devices, num_nodes=num_nodes, plugins=plugins)
    if type(found.strategy) is not DDPStrategy:
        return "auto"
    return StitchedDDP(start_method=found.strategy._start_method, timeout=timeout)

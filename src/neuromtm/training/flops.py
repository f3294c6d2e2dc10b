"""How many floating-point operations a training trial takes, and how many a second the device can do."""

import time
from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from neuromtm.batch import Scheme, SessionInfo
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import StitchedModel, VisibleGroup

MOST_SIZES = 5
"""FLOPs are counted for so many numbers of neurons at most."""
MEASURE_S = 0.1
"""how long matrix products are timed"""
LONG_ENOUGH_S = 0.01
"""A product that takes so long is large enough to reach the device's rate, or the device is so slow that a larger one
would take too long."""
LARGEST = 8192
"""rows of the largest matrix"""


def count_flops(backbone: Backbone, session: SessionInfo, *, n_bins: int, scheme: Scheme) -> int | None:
    """FLOPs of forward and backward pass of one trial, counted on a copy without values.

    The copy lies on PyTorch's device `meta`, where no value is computed: nothing is drawn, no weight is read and the
    device that trains is not asked for anything. Counted are matrix products, attention and recurrent networks, a
    multiplication and an addition as two. What a kernel computes a second time to save memory is not counted.

    Args:
        backbone: an architecture; only its options are used.
        session: whose neurons are read in and out.
        n_bins: bins of the trial.
        scheme: masking scheme.

    Returns:
        The number; None if the device `meta` cannot run the architecture: spike tokens, whose number depends on the
        spikes, and LFADS, whose recurrence would also take seconds to count.
    """
    # torch.manual_seed, by which stitchers are made, would also seed the GPU's stream
    streams = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=streams), torch.enable_grad(), torch.device("meta"):
        model = StitchedModel(type(backbone)(**backbone.options)).train()
        model.add_session(session)
        visible = torch.zeros(1, n_bins, session.n_neurons)
        try:
            with counter:
                output = model([VisibleGroup(session.eid, visible, visible > 0)], scheme)
                loss = torch.stack([rates.sum() for rates in output.log_rates]).sum()
                (loss if output.own_loss is None else loss + output.own_loss).backward()
        except (NotImplementedError, RuntimeError):
            return None
    return counter.get_total_flops() or None


class TrialFlops:
    """FLOPs of the training trials of each session.

    They are counted for the fewest neurons, the most and up to three numbers between, and interpolated for all others.
    That is exact for NDT1, where they grow linearly with the neurons. Where a token is a group of neurons, groups are
    interpolated, which is exact for up to five numbers of groups and near it for more.

    Args:
        backbone: the architecture.
        sessions: those of the training.
        n_bins: bins a trial.
        scheme: any scheme of the training; FLOPs of the architectures that can be counted do not depend on it.
    """

    def __init__(self, backbone: Backbone, sessions: Collection[SessionInfo], *, n_bins: int, scheme: Scheme):
        neurons_per_token = backbone.neurons_per_token or 1
        self._size_of = {session.eid: -(-session.n_neurons // neurons_per_token) for session in sessions}
        by_size = {self._size_of[session.eid]: session for session in sessions}
        sizes = sorted(by_size)
        places = np.unique(np.linspace(0, len(sizes) - 1, min(MOST_SIZES, len(sizes))).round().astype(int))
        self._sizes = [sizes[place] for place in places]
        self._flops: list[float] = []
        for size in self._sizes:
            flops = count_flops(backbone, by_size[size], n_bins=n_bins, scheme=scheme)
            if flops is None:
                break
            self._flops.append(flops)

    @property
    def known(self) -> bool:
        """Whether they could be counted."""
        return len(self._flops) == len(self._sizes)

    def of(self, n_trials: Mapping[str, int]) -> float:
        """FLOPs of many trials: eid -> number of trials."""
        flops = np.interp([self._size_of[eid] for eid in n_trials], self._sizes, self._flops)
        return float(flops @ np.array(list(n_trials.values())))


def precision_of(name: str) -> torch.dtype:
    """The type in which a trainer of this precision multiplies matrices.

    Args:
        name: Lightning's, e.g. `bf16-mixed`.
    """
    if name.startswith("bf16"):
        return torch.bfloat16
    return {"16": torch.float16, "64": torch.float64}.get(name[:2], torch.float32)


def matrix_rate(device: torch.device, dtype: torch.dtype, *, clock: Callable[[], float] = time.perf_counter) -> float:
    """FLOPs a second of the device in products of square matrices: the best of those that fit in a tenth of a second.

    It is measured and not looked up: Lightning's table (`lightning.fabric.utilities.throughput`) has no CPUs, does not
    recognise the H200's name, and gives some GPUs the rate of sparse matrices, which is twice as high.

    Args:
        device: the device.
        dtype: type of the matrices.
        clock: tells seconds.
    """
    generator = torch.Generator(device).manual_seed(0)  # its own: the training's draws stay

    def seconds(product: Callable[[], object]) -> float:
        _wait(device)
        started_s = clock()
        product()
        _wait(device)
        return clock() - started_s

    size, best_s = 256, float("inf")
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        while True:
            matrix = torch.randn(size, size, device=device, generator=generator).to(dtype)
            result = torch.empty_like(matrix)
            product = partial(torch.mm, matrix, matrix, out=result)
            best_s = min(seconds(product), seconds(product))  # the first of a size is slow
            if best_s >= LONG_ENOUGH_S or size >= LARGEST:
                break
            size *= 2
        started_s = clock()
        while clock() - started_s < MEASURE_S:
            best_s = min(best_s, seconds(product))
    return 2 * size**3 / best_s


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

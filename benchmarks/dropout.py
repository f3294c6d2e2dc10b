"""Time what dropout costs in a training step on a CPU: masks from PyTorch beside masks from random bytes.

    OMP_NUM_THREADS=2 python benchmarks/dropout.py

The model is an NDT1 at the paper's size on one session, in fp32 and in bf16 autocast. Steps of all kinds take turns in
one process, and the least time of each is printed, so that other work on the machine changes the ratios little. A step
is forward pass, backward pass and optimiser.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from neuromtm.batch import SessionInfo
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, VisibleGroup


def _dropout(x: Tensor, p: float, *, training: bool) -> Tensor:
    return functional.dropout(x, p, training)


def _attend(query: Tensor, key: Tensor, value: Tensor, *, weight: Tensor | None, dropout_p: float, training: bool):
    dropout_p = dropout_p if training else 0.0
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=weight, dropout_p=dropout_p)


@contextmanager
def torch_dropout() -> Iterator[None]:
    """Let the models use PyTorch's own dropout."""
    with patch("neuromtm.models.dropout.dropout", _dropout), patch("neuromtm.models.blocks.attend", _attend):
        yield


def step_of(n_trials: int, n_bins: int, n_neurons: int, *, width: int, n_layers: int) -> Callable[[torch.dtype], float]:
    """A function that trains for one step in a given type and says how many milliseconds it took."""
    torch.manual_seed(0)
    model = StitchedModel(NDT1(width=width, mlp_width=2 * width, n_layers=n_layers))
    neurons = tuple(f"{i}" for i in range(n_neurons))
    model.add_session(SessionInfo("a", neurons, ("root",) * n_neurons), torch.ones(n_neurons))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    # with one thread, processor time, which other work on the machine does not add to
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    counts = torch.poisson(torch.full((n_trials, n_bins, n_neurons), 0.2))

    def step(dtype: torch.dtype) -> float:
        start = clock()
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            log_rates = model([VisibleGroup("a", counts)], "neuron").log_rates[0]
        poisson_nll(log_rates, counts).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        return 1000 * (clock() - start)

    return step


def main() -> None:
    """Time both kinds of dropout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--bins", type=int, default=100)
    parser.add_argument("--neurons", type=int, default=676)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15, help="steps of each kind")
    given = parser.parse_args()
    step = step_of(given.trials, given.bins, given.neurons, width=given.width, n_layers=given.layers)
    size = f"{given.trials} trials x {given.bins} bins x {given.neurons} neurons, width {given.width}"
    print(f"{size}, {torch.get_num_threads()} threads")
    times: dict[tuple[torch.dtype, str], list[float]] = {}
    for _ in range(given.steps + 1):
        for dtype in (torch.float32, torch.bfloat16):
            with torch_dropout():
                times.setdefault((dtype, "PyTorch"), []).append(step(dtype))
            times.setdefault((dtype, "random bytes"), []).append(step(dtype))
    least = {kind: min(each[1:]) for kind, each in times.items()}  # the first warms up
    reference = least[torch.float32, "PyTorch"]
    for (dtype, masks), ms in least.items():
        print(f"{dtype}, masks of {masks}: {ms:.1f} ms, {reference / ms:.2f} times as fast as the first")


if __name__ == "__main__":
    main()

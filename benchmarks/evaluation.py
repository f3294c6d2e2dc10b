"""Leaving out one neuron at a time: NDT1's quick way against the plain one, exact both.

    python benchmarks/evaluation.py                                        # a laptop: tiny model, 60 neurons
    python benchmarks/evaluation.py --size paper --n-neurons 600 --n-trials 100 --n-bins 100 --device cuda

The plain way runs one pass over all outputs for each neuron. Both are timed on the same neurons, in turn, so that
whatever else the machine does meets both; the medians of the rounds are scaled up to all neurons. Prints seconds a
session of both, their ratio, and the largest difference between their log-rates.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from neuromtm.models.interface import Backbone, SessionInput
from neuromtm.models.ndt1 import NDT1

SIZES = {
    "tiny": {"width": 64, "n_layers": 3, "n_heads": 4, "mlp_width": 128, "rope": True},
    "paper": {"width": 512, "n_layers": 5, "n_heads": 8, "mlp_width": 1024},
}


def seconds(action: Callable[[], torch.Tensor], device: torch.device) -> tuple[float, torch.Tensor]:
    """How long it takes, and what it gives."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    started_s = time.perf_counter()
    result = action()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started_s, result


def main() -> None:
    """Time both ways and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--n-neurons", type=int, default=60)
    parser.add_argument("--n-trials", type=int, default=40)
    parser.add_argument("--n-bins", type=int, default=100)
    parser.add_argument("--timed-neurons", type=int, default=60, help="neurons left out in each round (default: 60)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed (default: 3)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    given = parser.parse_args()
    torch.manual_seed(0)
    backbone = NDT1(**SIZES[given.size]).to(given.device).eval()
    regions = ("CA1",) * given.n_neurons
    stitcher = backbone.make_stitcher(torch.full((given.n_neurons,), 0.1), regions).to(given.device)
    torch.nn.init.normal_(stitcher.read_out.weight, std=0.05)  # untrained, it would predict constants
    counts = torch.poisson(torch.full((given.n_trials, given.n_bins, given.n_neurons), 0.1)).to(given.device)
    session = SessionInput(stitcher, counts, torch.zeros_like(counts, dtype=torch.bool))
    some = torch.arange(given.n_neurons, device=given.device)[: given.timed_neurons]
    times: dict[str, list[float]] = {"plain": [], "quick": []}
    with torch.inference_mode():
        backbone.left_out(session, "neuron", some[:1])  # warm up
        for _ in range(given.rounds):
            plain_s, plain = seconds(lambda: Backbone.left_out(backbone, session, "neuron", some), given.device)
            quick_s, quick = seconds(lambda: backbone.left_out(session, "neuron", some), given.device)
            times["plain"].append(plain_s)
            times["quick"].append(quick_s)
    plain_s, quick_s = (statistics.median(t) * given.n_neurons / len(some) for t in times.values())
    difference = (quick - plain).abs().max().item()
    print(
        f"{given.size}, {given.n_neurons} neurons x {given.n_trials} trials x {given.n_bins} bins on {given.device} "
        f"({torch.get_num_threads()} threads, torch {torch.__version__}): "
        f"plain {plain_s:.1f} s, quick {quick_s:.1f} s, "
        f"ratio {plain_s / quick_s:.2f} ({given.rounds} rounds of {len(some)} neurons); "
        f"largest difference of log-rates {difference:.1e}"
    )


if __name__ == "__main__":
    main()

"""Leaving out one neuron at a time: NDT1's quick way against the plain one, exact both.

    python benchmarks/evaluation.py                                        # a laptop: tiny model, 60 neurons
    python benchmarks/evaluation.py --size paper --n-neurons 600 --n-trials 100 --n-bins 100 --device cuda

The plain way runs one pass over all outputs for each neuron; it is timed on some neurons and scaled up to all.
Prints seconds a session of both, their ratio, and the largest difference between their log-rates.
"""

import argparse
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
    parser.add_argument("--plain-neurons", type=int, default=8, help="neurons that the plain way is timed on")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    given = parser.parse_args()
    torch.manual_seed(0)
    backbone = NDT1(**SIZES[given.size]).to(given.device).eval()
    stitcher = backbone.make_stitcher(torch.full((given.n_neurons,), 0.1)).to(given.device)
    torch.nn.init.normal_(stitcher.read_out.weight, std=0.05)  # untrained, it would predict constants
    counts = torch.poisson(torch.full((given.n_trials, given.n_bins, given.n_neurons), 0.1)).to(given.device)
    session = SessionInput(stitcher, counts, torch.zeros_like(counts, dtype=torch.bool))
    every = torch.arange(given.n_neurons, device=given.device)
    some = every[: given.plain_neurons]
    with torch.inference_mode():
        backbone.left_out(session, "neuron", some)  # warm up
        quick_s, quick = seconds(lambda: backbone.left_out(session, "neuron", every), given.device)
        plain_s, plain = seconds(lambda: Backbone.left_out(backbone, session, "neuron", some), given.device)
    plain_s *= given.n_neurons / len(some)
    difference = (quick[..., : len(some)] - plain).abs().max().item()
    print(
        f"{given.size}, {given.n_neurons} neurons x {given.n_trials} trials x {given.n_bins} bins on {given.device} "
        f"({torch.get_num_threads()} threads, torch {torch.__version__}): "
        f"plain {plain_s:.1f} s, quick {quick_s:.1f} s, "
        f"ratio {plain_s / quick_s:.2f}; largest difference of log-rates {difference:.1e}"
    )


if __name__ == "__main__":
    main()

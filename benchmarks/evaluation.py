"""Time leaving out one neuron at a time: NDT1's quick way against the plain way. Both are exact.

    python benchmarks/evaluation.py                                        # a laptop: tiny model, 60 neurons
    python benchmarks/evaluation.py --size paper --n-neurons 600 --n-trials 100 --n-bins 100 --device cuda

The plain way runs one pass over all trials and outputs for each neuron. The quick way computes one output, and only in
trials in which the neuron fires. Firing rates are like those of recorded neurons: log-normal, median 1.5 Hz. Both ways
are timed on the same neurons, which are evenly spread from the quietest to the most active. They run in turn, so that
other work of the machine slows both. On a CPU the processor time of all threads is taken, not clock time, most of which
other programs may take. The medians of the rounds are scaled up to all neurons. The quick way shares one pass among all
neurons; this pass is timed by itself and counted once. The program prints the seconds per session of both ways, their
ratio, and the largest difference between their log-rates.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch

from neuromtm.batch import SessionInfo
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, VisibleGroup

SIZES = {
    "tiny": {"width": 64, "n_layers": 3, "n_heads": 4, "mlp_width": 128, "rope": True},
    "paper": {"width": 512, "n_layers": 5, "n_heads": 8, "mlp_width": 1024},
}
MEDIAN_RATE_HZ = 1.5
LOG_RATE_SD = 1.6
"""Standard deviation of the log-rates: a fifth of the (trial, neuron) pairs of 2 s trials are silent."""


def seconds(action: Callable[[], torch.Tensor], device: torch.device) -> tuple[float, torch.Tensor]:
    """The time that the action takes, and its result."""
    if device.type == "cpu":
        started_s = time.process_time()
        result = action()
        return time.process_time() - started_s, result
    torch.cuda.synchronize()
    started_s = time.perf_counter()
    result = action()
    torch.cuda.synchronize()
    return time.perf_counter() - started_s, result


def spike_counts(n_trials: int, n_bins: int, n_neurons: int, *, bin_size_s: float) -> torch.Tensor:
    """(trial, bin, neuron) Poisson counts, the quietest neuron first."""
    rates_hz = MEDIAN_RATE_HZ * torch.exp(LOG_RATE_SD * torch.randn(n_neurons)).sort().values
    return torch.poisson((bin_size_s * rates_hz).expand(n_trials, n_bins, n_neurons))


def silent_share(counts: torch.Tensor) -> float:
    """The share of the (trial, neuron) pairs without a spike."""
    return (counts == 0).all(dim=1).float().mean().item()


def one_at_a_time(model: StitchedModel, counts: torch.Tensor, neurons: torch.Tensor) -> torch.Tensor:
    """(trial, bin, left_out) log-rates by a pass over all trials and outputs for each neuron: the plain way."""
    predicted = []
    for neuron in neurons.tolist():
        hidden = torch.zeros_like(counts, dtype=torch.bool)
        hidden[..., neuron] = True
        group = VisibleGroup("session", counts.masked_fill(hidden, 0), hidden)
        predicted.append(model([group], "neuron").log_rates[0][..., neuron])
    return torch.stack(predicted, dim=-1)


def main() -> None:
    """Time both ways and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--n-neurons", type=int, default=60)
    parser.add_argument("--n-trials", type=int, default=40)
    parser.add_argument("--n-bins", type=int, default=100)
    parser.add_argument("--bin-size-s", type=float, default=0.02)
    parser.add_argument("--timed-neurons", type=int, default=60, help="neurons left out in each round (default: 60)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is timed (default: 3)")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    given = parser.parse_args()
    torch.manual_seed(0)
    counts = spike_counts(given.n_trials, given.n_bins, given.n_neurons, bin_size_s=given.bin_size_s)
    names = tuple(str(neuron) for neuron in range(given.n_neurons))
    model = StitchedModel(NDT1(**SIZES[given.size]))
    # a neuron that never fires has no mean to start from
    means = counts.mean((0, 1)).clamp(min=1e-4)
    model.add_session(SessionInfo("session", names, ("CA1",) * given.n_neurons), means)
    for stitcher in model.stitchers.values():
        torch.nn.init.normal_(stitcher.read_out.weight, std=0.05)  # an untrained read-out would predict constants
    model, counts = model.to(given.device).eval(), counts.to(given.device)
    group, n_timed = VisibleGroup("session", counts), min(given.timed_neurons, given.n_neurons)
    some = ((torch.arange(n_timed, device=given.device) + 0.5) * given.n_neurons / n_timed).long()
    times: dict[str, list[float]] = {"plain": [], "quick": [], "shared": []}
    with torch.inference_mode():
        model.left_out(group, "neuron", some[-1:])  # warm up
        for _ in range(given.rounds):
            plain_s, plain = seconds(partial(one_at_a_time, model, counts, some), given.device)
            quick_s, quick = seconds(partial(model.left_out, group, "neuron", some), given.device)
            shared_s, _ = seconds(lambda: model([group], "neuron").log_rates[0], given.device)
            for way, time_s in {"plain": plain_s, "quick": quick_s, "shared": shared_s}.items():
                times[way].append(time_s)
    plain_s, quick_s, shared_s = (statistics.median(of_rounds) for of_rounds in times.values())
    if silent_share(counts[..., some]) == 0:
        shared_s = 0.0  # there was no such pass
    scale = given.n_neurons / n_timed
    plain_s, quick_s = plain_s * scale, (quick_s - shared_s) * scale + shared_s
    difference = (quick - plain).abs().max().item()
    print(
        f"{given.size}, {given.n_neurons} neurons x {given.n_trials} trials x {given.n_bins} bins on {given.device} "
        f"({torch.get_num_threads()} threads, torch {torch.__version__}): "
        f"{silent_share(counts):.0%} of the pairs silent ({silent_share(counts[..., some]):.0%} of those timed); "
        f"plain {plain_s:.1f} s, quick {quick_s:.1f} s{' of processor time' * (given.device.type == 'cpu')}, "
        f"ratio {plain_s / quick_s:.2f} ({given.rounds} rounds of {n_timed} neurons); "
        f"largest difference of log-rates {difference:.1e}"
    )


if __name__ == "__main__":
    main()

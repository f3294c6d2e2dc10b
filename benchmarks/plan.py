"""Compute, and do not measure, what pretraining costs on machines that are not here: time, traffic, memory, disk.

    python benchmarks/plan.py
    python benchmarks/plan.py --speed 16:1074 2176:12675 --sessions 34 --gpus 1 8

Counted from the model itself: its weights, shared and per session. Taken from a measurement: trials a second of one GPU
by trials a batch (`--speed`). Assumed: the sizes of sessions, and how fast ranks exchange. Exchange is not taken to
overlap with computing, and validation and reading are left out.

The traffic of a step is that of `neuromtm.training.distributed.StitchedDDP`: the gradients of all shared weights, and
of the stitchers that any rank has used. Ranks draw their sessions independently of each other. `benchmarks/ranks.py`
measures it for two ranks.
"""

import argparse
from typing import NamedTuple

import numpy as np
from measuring import N_BINS, N_NEURONS, quiet, table

from neuromtm.batch import SessionInfo
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel

SPEED = ("16:1074", "64:3086", "128:4069", "544:5083", "2176:12675")
"""trials a batch : trials/s of one H200 in bf16, measured with an earlier version of this program"""
FLOAT = 4
GPUS_A_NODE = 8


class Weights(NamedTuple):
    """Parameters of a model."""

    shared: int
    of_session: int
    """of one session of the mean size"""

    def of(self, n_sessions: float) -> float:
        """With so many sessions' stitchers."""
        return self.shared + n_sessions * self.of_session


def count_weights(backbone: NDT1, *, n_neurons: int) -> Weights:
    """Count the parameters of an architecture and of one session's stitcher."""
    model = StitchedModel(backbone)
    shared = sum(parameter.numel() for parameter in model.parameters())
    model.add_session(SessionInfo("one", tuple(map(str, range(n_neurons))), ("LP",) * n_neurons))
    return Weights(shared, sum(parameter.numel() for parameter in model.parameters()) - shared)


def sessions_used(n_sessions: int, *, each_rank: int, n_ranks: int) -> float:
    """Expected number of different sessions in a step, if each rank draws `each_rank` of them."""
    return n_sessions * (1 - (1 - min(1.0, each_rank / n_sessions)) ** n_ranks)


def bytes_a_step(weights: Weights, n_used: float) -> float:
    """Gradients that the ranks average in a step, in bytes."""
    return FLOAT * weights.of(n_used)


def exchange_s(n_bytes: float, *, n_ranks: int, gb_per_s: float) -> float:
    """Seconds of a ring all-reduce: each rank sends and receives 2 (n - 1) / n of the bytes."""
    return 0.0 if n_ranks == 1 else 2 * (n_ranks - 1) / n_ranks * n_bytes / (gb_per_s * 1e9)


def trials_per_s(speed: dict[int, float], batch: float) -> float:
    """Speed of one GPU at a batch, between the measured ones by their logarithms, beyond them as at the nearest.

    Below the smallest one the time of a step stays, since launching kernels takes it.
    """
    sizes = sorted(speed)
    if batch < sizes[0]:
        return speed[sizes[0]] * batch / sizes[0]
    return float(np.exp(np.interp(np.log(batch), np.log(sizes), np.log([speed[size] for size in sizes]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[34, 459])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--trials", type=int, default=400, help="training trials of a session")
    parser.add_argument("--epochs", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=2176, help="trials a step, of all ranks together")
    parser.add_argument("--used", type=int, default=34, help="most sessions in the batch of a rank")
    parser.add_argument("--speed", nargs="+", default=SPEED, help="trials a batch : trials/s of one GPU")
    parser.add_argument("--node_gb_per_s", type=float, default=200.0, help="between the GPUs of a node")
    parser.add_argument("--net_gb_per_s", type=float, default=20.0, help="between nodes, for each GPU")
    given = parser.parse_args()
    quiet()
    speed = {int(batch): float(rate) for batch, _, rate in (pair.partition(":") for pair in given.speed)}
    weights = count_weights(NDT1(), n_neurons=N_NEURONS)
    print(f"NDT1: {weights.shared:,} shared weights, {weights.of_session:,} of a session of {N_NEURONS} neurons\n")
    rows = []
    for n in given.sessions:
        every = weights.of(n)
        counts = n * given.trials * N_BINS * N_NEURONS
        sizes = (every * 4 * FLOAT, every * FLOAT, counts, every * 3 * FLOAT, every * 4 * FLOAT)
        rows.append([n, f"{every / 1e6:,.0f}", *(f"{size / 1e9:,.1f}" for size in sizes)])
    columns = ("sessions", "weights, millions", "state on each GPU, GB", "average of the weights, GB")
    columns += ("training counts, GB", "a checkpoint, GB", "with averages, GB")
    print(table(columns, rows))
    rows = []
    for n in given.sessions:
        for n_gpus in given.gpus:
            own = given.batch / n_gpus
            each_rank = max(1, min(given.used, n, int(own)))
            used = sessions_used(n, each_rank=each_rank, n_ranks=n_gpus)
            n_bytes = bytes_a_step(weights, used)
            rate = given.node_gb_per_s if n_gpus <= GPUS_A_NODE else given.net_gb_per_s
            compute, exchange = own / trials_per_s(speed, own), exchange_s(n_bytes, n_ranks=n_gpus, gb_per_s=rate)
            n_steps = given.epochs * n * given.trials / given.batch
            hours = n_steps * (compute + exchange) / 3600
            cells = (f"{own:,.0f}", f"{n_steps:,.0f}", f"{used:,.0f}", f"{n_bytes / 1e6:,.0f}" if n_gpus > 1 else "-")
            times = (f"{1000 * compute:,.0f}", f"{1000 * exchange:,.0f}", f"{hours:,.2f}", f"{hours * n_gpus:,.1f}")
            rows.append([n, n_gpus, *cells, *times])
    columns = ("sessions", "GPUs", "trials a step on each", "steps", "stitchers used in a step", "MB averaged a step")
    columns += ("computing, ms", "exchange, ms", "hours", "GPU hours")
    print("\n" + table(columns, rows))


if __name__ == "__main__":
    main()

"""Time the steps of two ranks under plain DDP and under the strategy of `neuromtm.training.distributed`.

    python benchmarks/ranks.py

The model is NDT1 with synthetic sessions of 450 to 900 neurons. Each rank trains on trials of one session a step, and
the next step on another. The ranks are processes of one thread on this machine and exchange by gloo. Both strategies
take turns of a few steps within one run. For each number of sessions the program prints, for both: the median
milliseconds of a step, the bytes of gradients that a rank gives to the exchange in a step, and the largest memory of a
process. Memory counts weights, gradients, buffers of the exchange, and the moments of the sessions used so far.
"""

import argparse
import itertools
import os
import resource
import statistics
import tempfile
import time
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor, distributed, multiprocessing
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from neuromtm.batch import Scheme, SessionInfo
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from neuromtm.training.distributed import OccasionalGradients

N_RANKS = 2
STRATEGIES = ("plain DDP", "StitchedDDP")
SCHEMES: tuple[Scheme, ...] = ("neuron", "causal")
MEAN_COUNT = 0.1
"""spikes per bin of every neuron"""


class Rank:
    """One process of a training.

    Args:
        strategy: one of `STRATEGIES`.
        rank: number of this process.
        n_sessions: sessions in the model.
        given: options of the program.
    """

    def __init__(self, strategy: str, rank: int, n_sessions: int, given: argparse.Namespace):
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self.rank, self.given, self.step, self.n_bytes = rank, given, 0, 0
        self.model = StitchedModel(NDT1(width=given.width, max_bins=given.bins))
        n_neurons = np.random.default_rng(0).integers(450, 901, n_sessions)
        for number, n in enumerate(n_neurons.tolist()):
            names = tuple(f"{number}-{neuron}" for neuron in range(n))
            self.model.add_session(SessionInfo(str(number), names, ("CA1",) * n), torch.full((n,), MEAN_COUNT))
        self.counts = [MEAN_COUNT * torch.ones(given.trials, given.bins, n) for n in n_neurons.tolist()]
        self.gradients = None
        if strategy == "StitchedDDP":
            occasional = [
                name for name, _ in self.model.named_parameters() if "stitchers." in name or ".prompts." in name
            ]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(self.model, occasional)
            self.gradients = OccasionalGradients(p for name, p in self.model.named_parameters() if name in occasional)
        self.wrapped = DistributedDataParallel(self.model, find_unused_parameters=self.gradients is None)
        self.wrapped.register_comm_hook(None, allreduce_hook)  # as DDP does it itself, but by `_all_reduce`
        self.all_reduce = distributed.all_reduce
        distributed.all_reduce = self._all_reduce
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def _all_reduce(self, tensor: Tensor, *arguments, **options):
        self.n_bytes += tensor.nbytes
        return self.all_reduce(tensor, *arguments, **options)

    def train(self, n_steps: int) -> tuple[list[float], int]:
        """Train some steps; gives the seconds of each, and the bytes of one on the average."""
        times, self.n_bytes = [], 0
        for _ in range(n_steps):
            distributed.barrier()
            started_s = time.perf_counter()
            self._train_step()
            times.append(time.perf_counter() - started_s)
        return times, self.n_bytes // n_steps

    def _train_step(self) -> None:
        number = (N_RANKS * self.step + self.rank) % len(self.counts)
        generator = torch.Generator().manual_seed(self.step * N_RANKS + self.rank)
        counts = torch.poisson(self.counts[number], generator)
        hidden = torch.rand(counts.shape, generator=generator) < 0.3
        # the ranks use different prompts, as when each draws its own scheme
        scheme = SCHEMES[(self.step + self.rank) % len(SCHEMES)]
        output = self.wrapped([VisibleGroup(str(number), counts.masked_fill(hidden, 0), hidden)], scheme)
        self.optimizer.zero_grad()
        poisson_nll(output.log_rates[0], counts)[hidden].mean().backward()
        if self.gradients is not None:
            self.gradients.average()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1


def work(strategy: str, rank: int, n_sessions: int, folder: str, turns: Connection, given: argparse.Namespace) -> None:
    """Train as one rank whenever it is this strategy's turn, until a turn of 0 steps."""
    place = f"file://{folder}/{STRATEGIES.index(strategy)}"
    distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=N_RANKS)
    process = Rank(strategy, rank, n_sessions, given)
    while n_steps := turns.recv():
        times, n_bytes = process.train(n_steps)
        turns.send((times, n_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
    distributed.destroy_process_group()


def measure(n_sessions: int, given: argparse.Namespace) -> list[str]:
    """Let both strategies take turns; gives a line for each."""
    context = multiprocessing.get_context("spawn")
    ranks: dict[str, list[Connection]] = {strategy: [] for strategy in STRATEGIES}
    times: dict[str, list[float]] = {strategy: [] for strategy in STRATEGIES}
    said, processes = {}, []
    with tempfile.TemporaryDirectory() as folder:
        for strategy in STRATEGIES:
            for rank in range(N_RANKS):
                mine, its = context.Pipe()
                ranks[strategy].append(mine)
                process = context.Process(target=work, args=(strategy, rank, n_sessions, folder, its, given))
                processes.append(process)
                process.start()
        for turn in range(given.turns + 1):
            for strategy in STRATEGIES:
                for end in ranks[strategy]:
                    end.send(given.steps)
                answers = [end.recv() for end in ranks[strategy]]
                if turn:  # the first one warms up
                    times[strategy] += answers[0][0]
                said[strategy] = (answers[0][1], max(answer[2] for answer in answers))
        for end in itertools.chain(*ranks.values()):
            end.send(0)
        for process in processes:
            process.join()
    return [
        f"| {n_sessions} | {strategy} | {1e3 * statistics.median(times[strategy]):,.0f} | {n_bytes / 1e6:,.1f} | "
        f"{memory / 1e9:.2f} |"
        for strategy, (n_bytes, memory) in said.items()
    ]


def main() -> None:
    """Measure each number of sessions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[4, 34, 459])
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--trials", type=int, default=4, help="trials in a batch on each rank")
    parser.add_argument("--bins", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2, help="steps in a turn")
    parser.add_argument("--turns", type=int, default=3)
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(
        f"{N_RANKS} ranks of one thread by gloo, {given.trials} trials x {given.bins} bins, width {given.width}, "
        f"torch {torch.__version__}\n"
    )
    print("| sessions | strategy | ms a step | MB a step | largest memory, GB |\n| --- | --- | --- | --- | --- |")
    for n_sessions in given.sessions:
        print("\n".join(measure(n_sessions, given)), flush=True)


if __name__ == "__main__":
    main()

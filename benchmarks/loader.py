"""Time the loader: batches gathered from arrays in memory, and the data module with each of its caches.

    python benchmarks/loader.py
    python benchmarks/loader.py --device cuda --data data/sim --batch 64x4

The ways take turns, an epoch each. The first epoch of each way, which fills its cache, stands by itself; the files are
in the system's cache then. A batch is moved to the device as Lightning moves it.
"""

import inspect
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import lightning
import numpy as np
import torch
from measuring import arguments, clock_of, quiet, session_sizes, sessions_in, table, time_of, wait

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.shards import read_shard

CACHES = get_args(inspect.signature(SessionDataModule).parameters["cache"].annotation)


def epoch_of_cache(data: SessionDataModule, device: torch.device) -> int:
    """Read an epoch; gives the number of trials."""
    n_trials = 0
    for batch in data.train_dataloader():
        batch = data.on_before_batch_transfer(batch, 0)
        batch = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, device, 0), 0)
        n_trials += batch.n_trials
    wait(device)
    return n_trials


def gathered(counts: dict[str, np.ndarray], plans: list, device: torch.device) -> int:
    """Gather the counts of the same batches from arrays, and nothing else; gives the number of trials."""
    n_trials = 0
    for plan in plans:
        for eid, trials in plan:
            torch.from_numpy(counts[eid][list(trials)]).to(device)
            n_trials += len(trials)
    wait(device)
    return n_trials


def speed(way: Callable[[], int], clock: Callable[[], float]) -> float:
    """Trials a second of one epoch."""
    started_s = clock()
    n_trials = way()
    return n_trials / (clock() - started_s)


def main() -> None:
    """Print a table."""
    parser = arguments(__doc__)
    parser.add_argument("--batch", default="64x4", metavar="TRIALSxSESSIONS")
    parser.add_argument("--n-sessions", type=int, default=15, help="synthetic sessions (default: 15)")
    parser.add_argument("--n-train", type=int, default=128, help="training trials of each (default: 128)")
    parser.add_argument("--data", type=Path, help="folder of shards (default: synthetic ones at the paper's size)")
    given = parser.parse_args()
    quiet()
    n_trials, n_sessions = map(int, given.batch.split("x"))
    ways: dict[str, Callable[[], int]] = {}
    # what a data module asks its trainer
    strategy = SimpleNamespace(root_device=given.device)
    on_device = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)
    with sessions_in(given.data, session_sizes(given.n_sessions), n_train=given.n_train) as folder:
        options = {"root": str(folder), "role": "all", "batch_size": n_trials, "sessions_per_batch": n_sessions}
        for cache in CACHES:
            if cache == "auto":
                continue  # it is one of the others
            data = SessionDataModule(**options, cache=cache)
            data.trainer = on_device
            data.setup("fit")
            # the data module asks its trainer for the device
            data.trainer = lightning.Trainer(accelerator=given.device.type, devices=1, logger=False)
            ways[f"`cache: {cache}`"] = partial(epoch_of_cache, data, given.device)
        counts = {eid: read_shard(data.path(eid)).counts for eid in data.sessions}
        ways["gather in memory"] = partial(gathered, counts, list(data.train_dataloader().sampler), given.device)
        clock = clock_of(given.device)
        first = {name: speed(way, clock) for name, way in ways.items()}
        rounds = [{name: speed(way, clock) for name, way in ways.items()} for _ in range(given.rounds)]
    median = {name: statistics.median(speeds[name] for speeds in rounds) for name in ways}
    base = median["gather in memory"]
    how = f"median of {given.rounds} epochs, {time_of(given.device)}"
    print(f"Batches of {n_trials} trials of {n_sessions} sessions, one process, {how}.\n")
    rows = [
        (name, f"{first[name]:,.0f}", f"{median[name]:,.0f}", f"1/{base / median[name]:.1f}") for name in reversed(ways)
    ]
    print(table(("way", "first epoch, trials/s", "later epochs, trials/s", "of the gather"), rows))


if __name__ == "__main__":
    main()

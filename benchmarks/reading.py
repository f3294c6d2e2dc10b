"""Time reading batches of trials, for each place where the counts may lie.

    python benchmarks/reading.py
    python benchmarks/reading.py --data data/sim

Without --data it writes sessions of its own into a temporary folder: 15 of 65 neurons and 15 of 400, 100 bins a trial.
All ways read the same batches of one session each, in turn, in this process and from warm files, and give equal
batches. The program prints trials a second of processor time, the share of the bare gather (a NumPy index into arrays
in memory, no batch around it) and the share of the same gather with a batch around it:

- gather: the bare gather
- arrays: arrays in memory, as a batch
- hdf5: every trial through HDF5, as a batch; what `data.cache: none` did formerly
- none, memory, device: the options of `data.cache`; the device is the CPU
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from measuring import write_sessions

from neuromtm.batch import Batch, SessionGroup
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.dataset import SessionDataset, SessionSource
from neuromtm.data.device_cache import DeviceDataset
from neuromtm.data.sampler import BatchPlan
from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import open_shard_file, read_shard

N_SESSIONS, N_TRIALS = 15, 300


def ways_to_read(data: SessionDataModule) -> dict[str, Callable[[BatchPlan], object]]:
    """Name -> reads the batch of a plan."""
    sources = data._opened.sources
    arrays, files = {}, {}
    for eid, source in sources.items():
        shard = read_shard(source.path)
        arrays[eid] = {"spikes/counts": shard.counts, **{f"behavior/{n}": v for n, v in shard.behavior.items()}}
        files[eid] = open_shard_file(source.path)
    return {
        "gather": lambda plan: [arrays[group.eid]["spikes/counts"][list(group.trials)] for group in plan],
        "arrays": lambda plan: batch_of(sources, plan, lambda eid, name, trials: arrays[eid][name][trials]),
        "hdf5": lambda plan: batch_of(sources, plan, lambda eid, name, trials: read_trials(files[eid][name], trials)),
        "none": SessionDataset(sources).__getitem__,
        "memory": SessionDataset(sources, mapped=True).__getitem__,
        "device": DeviceDataset(SessionDataset(sources), torch.device("cpu")).__getitem__,
    }


def batch_of(sources: dict[str, SessionSource], plan: BatchPlan, read: Callable[..., np.ndarray]) -> Batch:
    """A batch read by a function of eid, dataset and trials."""
    groups = []
    for group in plan:
        trials, source = np.asarray(group.trials, np.int64), sources[group.eid]
        groups.append(
            SessionGroup(
                eid=group.eid,
                counts=torch.from_numpy(read(group.eid, "spikes/counts", trials)),
                region=source.region,
                trial=torch.from_numpy(trials),
                choice=torch.from_numpy(source.choice[trials]),
                behavior={
                    name: torch.from_numpy(read(group.eid, f"behavior/{name}", trials)) for name in source.behaviors
                },
            )
        )
    return Batch(tuple(groups))


def time_ways(folder: Path, *, n_batches: int, n_rounds: int) -> None:
    """Print a line for each way."""
    data = SessionDataModule(root=str(folder), role="all")
    data.setup()
    plans = list(data.train_dataloader().sampler)[:n_batches]
    ways = ways_to_read(data)
    for plan in plans:  # warms the files, and checks every way
        expected = ways["arrays"](plan).groups
        for name in ("hdf5", "none", "memory", "device"):
            for found, group in zip(ways[name](plan).groups, expected, strict=True):
                assert torch.equal(found.counts, group.counts)
    n_trials = sum(len(group.trials) for plan in plans for group in plan)
    speeds = {name: [] for name in ways}
    for _ in range(n_rounds):  # in turn, so that what else the machine does falls on all
        for name, read in ways.items():
            started_s = time.process_time()
            for plan in plans:
                read(plan)
            speeds[name].append(n_trials / (time.process_time() - started_s))
    n_neurons = sorted({len(source.neurons) for source in data._opened.sources.values()})
    print(f"{len(data.sessions)} sessions, {n_neurons[0]} to {n_neurons[-1]} neurons, {data.n_bins} bins")
    middle = {name: float(np.median(found)) for name, found in speeds.items()}
    for name, speed in middle.items():
        gather, arrays = speed / middle["gather"], speed / middle["arrays"]
        print(f"{name:8}{speed:>12,.0f} trials/s{gather:8.3f} of gather{arrays:8.3f} of arrays")


def main() -> None:
    """Time the ways on given sessions, or on sessions of two sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of shards")
    parser.add_argument("--n-batches", type=int, default=200)
    parser.add_argument("--n-rounds", type=int, default=7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.data is not None:
        time_ways(given.data, n_batches=given.n_batches, n_rounds=given.n_rounds)
        return
    for n_neurons in (65, 400):
        with tempfile.TemporaryDirectory() as folder:
            write_sessions(Path(folder), [n_neurons] * N_SESSIONS, n_train=N_TRIALS)
            time_ways(Path(folder), n_batches=given.n_batches, n_rounds=given.n_rounds)


if __name__ == "__main__":
    main()

"""Time the start of a training with 4, 34 and 459 sessions, each part beside its former way.

python benchmarks/startup.py

The sessions are small and random; they are made in a temporary folder. The former way reads all counts for the mean
counts and writes the manifest for every session. Times are of this process alone (processor time), in seconds.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from measuring import shard_of

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import FILE_NAME, ManifestWriter, add_shard
from neuromtm.data.shards import Shard, write_shard
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel


class Size(NamedTuple):
    """Of each session."""

    n_trials: int
    n_bins: int
    n_neurons: int


def random_shard(eid: str, size: Size) -> Shard:
    """A session of random counts."""
    counts = np.random.default_rng(list(eid.encode())).poisson(0.2, size).astype(np.uint8)
    return shard_of(eid, counts, n_val=size.n_trials // 10, n_test=size.n_trials // 5)


def seconds(run: Callable[[], object]) -> float:
    """Processor time of a call."""
    started_s = time.process_time()
    run()
    return time.process_time() - started_s


def measure(folder: Path, n_sessions: int, size: Size) -> dict[str, float]:
    """Make the sessions, list them both ways, and start a training up to its first batch.

    Returns:
        Part -> seconds.
    """
    paths = [folder / f"session-{n:05d}.h5" for n in range(n_sessions)]
    for path in paths:
        write_shard(path, random_shard(path.stem, size))

    def one_by_one() -> None:
        for path in paths:
            add_shard(path, "pretrain")

    def in_batches() -> None:
        with ManifestWriter(folder) as manifest:
            for path in paths:
                manifest.add(path, "pretrain")

    # checksums included, which are the same work both ways
    times = {"list the shards, a manifest each session": seconds(one_by_one)}
    (folder / FILE_NAME).unlink()
    times["list the shards, the manifest in batches"] = seconds(in_batches)
    data = SessionDataModule(root=str(folder), batch_size=64, sessions_per_batch=4)
    times["setup"] = seconds(lambda: data.setup("fit"))
    counted, means = {}, {}
    times["mean counts, from all counts"] = seconds(
        lambda: counted.update((eid, data.counted_means(eid)) for eid in data.sessions)
    )
    times["mean counts, from the shards' headers"] = seconds(
        lambda: means.update((eid, data.mean_counts(eid)) for eid in data.sessions)
    )
    assert all(means[eid].equal(counted[eid]) for eid in counted)
    model = StitchedModel(NDT1(width=128, n_layers=2, n_heads=4))
    times["stitchers"] = seconds(lambda: [model.add_session(data.sessions[eid], means[eid]) for eid in data.sessions])
    times["first batch of four sessions"] = seconds(lambda: next(iter(data.train_dataloader())))
    return times


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-sessions", type=int, nargs="+", default=[4, 34, 459])
    parser.add_argument("--n-trials", type=int, default=100)
    parser.add_argument("--n-bins", type=int, default=20)
    parser.add_argument("--n-neurons", type=int, default=60)
    given = parser.parse_args()
    size = Size(given.n_trials, given.n_bins, given.n_neurons)
    columns = {}
    for n_sessions in given.n_sessions:
        with tempfile.TemporaryDirectory() as folder:
            columns[n_sessions] = measure(Path(folder), n_sessions, size)
    print(f"Sessions of {size.n_trials} trials, {size.n_bins} bins, {size.n_neurons} neurons; processor seconds.\n")
    print("| part | " + " | ".join(f"{n} sessions" for n in columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for part in columns[given.n_sessions[0]]:
        print(f"| {part} | " + " | ".join(f"{times[part]:.3f}" for times in columns.values()) + " |")


if __name__ == "__main__":
    main()

"""Time reading random trials of a shard: one read per trial against one list of trials as HDF5 index.

python benchmarks/reading.py SHARD
"""

import argparse
import time
from pathlib import Path

import numpy as np

from neuromtm.data.shards import open_shard, read_trials


def main() -> None:
    """Time both ways on the same trials and print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shard", type=Path)
    parser.add_argument("--batch-size", type=int, default=16)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    with open_shard(given.shard) as file:
        counts = file["spikes/counts"]
        shape = counts.shape
        batches = np.array_split(rng.permutation(len(counts)), max(1, len(counts) // given.batch_size))
        counts[()]  # both ways read from the system's cache
        started_s = time.perf_counter()
        listed = [counts[np.sort(batch)] for batch in batches]
        middle_s = time.perf_counter()
        single = [read_trials(counts, np.sort(batch)) for batch in batches]
        ended_s = time.perf_counter()
    assert all((a == b).all() for a, b in zip(listed, single, strict=True))
    list_rate, single_rate = shape[0] / (middle_s - started_s), shape[0] / (ended_s - middle_s)
    print(
        f"{given.shard.name} {shape}: a list {list_rate:,.0f} trials/s, "
        f"one by one {single_rate:,.0f} trials/s, ratio {single_rate / list_rate:.1f}"
    )


if __name__ == "__main__":
    main()

"""Time and memory of a session among 100, 1,000 and 10,000: both must be the same.

    python benchmarks/many_sessions.py
    python benchmarks/many_sessions.py --n-sessions 100 1000

The sessions are tiny (12 trials, 5 bins, 6 neurons), so that what is done for each of them shows. They are made in a
temporary folder. Each part runs in a process of its own. Times are processor time; memory is what the process holds
more when the part has ended, and still has its results.
"""

import argparse
import contextlib
import gc
import io
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from measuring import head, shard_of, table

from data_prep.__main__ import main as data_prep
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import ManifestWriter, folder_problems, read_manifest
from neuromtm.data.shards import write_shard
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.first_weights import add_new_sessions

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Cost(NamedTuple):
    """Of a part."""

    seconds: float
    n_bytes: int


def write(folder: Path, n_sessions: int) -> None:
    """The same tiny session again and again, under other names."""
    counts = np.random.default_rng(0).poisson(0.5, (12, 5, 6)).astype(np.uint8)
    shard = shard_of("one", counts, n_val=2, n_test=2)
    with ManifestWriter(folder) as manifest:
        for number in range(n_sessions):
            eid = f"session-{number:05d}"
            path = folder / f"{eid}.h5"
            write_shard(path, replace(shard, header=replace(shard.header, eid=eid, subject=eid)))
            manifest.add(path, "pretrain")


def module(folder: Path, *, sessions_per_batch: int = 1) -> SessionDataModule:
    """Ready to give batches."""
    options = {"batch_size": 8, "sessions_per_batch": sessions_per_batch, "cache": "memory"}
    data = SessionDataModule(root=str(folder), **options)
    data.setup("fit")
    return data


def described(folder: Path) -> None:
    """The tables of `describe`, printed nowhere."""
    with contextlib.redirect_stdout(io.StringIO()):
        data_prep(["describe", str(folder)])


def stitchers(data: SessionDataModule) -> StitchedModel:
    """A tiny model with weights for each session."""
    model = StitchedModel(NDT1(width=8, n_layers=1, n_heads=2, mlp_width=8, max_bins=8))
    add_new_sessions(model, data)
    return model


def cost(prepare: Callable[[], object], run: Callable[[object], object]) -> Cost:
    """What a part takes, in a forked process.

    Args:
        prepare: what comes before it.
        run: the part, on what `prepare` gave.
    """
    source, sink = os.pipe()
    process = os.fork()
    if process == 0:
        given = prepare()
        gc.collect()
        before, began_s = held_bytes(), time.process_time()
        result = run(given)
        took_s = time.process_time() - began_s
        gc.collect()
        os.write(sink, f"{took_s} {held_bytes() - before}".encode())
        del result
        os._exit(0)
    os.close(sink)
    _, status = os.waitpid(process, 0)
    with os.fdopen(source) as said:
        seconds, n_bytes = said.read().split()
    assert status == 0
    return Cost(float(seconds), int(n_bytes))


def held_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def parts(folder: Path) -> dict[str, Cost]:
    """Each part and its cost."""

    def several() -> SessionDataModule:
        return module(folder, sessions_per_batch=4)

    return {
        "reading the manifest": cost(lambda: None, lambda _: read_manifest(folder)),
        "`data_prep check`": cost(lambda: None, lambda _: folder_problems(folder)),
        "`data_prep describe`": cost(lambda: None, lambda _: described(folder)),
        "setup of the data": cost(lambda: None, lambda _: module(folder)),
        "first weights of every session": cost(lambda: module(folder), stitchers),
        "first batch, of one session": cost(lambda: module(folder), lambda data: next(iter(data.train_dataloader()))),
        "first batch, of four sessions": cost(several, lambda data: next(iter(data.train_dataloader()))),
    }


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-sessions", type=int, nargs="+", default=[100, 1000, 10_000])
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(head(torch.device("cpu")) + "\n", flush=True)
    found = {}
    with tempfile.TemporaryDirectory() as warm:
        write(Path(warm), 8)
        described(Path(warm))  # imports are no cost of a session
        stitchers(module(Path(warm)))
    for n_sessions in given.n_sessions:
        with tempfile.TemporaryDirectory() as folder:
            began_s = time.process_time()
            write(Path(folder), n_sessions)
            found[n_sessions] = {"writing": Cost(time.process_time() - began_s, 0)} | parts(Path(folder))
            seconds = sum(cost.seconds for cost in found[n_sessions].values())
            print(f"{n_sessions} sessions: {seconds:.1f} s in all", file=sys.stderr, flush=True)
    few = given.n_sessions[0]
    columns = ["part", *(f"ms of each of {n:,}" for n in found), *(f"/ of {few:,}" for n in list(found)[1:])]
    rows = []
    for part in found[few]:
        each_ms = {n: 1e3 * of[part].seconds / n for n, of in found.items()}
        ratios = [f"{each_ms[n] / each_ms[few]:.2f}" for n in list(found)[1:]]
        rows.append([part, *(f"{ms:.3f}" for ms in each_ms.values()), *ratios])
    print(table(columns, rows) + "\n")
    rows = [[part, *(f"{of[part].n_bytes / n / 1024:.1f}" for n, of in found.items())] for part in found[few]][1:]
    print(table(["part", *(f"KB of each of {n:,}" for n in found)], rows))


if __name__ == "__main__":
    main()

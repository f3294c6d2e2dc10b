"""Time what the checks for damaged files cost: the same reading with them and without, in turn, in one process.

    python benchmarks/damage.py

Opening: `setup` of many small sessions, which opens and reads every header. Reading: batches of 16 trials of one
session, from the files and from mapped files. HDF5's checksum of each trial is on both sides: it was always compared.
Seals, their checksums of trials and the look whether a file has changed are on one side only. Times are of this process
alone (processor time); a ratio is the median over the rounds, each of which times both sides.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from measuring import table, write_sessions

from neuromtm.data import chunks, shards
from neuromtm.data.chunks import ShardReader
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.dataset import SessionDataset
from neuromtm.training.checkpoint_bytes import require_whole

N_TRIALS = 300


@contextmanager
def unchecked() -> Generator[None]:
    """Read without what is new: seals, their checksums, and the look whether an open file has changed."""
    descriptor, map_ = ShardReader._descriptor, ShardReader._map
    with ExitStack() as stack:
        stack.enter_context(patch.object(shards, "require_seal", lambda path, parts=None: None))
        stack.enter_context(patch.object(chunks, "trial_sums", lambda path: {}))
        stack.enter_context(
            patch.object(ShardReader, "_descriptor", lambda own, eid: own._open.get(eid) or descriptor(own, eid))
        )
        stack.enter_context(
            patch.object(ShardReader, "_map", lambda own, eid: own._maps[eid] if eid in own._maps else map_(own, eid))
        )
        yield


def seconds(run: Callable[[], object]) -> float:
    """Processor time of a call."""
    started_s = time.process_time()
    run()
    return time.process_time() - started_s


def both(checked: Callable[[], object], former: Callable[[], object], n_rounds: int) -> tuple[float, float, float]:
    """Median seconds with the checks, without, and the median of the ratios."""
    pairs = []
    for _ in range(n_rounds):
        with unchecked():
            without_s = seconds(former)
        pairs.append((seconds(checked), without_s))
    with_s, without_s = np.array(pairs).T
    return float(np.median(with_s)), float(np.median(without_s)), float(np.median(with_s / without_s))


def opening(folder: Path, n_rounds: int) -> tuple[float, float, float]:
    """Set up a data module on all sessions of a folder."""

    def set_up() -> None:
        SessionDataModule(root=str(folder), role="all").setup("fit")

    set_up()
    return both(set_up, set_up, n_rounds)


def reading(folder: Path, *, mapped: bool, n_rounds: int) -> tuple[float, float, float]:
    """Read an epoch, from files whose places are known; a mapped file's trials are checked only the first time."""
    data = SessionDataModule(root=str(folder), role="all")
    data.setup("fit")
    plans = list(data.train_dataloader().sampler)
    sides = []
    for context in (unchecked, ExitStack):
        with context():
            dataset = SessionDataset(data._opened.sources, mapped=mapped)
            for plan in plans:
                dataset[plan]
        sides.append(lambda dataset=dataset: [dataset[plan] for plan in plans])
    return both(sides[1], sides[0], n_rounds)


def loading(n_rounds: int) -> tuple[float, float, float]:
    """Load a checkpoint, with and without its checksums."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.ckpt"
        torch.save({f"weight {n}": torch.randn(1000, 250) for n in range(300)}, path)
        check, load = lambda: require_whole(path), lambda: torch.load(path)
        pairs = [(seconds(check), seconds(load)) for _ in range(n_rounds)]
    check_s, load_s = np.median(pairs, axis=0)
    both_s = check_s + load_s
    return both_s, load_s, both_s / load_s


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-rounds", type=int, default=9)
    parser.add_argument("--n-opened", type=int, default=459, help="small sessions that are opened (default: 459)")
    parser.add_argument("--n-read", type=int, default=15, help="sessions that are read (default: 15; 0: opening alone)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        write_sessions(Path(folder), [60] * given.n_opened, n_train=84, n_bins=20)
        rows.append(
            (f"opening {given.n_opened} sessions of 100 trials, 60 neurons", opening(Path(folder), given.n_rounds))
        )
    for n_neurons in (65, 400) if given.n_read else ():
        sessions = f"{given.n_read} sessions, {n_neurons} neurons"
        with tempfile.TemporaryDirectory() as folder:
            write_sessions(Path(folder), [n_neurons] * given.n_read, n_train=N_TRIALS)
            rows.append((f"opening {sessions}", opening(Path(folder), given.n_rounds)))
            for name, mapped in (("none", False), ("memory", True)):
                found = reading(Path(folder), mapped=mapped, n_rounds=given.n_rounds)
                rows.append((f"an epoch of {sessions}, `{name}`", found))
    if given.n_read:
        rows.append(("loading a checkpoint of 300 MB", loading(given.n_rounds)))
    cells = [(name, f"{1e3 * one:.1f}", f"{1e3 * other:.1f}", f"{ratio:.3f}") for name, (one, other, ratio) in rows]
    print(table(("part", "checked, ms", "unchecked, ms", "ratio"), cells))


if __name__ == "__main__":
    main()

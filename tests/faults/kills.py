"""Kill what writes files by SIGKILL, at random moments, and start it again.

    python -m tests.faults.kills             5 cases of each work
    python -m tests.faults.kills --n 40      more of them

The promise: work that was killed at any moment, once or several times, is started again by the same command, and ends
with what it leaves if nobody disturbs it, byte by byte, and without a temporary file.

| work | what must be the same |
| --- | --- |
| preparation | all shards and the manifest |
| training | the weights of `last.ckpt` and `best.ckpt`, which are written after every step here |
| test | `metrics.json` and `neurons.csv` |
| prediction | the predicted rates |
| baseline | `metrics.json` and `neurons.csv` |
| demo | see `tests.faults.demo`; it takes long, so that it has a tenth of the cases |

Half of the kills come right before a change of the file system, e.g. before a file is opened or gets its name. It is
drawn which one, of all that the undisturbed work does. The others come at any time. Each start is a process of its own,
forked from one that has all libraries.

The exit code is 1 if a case failed.
"""

import argparse
import contextlib
import fcntl
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from neuromtm.training.checkpoint import load_checkpoint
from tests.faults import demo
from tests.faults.what_is_read import digest

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.chmod", "os.rmdir", "os.truncate")
"""what Python tells of the file system, before it is done"""
PIPE_BYTES = 2**20
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ROOT = Path(__file__).resolve().parents[2]


class Work(NamedTuple):
    """Something that writes into a folder."""

    name: str
    run: Callable[[Path], object]
    left: Callable[[Path], Any]
    """the part of what it leaves that must always be the same"""


class Undisturbed(NamedTuple):
    """What a work does and leaves if nobody kills it."""

    n_changes: int
    """of the file system"""
    took_s: float
    left: str
    files: frozenset[str]


class Kill(NamedTuple):
    """When a process is killed."""

    before_change: int | None = None
    """number of the change of the file system, from 0"""
    after_s: float | None = None


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    """exit code, or minus the number of the signal"""
    n_changes: int
    said: str


# ---- a process


def in_process(work: Work, folder: Path, kill: Kill | None = None) -> Ended:
    """Do some work in a forked process, and kill it."""
    # pipes, because a process whose files may not become large must still be able to speak
    (said, log), (changes, counter) = os.pipe(), os.pipe()
    for end in (said, changes):
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(end, False)
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        _work(work, folder, kill or Kill(), log, counter)
    if kill is not None and kill.after_s is not None:
        time.sleep(kill.after_s)
        os.kill(process, signal.SIGKILL)  # it has not been waited for, so that its number is still its own
    _, status = os.waitpid(process, 0)
    found = [_all_of(end) for end in (said, changes)]
    for end in (said, log, changes, counter):
        os.close(end)
    return Ended(os.waitstatus_to_exitcode(status), len(found[1]), found[0].decode(errors="replace"))


def _all_of(pipe: int) -> bytes:
    with contextlib.suppress(BlockingIOError):
        return os.read(pipe, PIPE_BYTES)
    return b""


def _work(work: Work, folder: Path, kill: Kill, log: int, counter: int) -> None:
    code = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        own, n_changes, main = str(folder), 0, threading.get_ident()

        def before(event: str, arguments: tuple) -> None:
            nonlocal n_changes
            # other threads sign a lock now and then, which would make the number of changes one of chance
            if event not in CHANGES or threading.get_ident() != main or not str(arguments[0]).startswith(own):
                return
            if event == "open" and not arguments[2] & WRITES:
                return
            if n_changes == kill.before_change:
                os.kill(os.getpid(), signal.SIGKILL)
            n_changes += 1
            os.write(counter, b".")

        sys.addaudithook(before)
        try:
            work.run(folder)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


# ---- a case


def undisturbed(work: Work, folder: Path) -> Undisturbed:
    """Do the work once, to know what it leaves."""
    began_s = time.monotonic()
    ended = in_process(work, folder)
    assert ended.status == 0, ended.said
    return Undisturbed(ended.n_changes, time.monotonic() - began_s, digest(work.left(folder)), files(folder))


def files(folder: Path) -> frozenset[str]:
    """Names of the files, without TensorBoard's, of which there is one a start."""
    paths = (str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return frozenset(path for path in paths if "events.out" not in path)


def case(work: Work, whole: Undisturbed, folder: Path, rng: random.Random) -> tuple[int, str]:
    """Kill the work once to three times and let it end. Gives the number of kills, and what is wrong."""
    n_killed = 0
    for _ in range(rng.choice([1, 1, 2, 3])):
        by_time = rng.random() < 0.5
        kill = Kill(after_s=rng.random() * whole.took_s) if by_time else Kill(rng.randrange(whole.n_changes))
        ended = in_process(work, folder, kill)
        if ended.status not in (0, -signal.SIGKILL):
            return n_killed, f"start after {n_killed} kills ended with {ended.status}: {ended.said[-500:]}"
        n_killed += ended.status != 0
    ended = in_process(work, folder)
    if ended.status != 0:
        return n_killed, f"the last start ended with {ended.status}: {ended.said[-500:]}"
    return n_killed, what_is_wrong(work, whole, folder)


def what_is_wrong(work: Work, whole: Undisturbed, folder: Path) -> str:
    """How a folder differs from that of the undisturbed work; empty if it does not."""
    if digest(work.left(folder)) != whole.left:
        return "it left something else"
    # a result that was there already is kept under another name, which has the time
    new = sorted(path for path in files(folder) - whole.files if path.endswith(".tmp") or Path(path).name[0] == ".")
    missing = sorted(whole.files - files(folder))
    return "; ".join(filter(None, (f"left behind: {new}" if new else "", f"missing: {missing}" if missing else "")))


def campaign(work: Work, folder: Path, *, n: int, seed: int) -> Iterator[tuple[int, str]]:
    """So many cases of a work, in new folders."""
    whole = undisturbed(work, folder / f"{work.name}-whole")
    for number in range(n):
        yield case(work, whole, folder / f"{work.name}-{number}", random.Random(f"{work.name} {seed} {number}"))


# ---- what is killed


def preparation(n_sessions: int = 3) -> Work:
    """Simulates sessions."""
    from data_prep.__main__ import main

    sizes = (
        "--n-neurons",
        "12",
        "--n-trials",
        "20",
        "--n-heldout",
        "0",
        "--n-regions",
        "3",
        "--window-s",
        "-0.1",
        "0.2",
    )

    def prepare(folder: Path) -> None:
        sys.exit(main(["simulate", "--out", str(folder), "--n-sessions", str(n_sessions), *sizes]))

    return Work("preparation", prepare, lambda folder: [path.read_bytes() for path in visible(folder)])


def visible(folder: Path) -> list[Path]:
    """The files of a folder that are no hidden ones."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def training(data: Path, *more: str) -> Work:
    """A short training that writes a checkpoint after every step."""
    from tests.running import neuromtm, pretrain

    often = ("--checkpoint_every_n_minutes=0.000001", "--trainer.max_steps=4", "--behavior.validate=false")
    few = ("--figures.n_val_sessions=0", "--activity.n_val_neurons=1", "--activity.n_val_regions=1")

    def train(folder: Path) -> None:
        neuromtm(*pretrain(ROOT, data, "--run_dir", folder, "--auto_resume=true", *often, *few, *more))

    names = ("last.ckpt", "best.ckpt")
    return Work(
        "training", train, lambda folder: [load_checkpoint(folder / "checkpoints" / n)["state_dict"] for n in names]
    )


def scoring(name: str, trained: Path) -> Work:
    """A test or a prediction of a trained run.

    Args:
        name: `test` or `prediction`.
        trained: run directory of the training.
    """
    from tests.running import neuromtm

    own = ("--config", trained / "config.yaml", "--ckpt_path", trained / "checkpoints" / "best.ckpt")

    def score(folder: Path) -> None:
        neuromtm("test" if name == "test" else "predict", *own, "--run_dir", folder)

    return Work(name, score, metrics if name == "test" else predictions)


def metrics(folder: Path) -> list[bytes]:
    """What a test and a baseline write."""
    return [(folder / name).read_bytes() for name in ("metrics.json", "neurons.csv")]


def predictions(folder: Path) -> list[Any]:
    """The predicted rates of all sessions."""
    found = []
    for path in sorted((folder / "predictions").glob("*.h5")):
        with h5py.File(path) as file:
            found.append(file["rates"][()])
    assert found
    return found


def baseline(data: Path) -> Work:
    """The smoothed mean response of each session."""
    from tests.running import neuromtm

    return Work(
        "baseline",
        lambda out: neuromtm("baseline", "--kind", "psth", "--role", "all", "--data", data, "--out", out),
        metrics,
    )


def every_work(folder: Path) -> list[Work]:
    """All of them, on sessions and a training that are made in the folder."""
    from data_prep.__main__ import main as prepare
    from tests.running import SIMULATE, WINDOW, neuromtm, pretrain

    data, run = folder / "data", folder / "run"
    assert prepare(["simulate", "--out", str(data), *SIMULATE, *WINDOW]) == 0
    neuromtm(*pretrain(ROOT, data, "--run_dir", run))
    return [preparation(), training(data), scoring("test", run), scoring("prediction", run), baseline(data)]


def main() -> int:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5, help="cases of each work (default: 5)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    n_failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for work in every_work(Path(folder)):
            n_kills = 0
            for number, (killed, wrong) in enumerate(campaign(work, Path(folder), n=given.n, seed=given.seed)):
                n_kills += killed
                if wrong:
                    n_failed += 1
                    print(f"FAILED {work.name}, case {number}: {wrong}", flush=True)
            print(f"{work.name}: {given.n} cases, {n_kills} kills", flush=True)
        demos = demo.campaign(Path(folder) / "demo", n=-(-given.n // 10), seed=given.seed)
        n_failed += sum(bool(found.wrong) for found in demos)
        for number, found in enumerate(demos):
            if found.wrong:
                print(f"FAILED demo, case {number}: {found.wrong}", flush=True)
        print(f"demo: {len(demos)} cases, {sum(found.was_killed for found in demos)} kills", flush=True)
    print(f"seed {given.seed}: {n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())

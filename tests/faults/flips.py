"""Flip bits and bytes of shards, manifests, checkpoints and saved models, cut them short, and read them.

    python -m tests.faults.flips                            80 cases, through the readers of this package
    python -m tests.faults.flips --n 400 --n-commands 12    more of them, and some through the commands

The promise: whatever happened to a file on its way, a number that the program reads is the number that was written, or
one sentence says which file is damaged. A case damages one file in one place, at random but the same for a seed:

| damage | what becomes of the file |
| --- | --- |
| bit | one bit is flipped |
| byte | one byte becomes another |
| cut | it ends somewhere before its end |
| zeros | up to 4,096 bytes, as a block of a disk has, become zeros |

Of the shards, a third of the cases each damages the trials, the other datasets, and any place of the file.

Then everything is read as the commands read it: of a shard and a manifest as `fit`, `test` and `predict` do, with the
counts mapped into memory and read from the files, and by `neuromtm.Sessions`; of a checkpoint as a training that goes
on, a fine-tuning, `test` and `neuromtm.load` do; of a saved model by `neuromtm.load`. Each reading must end in a
`UserError` of one line, or give every number bit by bit as the whole file does. Anything else is a failure: another
number, another error, the end of the process, or no end within a minute. The cases run in a process of their own, which
is started again after it died. With `--n-commands`, the first cases also go through the commands themselves.

The exit code is 1 if a case failed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np

import neuromtm
from neuromtm.data.manifest import FILE_NAME
from neuromtm.errors import UserError
from neuromtm.training.checkpoint import load_checkpoint
from tests.faults.what_is_read import READINGS, Good, Kind, digest

SHARES: dict[Kind, float] = {"shard": 0.4, "manifest": 0.2, "checkpoint": 0.2, "saved model": 0.2}
DAMAGES = {"bit": 0.45, "byte": 0.25, "cut": 0.15, "zeros": 0.15}
BLOCK_BYTES = 4096
PATIENCE_S = 60
ROOT = Path(__file__).resolve().parents[2]
REFUSED, SAME = "refused", "without effect"
"""what a reading may come to"""


class Case(NamedTuple):
    """One damaged file."""

    number: int
    kind: Kind
    file: str
    """its name in its folder"""
    damage: str
    place: int
    content: bytes


class Found(NamedTuple):
    """What became of a case."""

    case: Case
    outcomes: dict[str, str]
    """reading -> `REFUSED`, `SAME` or what is wrong"""

    @property
    def failures(self) -> dict[str, str]:
        """The readings that break the promise."""
        return {name: outcome for name, outcome in self.outcomes.items() if outcome not in (REFUSED, SAME)}

    @property
    def is_refused(self) -> bool:
        """Whether any reading refused the file."""
        return REFUSED in self.outcomes.values()


# ---- the damage


def cases(good: Good, *, n: int, seed: int) -> Iterator[Case]:
    """So many cases; those of a seed begin alike, however many there are."""
    files: dict[Kind, list[Path]] = {
        "shard": sorted(good.data.glob("*.h5")),
        "manifest": [good.data / FILE_NAME],
        "checkpoint": [good.checkpoint],
        "saved model": [good.saved / "model.safetensors", good.saved / "config.json"],
    }
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        kind = list(SHARES)[rng.choice(len(SHARES), p=list(SHARES.values()))]
        damage = list(DAMAGES)[rng.choice(len(DAMAGES), p=list(DAMAGES.values()))]
        path = files[kind][rng.integers(len(files[kind]))]
        whole = path.read_bytes()
        anywhere = np.arange(len(whole))
        places = (*places_of_values(path), anywhere)[rng.integers(3)] if kind == "shard" else anywhere
        while True:
            place = int(rng.choice(places))
            content = _damaged(whole, damage, place, rng)
            if content != whole:
                break
        yield Case(number, kind, path.name, damage, place, content)


@cache
def places_of_values(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Places of the bytes of a shard's trials, and of those of all other datasets. In a small shard they are few."""
    trials: list[np.ndarray] = []
    others: list[np.ndarray] = []

    def look(_: str, item: object) -> None:
        if not isinstance(item, h5py.Dataset):
            return
        if item.chunks is not None:
            item.id.chunk_iter(lambda chunk: trials.append(chunk.byte_offset + np.arange(chunk.size)))
        elif (offset := item.id.get_offset()) is not None:
            others.append(offset + np.arange(item.id.get_storage_size()))

    with h5py.File(path) as file:
        file.visititems(look)
    return np.concatenate(trials), np.concatenate(others)


def _damaged(whole: bytes, damage: str, place: int, rng: np.random.Generator) -> bytes:
    content = bytearray(whole)
    if damage == "bit":
        content[place] ^= 1 << int(rng.integers(8))
    elif damage == "byte":
        content[place] = int(rng.integers(256))
    elif damage == "cut":
        del content[place:]
    else:
        stop = min(len(content), place + int(rng.integers(1, BLOCK_BYTES + 1)))
        content[place:stop] = bytes(stop - place)
    return bytes(content)


def laid_out(case: Case, good: Good, folder: Path) -> Good:
    """The good files with the damaged one in the place of its own, in a new folder."""
    copies = Good(folder / "data", folder / good.checkpoint.name, folder / "saved", good.config)
    for there, here in ((good.data, copies.data), (good.saved, copies.saved)):
        here.mkdir()
        for path in there.iterdir():
            if path.is_file() and path.name != case.file:
                os.link(path, here / path.name)
    if case.kind == "checkpoint":
        copies.checkpoint.write_bytes(case.content)
    else:
        os.link(good.checkpoint, copies.checkpoint)
        (copies.saved if case.kind == "saved model" else copies.data).joinpath(case.file).write_bytes(case.content)
    return copies


# ---- a case


@cache
def expected(good: Good) -> dict[str, str]:
    """Reading -> hash of what it gives of the whole files."""
    return {name: digest(read(good)) for name, (_, read) in READINGS.items()}


def outcomes_of(case: Case, good: Good) -> dict[str, str]:
    """Read a damaged file in every way in which it is read."""
    with tempfile.TemporaryDirectory(dir=good.data.parent) as folder:
        files = laid_out(case, good, Path(folder))
        own = {name: read for name, (kinds, read) in READINGS.items() if case.kind in kinds}
        return {
            name: _outcome(lambda read=read: digest(read(files)), expected(good)[name]) for name, read in own.items()
        }


def _outcome(read: Callable[[], str], wanted: str) -> str:
    try:
        found = read()
    except UserError as error:
        return REFUSED if "\n" not in str(error) else f"several lines: {error}"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    return SAME if found == wanted else "other numbers"


def campaign(good: Good, *, n: int, seed: int) -> Iterator[Found]:
    """Run the cases in a process of their own."""
    context = get_context("fork")  # it has all libraries already
    expected(good)
    pool = ProcessPoolExecutor(max_workers=1, mp_context=context)
    for case in cases(good, n=n, seed=seed):
        try:
            yield Found(case, pool.submit(outcomes_of, case, good).result(timeout=PATIENCE_S))
        except (BrokenProcessPool, TimeoutError) as error:
            why = "the process died" if isinstance(error, BrokenProcessPool) else f"no end within {PATIENCE_S} s"
            for process in list((pool._processes or {}).values()):
                process.kill()
            pool.shutdown(cancel_futures=True)
            pool = ProcessPoolExecutor(max_workers=1, mp_context=context)
            yield Found(case, {"all": why})
    pool.shutdown()


# ---- from the command line


def train(folder: Path) -> Good:
    """Simulate sessions, train a small model on them for an epoch, and save it."""
    from data_prep.__main__ import main as prepare
    from tests.running import SIMULATE, WINDOW, neuromtm_process, pretrain

    assert prepare(["simulate", "--out", str(folder / "data"), *SIMULATE, *WINDOW]) == 0
    neuromtm_process(*pretrain(ROOT, folder / "data", "--run_dir", folder / "run"))
    checkpoint = folder / "run" / "checkpoints" / "best.ckpt"
    neuromtm.load(checkpoint).save(folder / "saved")
    return Good(folder / "data", checkpoint, folder / "saved", folder / "run" / "config.yaml")


def commands_of(kind: Kind, files: Good, run_dir: Path) -> dict[str, Sequence[object]]:
    """The commands that read a file of this kind, by name."""
    from tests.running import HELDOUT, finetune, pretrain

    own = ("--data.root", files.data, "--run_dir", run_dir)
    trained = ("--config", files.config, "--ckpt_path", files.checkpoint, *own)
    by_kind: dict[Kind, dict[str, Sequence[object]]] = {
        "shard": {"fit": pretrain(ROOT, *own[1:]), "predict": ("predict", *trained), "test": ("test", *trained)},
        "checkpoint": {
            "fine-tuning": finetune(ROOT, files.data, files.checkpoint, f"--data.sessions=[{HELDOUT}]", *own[2:]),
            "test": ("test", *trained),
        },
    }
    return by_kind.get("shard" if kind == "manifest" else kind, {})


def through_commands(case: Case, good: Good) -> dict[str, str]:
    """Run the commands on a damaged file; a result must be that of the whole file."""
    with tempfile.TemporaryDirectory(dir=good.data.parent) as folder:
        run_dir = Path(folder) / "run"
        commands = commands_of(case.kind, laid_out(case, good, Path(folder)), run_dir)
        return {f"neuromtm {name}": _of_command(name, command, run_dir, good) for name, command in commands.items()}


def _of_command(name: str, command: Sequence[object], run_dir: Path, good: Good) -> str:
    found = result_of(command, run_dir)
    if isinstance(found, str):
        return SAME if found == of_whole(name, good) else "other numbers"
    said = [line for line in found.stderr.splitlines() if line.startswith("neuromtm: ")]
    if found.returncode == 2 and len(said) == 1 and "Traceback" not in found.stderr:
        return REFUSED
    return f"exit code {found.returncode}: {found.stderr[-300:]}"


@cache
def of_whole(name: str, good: Good) -> str:
    """The result of a command on whole files."""
    with tempfile.TemporaryDirectory(dir=good.data.parent) as folder:
        run_dir = Path(folder) / "run"
        commands = commands_of("shard", good, run_dir) | commands_of("checkpoint", good, run_dir)
        found = result_of(commands[name], run_dir)
        assert isinstance(found, str), found
        return found


def result_of(command: Sequence[object], run_dir: Path) -> str | subprocess.CompletedProcess[str]:
    """A hash of what a command leaves: weights, metrics or predictions; the ended process if it failed."""
    from tests.running import neuromtm_process

    shutil.rmtree(run_dir, ignore_errors=True)
    ended = neuromtm_process(*command, check=False)
    if ended.returncode != 0:
        return ended
    left: list[Any] = []
    for path in sorted(run_dir.rglob("*")):
        if path.name == "last.ckpt":
            left.append(load_checkpoint(path)["state_dict"])
        elif path.name in ("metrics.json", "neurons.csv"):
            left.append(path.read_bytes())
        elif path.parent.name == "predictions":
            with h5py.File(path) as file:
                left += [file["rates"][()], file["trial"][()]]
    assert left, run_dir
    return digest(left)


def main() -> int:
    """Run the campaign and print its counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=80, help="cases (default: 80)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-commands", type=int, default=0, help="cases that also go through commands (default: 0)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        good = train(Path(folder))
        counts, n_failed = {kind: Counter[str]() for kind in SHARES}, 0
        for found in campaign(good, n=given.n, seed=given.seed):
            if found.case.number < given.n_commands:
                found = found._replace(outcomes=found.outcomes | through_commands(found.case, good))
            counts[found.case.kind][REFUSED if found.is_refused else SAME] += 1
            for name, outcome in found.failures.items():
                n_failed += 1
                case = found.case
                what = f"{case.damage} at {case.place} of {case.file}, {name}: {outcome}"
                print(f"FAILED case {case.number}: {what}", flush=True)
    print(f"{given.n} cases, seed {given.seed}, {given.n_commands} of them through the commands")
    for kind, own in counts.items():
        print(f"{kind}: {own.total()} cases, {own[REFUSED]} refused, {own[SAME]} without effect")
    print(f"{n_failed} failed")
    return 1 if n_failed else 0


if __name__ == "__main__":
    sys.exit(main())

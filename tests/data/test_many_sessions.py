"""What a session costs does not depend on how many others there are: operations are counted, not time."""

import gc
import hashlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import h5py
import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.data.manifest import ManifestWriter, choose_sessions, folder_problems
from neuromtm.data.shards import write_shard
from neuromtm.errors import DataError
from tests.data.small_shards import Session, make_shard, ready

SIZES = (8, 16, 24)
MOST_OPENED = 12
"""times that a shard may be opened"""


class Work(NamedTuple):
    """What was done."""

    n_opened: int
    """files"""
    n_digests: int
    n_calls: int
    """of Python functions"""


opened: list[str] | None = None
"""while it is a list, files that are opened are noted in it"""


def note(event: str, arguments: tuple) -> None:
    if event == "open" and opened is not None:
        opened.append(str(arguments[0]))


sys.addaudithook(note)


def work_of(run: Callable[[Path], object], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count what is done in a folder."""
    global opened
    n_digests = n_calls = 0
    digest, hdf5 = hashlib.sha256, h5py.File

    def counted_digest(*given, **options):
        nonlocal n_digests
        n_digests += 1
        return digest(*given, **options)

    class CountedFile(hdf5):
        def __init__(self, name, *given, **options):
            assert opened is not None
            opened.append(os.fspath(name))
            super().__init__(name, *given, **options)

    def counted_call(_frame, event: str, _argument) -> None:
        nonlocal n_calls
        n_calls += event == "call"

    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "sha256", counted_digest)
        patched.setattr(h5py, "File", CountedFile)
        gc.collect()
        gc.disable()  # what it calls when it collects is no work of this kind
        opened, before = [], sys.getprofile()
        sys.setprofile(counted_call)
        try:
            run(folder)
        finally:
            sys.setprofile(before)
            gc.enable()
            found, opened = [name for name in opened if name.startswith(str(folder))], None
    return Work(len(found), n_digests, n_calls)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    """Number of sessions -> a folder of so many."""
    made = {}
    written, shard = tmp_path_factory.mktemp("written"), make_shard(Session("one", n_trials=10))
    for number in range(SIZES[-1]):
        eid = f"session-{number:03d}"
        header = replace(shard.header, eid=eid, subject=f"mouse {eid}")  # the rest is the same, and so is the work
        write_shard(written / f"{eid}.h5", replace(shard, header=header))
    for size in SIZES:
        made[size] = tmp_path_factory.mktemp(f"of-{size}-sessions".ljust(18, "_"))
        with ManifestWriter(made[size]) as manifest:
            for path in sorted(written.iterdir())[:size]:
                os.link(path, made[size] / path.name)
                manifest.add(made[size] / path.name, "pretrain")
    return made


def first_batch(folder: Path) -> None:
    """Set a data module up, for several sessions a batch, and read one."""
    data = ready(folder, batch_size=8, sessions_per_batch=4, cache="memory")
    next(iter(data.train_dataloader()))


def describe(folder: Path) -> None:
    """Print the tables of a folder."""
    assert data_prep(["describe", str(folder)]) == 0


@pytest.mark.parametrize("run", [folder_problems, first_batch, describe], ids=["check", "first batch", "describe"])
def test_a_session_is_the_same_work_among_few_and_among_many(folders, monkeypatch, capsys, run):
    monkeypatch.setenv("COLUMNS", "400")
    run(folders[SIZES[0]])  # what is done only once in a process
    few, some, many = (work_of(run, folders[size], monkeypatch) for size in SIZES)
    step = SIZES[1] - SIZES[0]
    assert many.n_opened - some.n_opened == some.n_opened - few.n_opened <= MOST_OPENED * step
    assert many.n_digests - some.n_digests == some.n_digests - few.n_digests
    # one more call for each pair of sessions would be 2 * step^2 = 128 more calls
    assert abs(many.n_calls - 2 * some.n_calls + few.n_calls) < step**2


def test_a_message_names_some_sessions_and_counts_the_others(folders):
    with pytest.raises(DataError, match=r"no session 'x'\. There are: session-000, .*, session-019 and 4 more\.$"):
        choose_sessions(folders[24], eids=["x"], role="all")
    with pytest.raises(DataError, match=r"no subject 'x' .* 'mouse session-019' and 4 more\.$"):
        choose_sessions(folders[24], eids=None, role="all", subjects=["x"])

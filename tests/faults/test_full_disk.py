"""A disk that is full, and a folder that may not be written to: one sentence, and all files are as they were."""

import os
import re
import resource
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from neuromtm.export.bwb_files import Submission, write_predictions
from neuromtm.export.nlb import add_group
from neuromtm.files import TEMPORARY, whole_file, write_whole
from tests.data.small_shards import Session, write_folder
from tests.faults.kills import Work, baseline, files, in_process, preparation, scoring
from tests.running import neuromtm

FULL = "File too large"
"""what a limit of the size of a file answers, at the moment at which a full disk would say `No space left on device`"""


def limited(work: Work, n_bytes: int) -> Work:
    """The same work where no file can become larger."""

    def run(folder: Path) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))
        work.run(folder)

    return work._replace(run=run)


def refused(work: Work, folder: Path, *, name: str) -> str:
    """The one sentence with which a work ends that cannot write. No other line begins as it does."""
    ended = in_process(work, folder)
    assert ended.status == 2, ended.said
    assert "Traceback" not in ended.said, ended.said
    (sentence,) = [line for line in ended.said.splitlines() if re.match(r"neuromtm(-prep)?: ", line)]
    assert name in sentence
    return sentence


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def test_a_preparation_that_finds_the_disk_full_keeps_what_it_has_and_goes_on_later(tmp_path):
    out = tmp_path / "out"
    assert in_process(preparation(1), out).status == 0
    before = content(out)
    sentence = refused(limited(preparation(3), 5_000), out, name="sim-0-01.h5")
    assert FULL in sentence
    assert content(out) == before
    assert in_process(preparation(3), out).status == 0
    assert in_process(preparation(3), tmp_path / "whole").status == 0
    assert content(out) == content(tmp_path / "whole")


def test_a_baseline_that_finds_the_disk_full_leaves_the_earlier_result(tmp_path):
    write_folder(tmp_path / "data", Session("a"))
    out = tmp_path / "out"
    work = baseline(tmp_path / "data")
    assert in_process(work, out).status == 0
    before = content(out)
    refused(limited(work, 100), out, name=str(out))
    left = content(out)
    # the earlier result may have its time in its name by then
    assert sorted(left.values()) == sorted(before.values())
    assert not list(out.rglob(f"*{TEMPORARY}"))


def test_a_test_and_an_adaptation_that_find_the_disk_full_say_so(pretrained, sessions_dir, tmp_path):
    best = pretrained / "checkpoints" / "best.ckpt"
    adapt = ("adapt", "--data", sessions_dir, "--pretrained", best, "--out")
    works = [
        (scoring("test", pretrained), 8_000),
        (Work("adapt", lambda out: neuromtm(*adapt, out), files), 8_000),
    ]
    for work, n_bytes in works:
        out = tmp_path / work.name
        assert FULL in refused(limited(work, n_bytes), out, name=str(out))
        assert not list(out.rglob(f"*{TEMPORARY}"))
        assert not (out / "metrics.json").exists()
        assert not list(out.rglob("*.ckpt"))


@pytest.mark.parametrize("kind", ["nlb", "bwb"])
def test_an_export_that_finds_the_disk_full_leaves_the_earlier_file(kind, tmp_path):
    out = tmp_path / "out"
    rates = {"train_rates_heldin": np.random.default_rng(0).random((20, 30, 10)).astype(np.float32)}

    def export(folder: Path) -> None:
        if kind == "nlb":
            add_group(folder / "all.h5", "mc_rtt" if (folder / "all.h5").exists() else "mc_maze", rates)
        else:
            tensors = {name: torch.from_numpy(values) for name, values in rates.items()}
            write_predictions(Submission(folder, "label", 0), "ts1-choice", tensors, further={})

    def run(folder: Path) -> None:
        try:
            export(folder)
        except OSError as error:  # what the command says in one sentence
            print(f"neuromtm: {error.filename}: {error.strerror}.", file=sys.stderr)
            raise SystemExit(2) from error

    work = Work("export", run, files)
    if kind == "nlb":
        assert in_process(work, out).status == 0
        with h5py.File(out / "all.h5", "r") as file:
            assert list(file) == ["mc_maze"]
    before = content(out) if out.exists() else {}
    assert FULL in refused(limited(work, 1_000), out, name=str(out))
    assert content(out) == before


def test_the_sentence_names_the_file_that_was_to_be_written_and_not_the_temporary_one(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, "whole")
    with pytest.raises(OSError, match="No space left") as error, whole_file(path):
        raise OSError(28, "No space left on device")
    assert error.value.filename == str(path)
    with pytest.raises(OSError, match="No space left") as error, whole_file(path):
        raise RuntimeError("Can't decrement (file write failed: errno = 28, error message = 'No space left on device')")
    assert error.value.filename == str(path)
    with pytest.raises(RuntimeError, match="of the program"), whole_file(path):
        raise RuntimeError("of the program")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["whole"]


@pytest.mark.skipif(os.geteuid() == 0, reason="the rights of a folder do not bind the user root")
@pytest.mark.parametrize("name", ["preparation", "baseline"])
def test_a_folder_that_may_not_be_written_to_is_one_sentence(tmp_path, name):
    write_folder(tmp_path / "data", Session("a"))
    (tmp_path / "closed").mkdir()
    (tmp_path / "closed").chmod(0o500)
    work = {"preparation": preparation(1), "baseline": baseline(tmp_path / "data")}[name]
    try:
        assert "Permission denied" in refused(work, tmp_path / "closed" / "out", name=str(tmp_path / "closed"))
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert not list((tmp_path / "closed").iterdir())

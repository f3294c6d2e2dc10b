"""Sizes and limits of the machine: what cannot be done is said in one sentence before it is begun."""

import errno
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.commands.failures import users_own
from neuromtm.data import shard_access
from neuromtm.data.chunks import ShardReader
from neuromtm.data.shards import read_header
from neuromtm.errors import ShardError
from tests.data.small_shards import Session, write_folder
from tests.running import neuromtm

HUGE = (
    ("simulate", "--window-s", "0", "1e9"),
    ("simulate", "--n-trials", "100000000000"),
    ("simulate", "--n-neurons", "10000000000"),
    ("simulate", "--n-sessions", "1000000000000"),
    ("simulate", "--bin-size-s", "1e-12"),
    ("simulate", "--format", "alf", "--window-s", "0", "1e9"),
    ("lorenz", "--n-trials", "100000000000"),
    ("lorenz", "--n-conditions", "100000000000"),
    ("lorenz", "--n-neurons", "100000000000"),
    ("lorenz", "--n-sessions", "1000000000000"),
    ("lorenz", "--duration-s", "33000", "--bin-size-s", "1e-6"),
)


@pytest.mark.parametrize("words", HUGE, ids=" ".join)
def test_a_simulation_that_does_not_fit_is_refused_with_what_it_would_take(words, tmp_path, capsys):
    assert data_prep([*words, "--out", str(tmp_path / "out")]) == 2
    assert "of memory while they are simulated, but" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_integration_without_end_is_refused(tmp_path, capsys):
    words = ["lorenz", "--duration-s", "1e9", "--bin-size-s", "1e8", "--out", str(tmp_path / "out")]
    assert data_prep(words) == 2
    assert "--duration-s 1e+09: at most 33333.3" in capsys.readouterr().err


LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"


def child(program):
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_program_raises_the_limit_of_open_files_as_far_as_it_may():
    for hard, expected in ((4096, 4096), (80, 80)):
        said = child(
            LIMIT.format(soft=80, hard=hard) + "from neuromtm.commands.main import main; main(['--version'])\n"
            "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
        )
        assert said.splitlines()[-1] == str(expected)


def test_a_reader_keeps_fewer_files_open_where_few_are_allowed():
    program = LIMIT.format(soft=80, hard=80) + (
        "from neuromtm.data.shard_access import most_open_files; print(most_open_files())"
    )
    assert child(program).strip() == "20"


def test_a_good_shard_is_not_called_damaged_where_no_more_files_can_be_opened(tmp_path, monkeypatch):
    write_folder(tmp_path, Session("a"))
    path = tmp_path / "file0.h5"
    read_header(path)
    reader = ShardReader({"a": path})
    reader.read("a", "spikes/counts", np.array([0]))
    reader.close()

    def refuse(*_, **__):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(h5py, "File", refuse)
    monkeypatch.setattr(os, "open", refuse)
    for read in (lambda: read_header(path), lambda: reader.read("a", "spikes/counts", np.array([0]))):
        with pytest.raises(ShardError, match=r"This process may open \d+ files: allow more .ulimit -n 4096.") as error:
            read()
        assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.EMFILE, "Too many open files", "some.file"),
        RuntimeError("Too many open files. Communication with the workers is no longer possible."),
        RuntimeError("received 0 items of ancdata"),
    ],
)
def test_too_many_open_files_are_one_sentence(error):
    assert str(users_own(error)).startswith("Too many open files. This process may open ")
    outer = ValueError("of a worker")
    outer.__cause__ = error
    assert str(users_own(outer)).startswith("Too many open files.")
    assert users_own(RuntimeError("anything else")) is None
    assert shard_access.machine_problem(OSError("no number")) is None


def test_a_baseline_takes_all_roles_as_a_training_does(tmp_path):
    write_folder(tmp_path, Session("a"), Session("b", role="heldout"))
    neuromtm("baseline", "--data", tmp_path, "--kind", "psth", "--role", "all", "--out", tmp_path / "out")
    assert (tmp_path / "out" / "metrics.json").read_text().count("co_smoothing_bps_median") == 3

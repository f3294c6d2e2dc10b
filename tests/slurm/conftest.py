"""Stand-ins for Slurm's programs and for neuromtm, and a small sweep that is submitted by them."""

import os

import pytest

from tests.running import SIMULATE, WINDOW
from tests.slurm.running import script, write_program, write_site, write_stand_in

SBATCH = """#!/usr/bin/env bash
echo "$@" >> "$STAND_IN/submitted"
if [ "$(wc -l < "$STAND_IN/submitted")" -gt "${ACCEPTS:-99}" ]; then
  echo "sbatch: error: invalid partition specified: nowhere" >&2; exit 1
fi
echo "$((100 + $(wc -l < "$STAND_IN/submitted")))"
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three sessions for pretraining, and one each of two held-out animals; not to be changed."""
    from data_prep.__main__ import main

    out = tmp_path_factory.mktemp("data") / "sim"
    assert main(["simulate", "--out", str(out), *SIMULATE, "--n-sessions", "5", "--n-heldout", "2", *WINDOW]) == 0
    return out


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A folder with stand-ins for sbatch, squeue and scancel, on the PATH; they write there what they are given."""
    folder = tmp_path / "slurm-stand-in"
    folder.mkdir()
    write_program(folder / "sbatch", SBATCH)
    write_program(folder / "squeue", '#!/bin/sh\ncat "$STAND_IN/queue" 2> /dev/null; exit "${SQUEUE_STATUS:-0}"\n')
    write_program(folder / "scancel", '#!/bin/sh\necho "$@" >> "$STAND_IN/cancelled"\n')
    monkeypatch.setenv("STAND_IN", str(folder))
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return folder


@pytest.fixture
def sweep(tmp_path, data):
    """Submits a small sweep into a folder, by a stand-in for neuromtm: two numbers of sessions, two animals."""
    site = write_site(tmp_path, write_stand_in(tmp_path))

    def submit(*arguments, env=None):
        given = ("--site", site, "--data", data, "--out", tmp_path / "sweep", "--sessions", "1,3", *arguments)
        return script("sweep_sessions.sh", *given, env=env, cwd=tmp_path)

    submit.folder, submit.site = tmp_path / "sweep", site
    return submit

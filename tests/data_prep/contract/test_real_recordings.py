"""Real recordings come out equal whichever source they come through. Without the data, the test is skipped."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from writers import WRITERS

from data_prep.__main__ import main
from data_prep.sources.ibl.recording import read_session
from data_prep.sources.ibl.sessions import find_sessions, open_one
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_shard

pytest.importorskip("one", reason="ONE-api is not installed")
OPTIONS = [
    "--window-s",
    "0",
    "0.4",
    "--keep-unknown-choice",
    "--min-firing-rate-hz",
    "0.5",
    "--align-event",
    "stimOn_times",
]


@pytest.fixture(scope="module")
def of_ibl(steinmetz2019, tmp_path_factory):
    """A real session: the recording and its shard, both through the reader of the International Brain Laboratory."""
    folder = tmp_path_factory.mktemp("real")
    tool = steinmetz2019.parents[1] / "tools" / "steinmetz_to_alf.py"
    subprocess.run([sys.executable, tool, folder / "tree", "--sessions", "1"], check=True, capture_output=True)
    command = ["ibl", "--mode", "local", "--cache-dir", str(folder / "tree"), "--out", str(folder / "out"), *OPTIONS]
    assert main(command) == 0
    one = open_one(mode="local", cache_dir=folder / "tree")
    (found,) = find_sessions(one, ())
    recording = read_session(one, found.one_eid, eid=found.path_eid, subject=found.subject, lab=found.lab)
    (entry,) = read_manifest(folder / "out")
    return recording.merged(), read_shard(folder / "out" / entry.file)


@pytest.mark.parametrize("source", sorted({*WRITERS} - {"ibl"}))
def test_a_real_session_has_the_same_counts_regions_and_splits(source, of_ibl, tmp_path):
    recording, expected = of_ibl
    argv, _ = WRITERS[source](tmp_path / "files", replace(recording, observed_s=None))
    assert main([*argv, "--out", str(tmp_path / "out"), *OPTIONS]) == 0
    (entry,) = read_manifest(tmp_path / "out")
    found = read_shard(tmp_path / "out" / entry.file)
    np.testing.assert_array_equal(found.counts, expected.counts)
    assert found.header.info.eid == expected.header.info.eid
    assert found.header.neurons.region.tolist() == expected.header.neurons.region.tolist()
    for name, trials in expected.header.splits.items():
        assert found.header.splits[name].tolist() == trials.tolist()
    for name in ("choice", "contrast", "reward", "start_s"):
        np.testing.assert_array_equal(getattr(found.header.trials, name), getattr(expected.header.trials, name))

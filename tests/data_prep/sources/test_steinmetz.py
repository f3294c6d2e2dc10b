"""Real spikes in files as the International Brain Laboratory stores them. Without the data, the tests are skipped."""

import subprocess
import sys

import numpy as np
import pytest

from data_prep.__main__ import main
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import read_shard

pytest.importorskip("one", reason="ONE-api is not installed")


def test_counts_are_the_published_ones(steinmetz2019, tmp_path, capsys):
    tool = steinmetz2019.parents[1] / "tools" / "steinmetz_to_alf.py"
    tree, out = tmp_path / "tree", tmp_path / "shards"
    subprocess.run([sys.executable, tool, tree, "--sessions", "1,16"], check=True, capture_output=True)
    command = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(out)]
    command += ["--window-s", "0", "0.4", "--keep-unknown-choice", "--heldout-subjects", "Lederberg"]
    assert main(command) == 0
    assert "not among" not in capsys.readouterr().err
    assert folder_problems(out) == {}
    for number in (1, 16):
        published = np.load(steinmetz2019 / f"session{number:02d}.npz")
        counts = published["counts"].astype(int)
        entry = next(e for e in read_manifest(out) if str(published["date"]) in e.eid)
        shard = read_shard(out / entry.file)
        assert shard.header.n_trials == len(counts)
        np.testing.assert_array_equal(shard.counts, counts[:, 0::2] + counts[:, 1::2])
        np.testing.assert_allclose(
            shard.header.trials.contrast, published["contrast_right"] - published["contrast_left"]
        )
        assert entry.behaviors == []
        assert entry.role == ("heldout" if str(published["mouse"]) == "Lederberg" else "pretrain")

"""Prepare files by the command line, and compare the shard with another one."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_prep.__main__ import main
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import Shard, read_shard


def prepared(argv: Sequence[str], out: Path, *options: str) -> Shard:
    """The one shard that a command makes."""
    assert main([*argv, "--out", str(out), *options]) == 0
    (entry,) = read_manifest(out)
    assert folder_problems(out) == {}
    return read_shard(out / entry.file)


def assert_same(found: Shard, expected: Shard) -> None:
    """The same windows, counts, neurons, trials, splits and behaviours, under the same names."""
    np.testing.assert_array_equal(found.counts, expected.counts)
    for name in ("uuid", "region", "probe", "label", "depth_um", "firing_rate_hz", "heldout"):
        np.testing.assert_array_equal(getattr(found.header.neurons, name), getattr(expected.header.neurons, name))
    for name in ("index", "start_s", "event_s", "choice", "contrast", "block", "reward", "reaction_time_s"):
        np.testing.assert_array_equal(getattr(found.header.trials, name), getattr(expected.header.trials, name))
    for name, values in expected.header.trials.columns.items():
        np.testing.assert_array_equal(found.header.trials.columns[name], values)
    for name in ("train", "val", "test"):
        assert found.header.splits[name].tolist() == expected.header.splits[name].tolist()
    assert found.behavior.keys() == expected.behavior.keys()
    for name, values in expected.behavior.items():
        np.testing.assert_allclose(found.behavior[name], values, rtol=1e-6)
    for name in ("eid", "subject", "lab", "window_s", "align_event"):
        assert getattr(found.header, name) == getattr(expected.header, name)

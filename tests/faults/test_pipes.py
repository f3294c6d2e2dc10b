"""A pipe or a device in place of a file is refused, and never waited for."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from data_prep.session_files import load_npz, read_observed, read_traces, read_trial_table, session_names
from data_prep.sources.bwb.layout import open_session
from data_prep.sources.ibl.local_files import LocalFiles, Selection
from data_prep.sources.ibl.sessions import open_one, read_eids_file
from data_prep.sources.nwb.hdf5 import open_nwb
from data_prep.sources.nwb.regions import RegionFile
from data_prep.sources.phy.params import read_params
from data_prep.sources.phy.sorting import read_sorting
from neuromtm.api.saved import read_saved
from neuromtm.commands.class_paths import require_allowed_classes
from neuromtm.commands.recipes import with_shipped_recipes
from neuromtm.commands.search import search_settings
from neuromtm.commands.search_space import read_space
from neuromtm.data.manifest import read_manifest
from neuromtm.data.seal import is_sealed, require_seal
from neuromtm.data.shards import read_header
from neuromtm.data.upgrade_journal import upgraded_but_unlisted
from neuromtm.errors import UserError
from neuromtm.evaluation.amounts import read_settings
from neuromtm.evaluation.curves import read_scalars
from neuromtm.evaluation.references import read_baseline
from neuromtm.evaluation.results import read_metrics, read_neurons, read_regions
from neuromtm.evaluation.sweep import read_grid
from neuromtm.evaluation.trials import read_trials_file
from neuromtm.export.bwb_files import holds
from neuromtm.files import locked, read_table, read_yaml, sha256, write_whole
from neuromtm.provenance import read_starts
from neuromtm.regular_files import A_PIPE
from neuromtm.report.pictures import picture_of
from neuromtm.training.checkpoint import glance_at_checkpoint, load_checkpoint
from neuromtm.training.checkpoint_bytes import require_whole

pytestmark = pytest.mark.timeout(60)  # what waits for a pipe waits for ever


def _opened(opening: Callable[[Path], Any]) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        with opening(path):
            pass

    return read


def _sorting(path: Path) -> None:
    read_sorting(path.parent, sample_rate_hz=30_000.0)


def _local_session(path: Path) -> None:
    one: Any = SimpleNamespace(eid2path=lambda eid: path.parents[1])
    LocalFiles(one, "eid", Selection()).read(lambda files: pytest.fail("it is read"))


def _cache(path: Path) -> None:
    pytest.importorskip("one.api")
    (path.parent / "datasets.pqt").touch()
    open_one(mode="local", cache_dir=path.parent)


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "spikes": ("spikes.npz", lambda path: load_npz(path, ("times_s", "unit"))),
    "trials": ("trials.csv", lambda path: read_trial_table(path.parent)),
    "observed": ("observed.csv", lambda path: read_observed(path.parent)),
    "session": ("session.json", lambda path: session_names(path.parent)),
    "trace": ("traces/wheel.npz", lambda path: read_traces(path.parents[1])),
    "params": ("params.py", read_params),
    "sorting": ("spike_times.npy", _sorting),
    "regions of units": ("regions.csv", RegionFile.read),
    "nwb": ("session.nwb", _opened(open_nwb)),
    "bwb": ("session.h5", _opened(open_session)),
    "ibl": ("alf/spikes.times.npy", _local_session),
    "ibl's tables": ("sessions.pqt", _cache),
    "names of sessions": ("eids.txt", read_eids_file),
    "metrics": ("metrics.json", read_metrics),
    "neurons": ("neurons.csv", read_neurons),
    "regions": ("regions.csv", read_regions),
    "trials of a test": ("trials.h5", read_trials_file),
    "baseline": ("baseline.json", lambda path: read_baseline(path.parent, eids=["a"])),
    "grid": ("grid.csv", lambda path: read_grid(path.parent)),
    "table": ("table.csv", read_table),
    "yaml": ("config.yaml", read_yaml),
    "settings": ("settings.json", read_settings),
    "space": ("space.yaml", read_space),
    "configuration": ("config.yaml", lambda path: with_shipped_recipes(["fit", "--config", str(path)])),
    "option": ("model.yaml", lambda path: require_allowed_classes(["fit", f"--model={path}"])),
    "search": ("search.json", lambda path: search_settings([str(path.parent)], argparse.ArgumentParser())),
    "manifest": ("manifest.json", lambda path: read_manifest(path.parent)),
    "journal": (".upgrade.jsonl", lambda path: upgraded_but_unlisted(path.parent)),
    "lock": (".lock", lambda path: _opened(locked)(path.parent)),
    "seal": ("a.h5", require_seal),
    "whether there is a seal": ("a.h5", is_sealed),
    "checksum": ("a.h5", sha256),
    "parts of a checkpoint": ("last.ckpt", require_whole),
}
"""what is read -> the name of its file, and its reader"""


def put_pipe(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    return path


@pytest.mark.parametrize("what", READERS)
def test_a_pipe_is_refused(what, tmp_path):
    name, read = READERS[what]
    with pytest.raises((UserError, OSError)) as error:
        read(put_pipe(tmp_path / name))
    assert A_PIPE in str(error.value)
    assert name.rpartition("/")[2] in str(error.value)


OWN_WORDS: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "shard": ("a.h5", read_header, "no regular file"),
    "checkpoint": ("last.ckpt", load_checkpoint, "last.ckpt"),
    "glance at a checkpoint": ("last.ckpt", glance_at_checkpoint, "last.ckpt"),
    "saved model": ("config.json", lambda path: read_saved(path.parent), "no config.json"),
}


@pytest.mark.parametrize("what", OWN_WORDS)
def test_a_pipe_is_none_of_the_files_that_are_looked_for(what, tmp_path):
    name, read, words = OWN_WORDS[what]
    with pytest.raises(UserError, match=words):
        read(put_pipe(tmp_path / name))


def test_a_pipe_in_place_of_what_may_be_absent_is_passed_over(tmp_path):
    put_pipe(tmp_path / "provenance.json")
    put_pipe(tmp_path / "events.out.tfevents.1.host")
    left_behind = put_pipe(tmp_path / ".metrics.json.1.part.tmp")
    assert read_starts(tmp_path) == []
    assert read_scalars(tmp_path) == {}
    assert picture_of(put_pipe(tmp_path / "loss.png"), "") is None
    assert not holds(put_pipe(tmp_path / "a.safetensors"), {}, {})
    write_whole(tmp_path / "new.txt", "whole")
    assert (tmp_path / "new.txt").read_text() == "whole"
    assert left_behind.exists()


@pytest.mark.parametrize("what", ["spikes", "session", "trials", "metrics", "neurons", "configuration"])
def test_a_link_to_a_device_without_end_is_refused(what, tmp_path):
    name, read = READERS[what]
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(UserError, match=A_PIPE):
        read(tmp_path / name)


def test_a_link_to_a_file_is_followed(tmp_path):
    np.savez(tmp_path / "elsewhere.npz", unit=np.arange(3))
    (tmp_path / "spikes.npz").symlink_to(tmp_path / "elsewhere.npz")
    assert load_npz(tmp_path / "spikes.npz", ("unit",))[0].tolist() == [0, 1, 2]


def test_a_folder_or_nothing_keeps_its_own_words(tmp_path):
    with pytest.raises(IsADirectoryError):
        sha256(tmp_path)
    with pytest.raises(FileNotFoundError):
        sha256(tmp_path / "absent")

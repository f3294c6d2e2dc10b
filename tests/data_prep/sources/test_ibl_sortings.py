"""One sorting of each probe is read, the preferred one or the one that is asked for, and the shard names it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.sources.ibl.sortings import choose_sortings, sorter_of, sorting_attributes
from neuromtm.data.shards import read_shard
from neuromtm.errors import SourceError

pytest.importorskip("one", reason="ONE-api is not installed")
SESSION = "simlab_mouse-0-00_2020-01-01_001"


@pytest.mark.parametrize(
    ("collections", "chosen"),
    [
        (["alf/probe00"], {"probe00": "alf/probe00"}),
        (["alf/probe00", "alf/probe00/pykilosort"], {"probe00": "alf/probe00/pykilosort"}),
        (["alf/probe00/ks2_preproc_tests", "alf/probe00"], {"probe00": "alf/probe00"}),
        (["alf/probe00/iblsorter", "alf/probe00/pykilosort"], {"probe00": "alf/probe00/iblsorter"}),
        (["alf/probe00/pykilosort", "alf/probe00", "alf/probe00/iblsorter"], {"probe00": "alf/probe00/iblsorter"}),
        (["alf/probe00/other", "alf/probe00/another"], {"probe00": "alf/probe00/other"}),
        (
            ["alf/probe01/pykilosort", "alf/probe00a", "alf", "raw_ephys_data/probe00"],
            {"probe00a": "alf/probe00a", "probe01": "alf/probe01/pykilosort"},
        ),
    ],
)
def test_every_probe_has_one_sorting_and_iblsorter_comes_first(collections, chosen):
    assert choose_sortings(collections) == chosen


def test_another_sorting_can_be_asked_for_and_a_probe_without_it_is_named():
    there = ["alf/probe00", "alf/probe00/pykilosort", "alf/probe01/pykilosort"]
    assert choose_sortings(there, sorter="pykilosort")["probe00"] == "alf/probe00/pykilosort"
    assert choose_sortings(there[:2], sorter="ks2_matlab") == {"probe00": "alf/probe00"}
    with pytest.raises(SourceError, match=r"probe01 has no sorting by ks2_matlab\. It has: pykilosort\."):
        choose_sortings(there, sorter="ks2_matlab")


def test_a_folder_names_its_sorter():
    assert (sorter_of("alf/probe00"), sorter_of("alf/probe00/iblsorter")) == ("ks2_matlab", "iblsorter")


def table(*paths: str, default: int | None = None):
    import pandas as pd

    quality = pd.Categorical(["NOT_SET"] * len(paths), ["NOT_SET", "PASS", "WARNING", "FAIL", "CRITICAL"], ordered=True)
    datasets = pd.DataFrame({"rel_path": paths, "qc": quality})
    if default is not None:
        datasets["default_revision"] = np.arange(len(paths)) == default
    return datasets


def test_the_revision_is_the_one_that_is_read():
    folder = "alf/probe00/pykilosort"
    paths = [f"{folder}/{revision}spikes.times.npy" for revision in ("", "#2023-12-01#/", "#2024-05-06#/")]

    def revision(datasets, **given):
        return sorting_attributes({"probe00": folder}, datasets, **given)["revision.probe00"]

    assert revision(table(*paths)) == "2024-05-06"
    assert revision(table(*paths, default=1)) == "2023-12-01"
    assert revision(table(*paths), revision="2024-01-01") == "2023-12-01"
    assert revision(table(paths[0])) == "none"
    assert revision(table(paths[2].replace("probe00", "probe01"), paths[0])) == "none"


@pytest.fixture(scope="module")
def sorted_twice(alf_tree, tmp_path_factory) -> Path:
    """A session with a probe that was sorted three times; the sorting by iblsorter was revised, and lost a spike."""
    from one.alf.cache import make_parquet_db

    tree = Path(shutil.copytree(alf_tree, tmp_path_factory.mktemp("twice") / "tree"))
    probe = tree / "simlab" / "Subjects" / "mouse-0-00" / "2020-01-01" / "001" / "alf" / "probe00"
    shutil.copytree(probe / "pykilosort", probe / "iblsorter")
    for file in list((probe / "pykilosort").iterdir()):
        shutil.copy(file, probe)
    revised = probe / "iblsorter" / "#2024-05-06#"
    shutil.copytree(probe / "pykilosort", revised)
    for name in ("spikes.times", "spikes.clusters"):
        np.save(revised / f"{name}.npy", np.load(revised / f"{name}.npy")[:-200])
    make_parquet_db(tree, hash_files=False)
    return tree


def prepare(tree: Path, out: Path, *options: str):
    command = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(out), "--eids", SESSION, *options]
    assert main(command) == 0
    return read_shard(out / f"{SESSION}.h5")


def test_a_probe_that_was_sorted_three_times_is_one_probe_and_the_shard_says_which_sorting(sorted_twice, tmp_path):
    shard = prepare(sorted_twice, tmp_path / "out")
    assert sorted({*shard.header.neurons.probe.tolist()}) == ["probe00", "probe01"]
    assert shard.header.attributes == {
        "sorter.probe00": "iblsorter",
        "collection.probe00": "alf/probe00/iblsorter",
        "revision.probe00": "2024-05-06",
        "sorter.probe01": "pykilosort",
        "collection.probe01": "alf/probe01/pykilosort",
        "revision.probe01": "none",
    }
    other = prepare(sorted_twice, tmp_path / "other", "--sorter", "pykilosort")
    assert other.header.attributes["sorter.probe00"] == "pykilosort"
    assert other.header.preparation["sorter"] == "pykilosort"
    assert other.counts.sum() > shard.counts.sum()


def test_a_session_with_a_probe_that_lacks_the_sorter_is_skipped(sorted_twice, tmp_path, capsys):
    command = ["ibl", "--mode", "local", "--cache-dir", str(sorted_twice), "--out", str(tmp_path), "--eids", SESSION]
    assert main([*command, "--sorter", "ks2_matlab"]) == 1
    assert "skipped: probe01 has no sorting by ks2_matlab. It has: pykilosort." in capsys.readouterr().out

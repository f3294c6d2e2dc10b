"""`ibl --inspect` says what is there. Of the database it asks for lists of files alone."""

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.sources.ibl import options
from data_prep.sources.ibl.sessions import find_sessions, open_one
from neuromtm.data.manifest import read_manifest

pytest.importorskip("one", reason="ONE-api is not installed")


@pytest.fixture(scope="module")
def tree(alf_tree, tmp_path_factory) -> Path:
    """The first session has a wheel, and a probe that was sorted twice; the second has no regions for a probe."""
    from one.alf.cache import make_parquet_db

    tree = Path(shutil.copytree(alf_tree, tmp_path_factory.mktemp("look at") / "a tree"))
    first, second = (tree / "simlab" / "Subjects" / f"mouse-0-0{n}" / "2020-01-01" / "001" / "alf" for n in (0, 1))
    np.save(first / "_ibl_wheel.timestamps.npy", np.arange(0, 100, 0.01))
    np.save(first / "_ibl_wheel.position.npy", np.arange(0, 100, 0.01))
    shutil.copytree(first / "probe00" / "pykilosort", first / "probe00" / "iblsorter" / "#2024-05-06#")
    (second / "probe01" / "pykilosort" / "channels.brainLocationIds_ccf_2017.npy").unlink()
    make_parquet_db(tree, hash_files=False)
    return tree


def test_local_files_are_read_and_the_command_prepares_them(tree, tmp_path, capsys, monkeypatch):
    given = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--eids", "simlab_mouse-0-00_2020-01-01_001"]
    given += ["--sorter", "pykilosort"]
    assert main([*given, "--inspect"]) == 0
    text = capsys.readouterr().out
    for words in (
        "regions   ",
        "events    stimOn_times, goCue_times",
        "sorting   probe00: pykilosort, revision none, spikes 0.000 GB; also sorted by iblsorter",
        "sorting   probe01: pykilosort, revision none",
        "trace     wheel_velocity: ",
        "note      lick_rate: not there (no licks in alf)",
        "kept      12 of 13 trials by the paper's filter, removed: reaction time 1",
    ):
        assert words in text, text
    monkeypatch.chdir(tmp_path)
    program, *command = shlex.split(text.splitlines()[-1])
    assert (program, command[:2]) == ("python", ["-m", "data_prep"])
    assert command[2:-2] == given
    assert main(command[2:]) == 0
    assert len(read_manifest(Path(command[-1]))) == 1


def test_a_session_that_cannot_be_prepared_is_named_with_its_reason(tree, capsys):
    assert main(["ibl", "--mode", "local", "--cache-dir", str(tree), "--inspect"]) == 0
    text = capsys.readouterr().out
    assert "sorting   probe00: iblsorter, revision 2024-05-06" in text
    assert "session   simlab_mouse-0-01_2020-01-01_001: cannot be prepared: no region file: alf/probe01" in text


def test_a_session_of_which_the_filter_leaves_nothing_says_why(tree, tmp_path, capsys):
    import pandas as pd

    tree = Path(shutil.copytree(tree, tmp_path / "tree"))
    path = tree / "simlab" / "Subjects" / "mouse-0-00" / "2020-01-01" / "001" / "alf" / "_ibl_trials.table.pqt"
    pd.read_parquet(path).assign(choice=0.0).to_parquet(path)
    assert main(["ibl", "--mode", "local", "--cache-dir", str(tree), "--inspect"]) == 0
    assert "kept      too few trials by the paper's filter: 0 of 13 trials left" in capsys.readouterr().out


class ListsAlone:
    """A local folder that answers as the database does; to load a file is an error."""

    mode = "remote"

    def __init__(self, one):
        self.get_details = one.get_details
        self.cache_dir = one.cache_dir
        self.list_datasets = lambda eid, query_type, **wanted: one.list_datasets(eid, **wanted)

    def load_object(self, *args, **kwargs):
        raise AssertionError(f"a file was loaded: {args}")


def test_of_the_database_only_lists_are_asked_for(tree, capsys, monkeypatch):
    local = open_one(mode="local", cache_dir=tree)
    eids = [session.one_eid for session in find_sessions(local, ())]
    monkeypatch.setattr(options, "open_one", lambda **kwargs: ListsAlone(local))
    assert main(["ibl", "--eids", *eids, "--behaviors", "all", "--inspect"]) == 0
    first, second, command = capsys.readouterr().out.strip().split("\n\n")
    assert first.splitlines() == [
        f"session   simlab_mouse-0-00_2020-01-01_001 (animal mouse-0-00, lab simlab, {eids[0]})",
        "sorting   probe00: iblsorter, revision 2024-05-06, spikes 0.000 GB; also sorted by pykilosort",
        "sorting   probe01: pykilosort, revision none, spikes 0.000 GB",
        "traces    whisker_motion_energy, wheel_position, wheel_velocity, wheel_speed",
        "unread    units, regions, events and trials: their files are not fetched to look at them",
    ]
    assert "WARNING   probe01: no channels.brainLocationIds_ccf_2017, so the session is skipped" in second
    assert "traces    whisker_motion_energy\n" in second
    assert command == (f"python -m data_prep ibl --mode remote --eids {' '.join(eids)} --behaviors all --out data/ibl")


def test_a_session_without_spikes_or_list_is_named(tree, capsys, monkeypatch):
    local = open_one(mode="local", cache_dir=tree)
    eids = [session.one_eid for session in find_sessions(local, ())]
    one = ListsAlone(local)

    def lists(eid, query_type, **wanted):
        if eid == eids[0]:
            raise ConnectionError("timed out")
        return local.list_datasets(eid, **wanted).iloc[:0]

    one.list_datasets = lists
    monkeypatch.setattr(options, "open_one", lambda **kwargs: one)
    assert main(["ibl", "--eids", *eids, "--retries", "0", "--inspect"]) == 0
    first, second, _ = capsys.readouterr().out.split("\n\n")
    assert "cannot be prepared: list of files cannot be had: " in first
    assert "cannot be prepared: no spikes" in second

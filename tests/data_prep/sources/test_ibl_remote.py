"""Sessions of the database are fetched whatever the network does. A stand-in takes the place of the database."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.sources.ibl.patience import Patience
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_header
from neuromtm.files import read_table

pytest.importorskip("one", reason="ONE-api is not installed")

from tests.data_prep.sources import stand_in_one as stand_in
from tests.data_prep.sources.stand_in_one import FIRST, PLACE, SECOND, counts, files_in

ONCE = "mouse-0-00/2020-01-01/001/alf/"


# ---- failures that pass ----


def test_pauses_grow_up_to_a_minute_and_end(pauses):
    calls = []

    def fail():
        calls.append(1)
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Patience(retries=8)(fail)
    assert len(calls) == 9
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@pytest.mark.parametrize("error", [ValueError("x"), FileNotFoundError("x"), KeyboardInterrupt()], ids=repr)
def test_what_will_not_pass_is_not_tried_again(error, pauses):
    def fail():
        raise error

    with pytest.raises(type(error)):
        Patience(retries=8)(fail)
    assert pauses == []


@pytest.mark.parametrize(
    "failure",
    [
        stand_in.timeout,
        stand_in.reset,
        stand_in.answer(500),
        stand_in.answer(503),
        stand_in.answer(429),
        stand_in.partial,
        stand_in.damaged,
    ],
    ids=["timeout", "reset", "500", "503", "429", "partial", "damaged"],
)
def test_a_failure_that_passes_changes_nothing(server, ibl, tmp_path, local, pauses, failure):
    server.failures = {f"{ONCE}probe01/pykilosort/spikes.times": [failure, failure, None]}
    assert ibl(server) == 0
    counts(tmp_path / "out", local)
    assert pauses == [1, 2]
    assert server.fetched.count(f"{PLACE}/probe01/pykilosort/spikes.times.npy") == 3
    others = [name for name in server.fetched if "probe01/pykilosort/spikes" not in name]
    assert len(others) == len({*others})
    whole = {f"{PLACE}/{path.relative_to(server.tree / PLACE)}" for path in (server.tree / PLACE).rglob("*.*")}
    assert files_in(tmp_path / "cache") <= whole


def test_a_file_of_the_cache_that_is_damaged_is_fetched_again(server, ibl, tmp_path, local):
    path = tmp_path / "cache" / PLACE / "probe00" / "pykilosort" / "spikes.clusters.npy"
    path.parent.mkdir(parents=True)
    for damage in (stand_in.partial, stand_in.damaged):
        damage(server.tree / PLACE / "probe00" / "pykilosort" / path.name, path)
        server.fetched.clear()
        assert ibl(server, out=damage.__name__) == 0
        assert server.fetched.count(f"{PLACE}/probe00/pykilosort/{path.name}") == 1
        counts(tmp_path / damage.__name__, local)
    server.fetched.clear()
    assert ibl(server, out="again") == 0
    assert server.fetched == []


def test_what_an_interrupted_fetch_left_is_not_taken_for_the_file(server, ibl, tmp_path, local):
    one = stand_in.StandInOne(server, tmp_path)
    table = one.list_datasets(FIRST, details=True)
    own = next(
        index for index, row in table.iterrows() if row["rel_path"].endswith("probe00/pykilosort/spikes.times.npy")
    )
    folder = tmp_path / "cache" / PLACE / "probe00" / "pykilosort"
    folder.mkdir(parents=True)
    (folder / f"spikes.times.{own}.npy").write_bytes(b"half")
    assert ibl(server) == 0
    counts(tmp_path / "out", local)


def test_the_database_itself_may_fail_for_a_while(server, ibl, tmp_path, local, pauses):
    server.failures = {name: [stand_in.answer(502), None] for name in ("get_details", "list_datasets")}
    assert ibl(server) == 0
    counts(tmp_path / "out", local)
    assert pauses == [1, 1]


# ---- failures that stay ----


@pytest.mark.parametrize(
    ("name", "failure", "reason"),
    [
        ("spikes.times", stand_in.timeout, r"spikes in alf/probe00/pykilosort cannot be fetched: TimeoutError"),
        ("spikes.times", stand_in.answer(500), r"the server answers with an error \(500\)"),
        ("spikes.times", stand_in.answer(403), r"the server refuses it \(403\): this account may not"),
        ("spikes.times", stand_in.partial, r"probe00/pykilosort/spikes.times.npy \(the database lists \d+ bytes"),
        (
            "clusters.metrics",
            stand_in.damaged,
            r"clusters.metrics.pqt \(the database lists the hash .*: fetched 3 times",
        ),
        # the reading would do without a camera, and the shard would depend on the network
        ("leftCamera.ROIMotionEnergy", stand_in.timeout, r"leftCamera in alf cannot be fetched: TimeoutError"),
    ],
    ids=["timeout", "500", "403", "partial", "damaged", "camera"],
)
def test_a_file_that_cannot_be_had_is_named_with_the_reason(server, ibl, tmp_path, capsys, name, failure, reason):
    places = ("alf/", "alf/probe00/pykilosort/")
    server.failures = {f"mouse-0-00/2020-01-01/001/{place}{name}": [failure] for place in places}
    assert ibl(server, "--retries", "2") == 1
    assert re.search(f"{FIRST}: skipped: .*{reason}", capsys.readouterr().out)
    asked = [path for path in server.fetched if name in path and "probe01" not in path]
    assert len(asked) == (1 if "403" in reason else 3)
    assert [path for path in files_in(tmp_path / "cache") if name in path] == []


def test_a_session_that_cannot_be_had_does_not_stop_the_others(server, ibl, tmp_path):
    server.failures = {f"{ONCE}probe00/pykilosort/spikes.times": [stand_in.timeout]}
    assert ibl(server, "--retries", "2", eids=(FIRST, SECOND)) == 1
    assert [entry.eid for entry in read_manifest(tmp_path / "out")] == [SECOND]
    (row,) = read_table(tmp_path / "out" / "skipped.csv")
    assert row["eid"] == FIRST
    assert "spikes in alf/probe00/pykilosort cannot be fetched: TimeoutError" in row["reason"]
    server.failures = {}
    assert ibl(server, eids=(FIRST, SECOND)) == 0
    assert not (tmp_path / "out" / "skipped.csv").exists()


def test_what_the_server_does_not_have_is_missing(server, ibl, tmp_path, capsys):
    server.failures = {"ROIMotionEnergy": [stand_in.answer(404)], "clusters.metrics": [stand_in.answer(404)]}
    assert ibl(server) == 0
    out = capsys.readouterr().out
    assert "left camera not used" in out
    header = read_header(tmp_path / "out" / f"{FIRST}.h5")
    assert header.behaviors == ()
    assert np.isnan(header.neurons.label).all()


def test_without_the_spikes_on_the_server_the_sentence_says_404(server, ibl, capsys):
    server.failures = {"spikes.": [stand_in.answer(404)]}
    assert ibl(server) == 1
    out = capsys.readouterr().out
    assert "spikes in alf/probe00/pykilosort: listed in the database, but not on the server (404)" in out


def test_an_object_that_the_database_does_not_list_is_missing(own_server, ibl, capsys):
    for path in (own_server.tree / PLACE).glob("*trials*"):
        path.unlink()
    own_server.index()
    assert ibl(own_server) == 1
    assert "no trials in alf" in capsys.readouterr().out


def test_a_refused_login_is_one_sentence(server, ibl, capsys):
    server.refuses_login = True
    assert ibl(server) == 2
    err = capsys.readouterr().err
    assert "refuses the login" in err
    assert "ALYX_TOKEN" in err


def test_a_database_that_stays_away_is_one_sentence(server, ibl, capsys):
    for method in ("search", "get_details"):
        server.failures = {method: [stand_in.timeout]}
        assert ibl(server, *(("--query", "subject=mouse") if method == "search" else ()), eids=(FIRST,)) == 2
        assert "TimeoutError" in capsys.readouterr().err


def test_a_full_disk_stops_and_a_second_start_goes_on(server, ibl, tmp_path, capsys, local):
    server.failures = {"probe01/pykilosort/spikes.times": [stand_in.full_disk]}
    assert ibl(server) == 2
    assert "the disk is full" in capsys.readouterr().err
    server.failures = {}
    assert ibl(server) == 0
    counts(tmp_path / "out", local)


# ---- interruptions ----


def test_a_second_start_after_ctrl_c_fetches_only_what_is_missing(server, ibl, tmp_path, local, capsys):
    server.failures = {"probe01/pykilosort/spikes.times": [stand_in.interrupted, None]}
    assert ibl(server) == 130
    assert "run the same command again" in capsys.readouterr().err
    before = files_in(tmp_path / "cache")
    server.fetched.clear()
    assert ibl(server) == 0
    counts(tmp_path / "out", local)
    assert not {*server.fetched} & before


KILLED = """
import sys
from pathlib import Path
from unittest import mock
from data_prep.__main__ import main
from tests.data_prep.sources import stand_in_one as stand_in
tree, *command = sys.argv[1:]
server = stand_in.Server(Path(tree))
server.failures = {"probe01/pykilosort/spikes.times": [stand_in.killed]}
with mock.patch("one.api.OneAlyx", server.open):
    main(["ibl", *command])
"""


def test_a_second_start_after_a_kill_goes_on_and_drops_what_both_fetched(own_server, ibl, tmp_path, local):
    cache = tmp_path / "cache"
    command = ["--cache-dir", cache, "--out", tmp_path / "out", "--eids", FIRST, "--max-raw-gb", "1"]
    environment = os.environ | {"ALYX_TOKEN": "token"}
    words = [sys.executable, "-c", KILLED, own_server.tree, *command]
    assert subprocess.run(words, env=environment, cwd=Path(__file__).parents[3], check=False).returncode == 9
    left = files_in(cache)
    assert any("spikes.times." in name and name.count(".") == 3 for name in left), left  # half a file, with its id
    assert not (tmp_path / "out" / f"{FIRST}.h5").exists()
    own_server.index()
    assert ibl(own_server, "--max-raw-gb", "1") == 0
    counts(tmp_path / "out", local)
    assert files_in(cache) == set()
    again = [name for name in own_server.fetched if name in left]
    assert again == []


# ---- revised data ----


def revise(server: stand_in.Server) -> None:
    """A later revision of the depths of the first probe."""
    folder = server.tree / PLACE / "probe00" / "pykilosort"
    (folder / "#2024-05-06#").mkdir()
    depths = np.load(folder / "clusters.depths.npy")
    np.save(folder / "#2024-05-06#" / "clusters.depths.npy", np.full_like(depths, 7.0))
    server.index()


def test_data_that_was_revised_is_told_and_the_shard_is_kept(own_server, ibl, tmp_path, capsys):
    path = tmp_path / "out" / f"{FIRST}.h5"
    assert ibl(own_server) == 0
    before = path.read_bytes()
    assert read_header(path).attributes["file_revisions"] == "none"
    capsys.readouterr()
    assert ibl(own_server) == 0
    assert "since" not in capsys.readouterr().out
    revise(own_server)
    assert ibl(own_server) == 0
    said = capsys.readouterr().out
    assert "its files were revised since (revisions then: none; now: none, 2024-05-06); delete the shard" in said
    assert path.read_bytes() == before
    path.unlink()
    assert ibl(own_server) == 0
    header = read_header(path)
    assert header.attributes["file_revisions"] == "none, 2024-05-06"
    assert (header.neurons.depth_um[header.neurons.probe == "probe00"] == 7.0).all()


def test_a_revision_can_be_named(own_server, ibl, tmp_path):
    revise(own_server)
    for number, (date, probe_is_revised) in enumerate(
        [("2024-05-06", True), ("2025-01-01", True), ("2024-05-05", False)]
    ):
        assert ibl(own_server, "--revision", date, out=str(number)) == 0
        header = read_header(tmp_path / str(number) / f"{FIRST}.h5")
        depths = header.neurons.depth_um[header.neurons.probe == "probe00"]
        assert (depths == 7.0).all() == probe_is_revised
        assert header.preparation["revision"] == date
    words = ["ibl", "--mode", "local", "--cache-dir", str(own_server.tree), "--revision", "2024-05-05"]
    assert main([*words, "--out", str(tmp_path / "local")]) == 0
    header = read_header(tmp_path / "local" / "simlab_mouse-0-00_2020-01-01_001.h5")
    assert not (header.neurons.depth_um[header.neurons.probe == "probe00"] == 7.0).all()


def test_other_revisions_are_not_mixed_in_a_folder(own_server, ibl, capsys):
    assert ibl(own_server) == 0
    assert ibl(own_server, "--revision", "2024-05-06") == 2
    assert "was prepared with other values of revision" in capsys.readouterr().err

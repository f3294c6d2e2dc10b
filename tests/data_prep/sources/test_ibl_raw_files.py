"""Raw files that were fetched are dropped, those alone; and what does not fit is refused before anything is fetched."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from data_prep.__main__ import main
from data_prep.sources.ibl.raw_files import RawFiles
from data_prep.sources.ibl.wanted_files import FileRecord
from neuromtm.data.manifest import read_manifest

pytest.importorskip("one", reason="ONE-api is not installed")

from tests.data_prep.sources import stand_in_one as stand_in
from tests.data_prep.sources.stand_in_one import FIRST, PLACE, SECOND, counts, files_in

# ---- the cap of raw files ----


def test_raw_files_are_dropped_session_by_session(server, ibl, tmp_path, monkeypatch):
    most: list[set[str]] = []
    fetch = stand_in.StandInOne._download

    def noting(self, name, own):
        found = fetch(self, name, own)
        most.append({path.split("/")[2] for path in files_in(tmp_path / "cache")})
        return found

    monkeypatch.setattr(stand_in.StandInOne, "_download", noting)
    assert ibl(server, "--max-raw-gb", "1", eids=(FIRST, SECOND)) == 0
    assert len(most) > 10
    assert all(len(animals) == 1 for animals in most)
    assert files_in(tmp_path / "cache") == set()
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_dir()] == []
    assert not (tmp_path / "out" / ".fetched").exists()


def test_files_that_were_there_before_are_never_dropped(server, ibl, tmp_path, local):
    cache = tmp_path / "cache"
    alf, source = cache / PLACE, server.tree / PLACE
    (alf / "probe00" / "pykilosort").mkdir(parents=True)
    shutil.copy(source / "_ibl_trials.table.pqt", alf)  # whole
    stand_in.partial(source / "leftCamera.ROIMotionEnergy.npy", alf / "leftCamera.ROIMotionEnergy.npy")  # damaged
    elsewhere = tmp_path / "elsewhere.npy"
    shutil.copy(source / "probe00" / "pykilosort" / "spikes.times.npy", elsewhere)
    (alf / "probe00" / "pykilosort" / "spikes.times.npy").symlink_to(elsewhere)
    foreign = {  # files of the user's own beside those that are fetched
        f"{PLACE}/probe00/pykilosort/spikes.amps.npy",
        f"{PLACE}/probe00/pykilosort/spikes.clusters.npy.mine",
        f"{PLACE}/leftCamera.features.pqt",
        "sessions.pqt",
        "otherlab/Subjects/a/2020-01-01/001/alf/spikes.times.npy",
    }
    for name in foreign:
        (cache / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / name).write_text("mine")
    before = files_in(cache)
    assert ibl(server, "--max-raw-gb", "1") == 0
    counts(tmp_path / "out", local)
    assert files_in(cache) == before
    assert all((cache / name).read_text() == "mine" for name in foreign)
    assert elsewhere.read_bytes() == (source / "probe00" / "pykilosort" / "spikes.times.npy").read_bytes()
    assert (alf / "_ibl_trials.table.pqt").read_bytes() == (source / "_ibl_trials.table.pqt").read_bytes()


@pytest.mark.parametrize("failure", [stand_in.answer(404), stand_in.partial], ids=["404", "partial"])
def test_a_session_that_is_skipped_leaves_no_raw_files(server, ibl, tmp_path, failure):
    server.failures = {"spikes.times": [failure]}
    assert ibl(server, "--max-raw-gb", "1", "--retries", "1") == 1
    assert files_in(tmp_path / "cache") == set()


def test_after_ctrl_c_the_files_stay_until_the_session_is_prepared(server, ibl, tmp_path):
    server.failures = {"probe01/pykilosort/spikes.times": [stand_in.interrupted, None]}
    assert ibl(server, "--max-raw-gb", "1", eids=(SECOND, FIRST)) == 130
    assert files_in(tmp_path / "cache") != set()
    assert ibl(server, "--max-raw-gb", "1", eids=(FIRST, SECOND)) == 0
    assert [entry.eid for entry in read_manifest(tmp_path / "out")] == sorted([FIRST, SECOND])
    assert files_in(tmp_path / "cache") == set()


def test_a_run_without_a_cap_makes_the_files_the_user_s_own(server, ibl, tmp_path):
    server.failures = {"probe01/pykilosort/spikes.times": [stand_in.interrupted, None]}
    assert ibl(server, "--max-raw-gb", "1") == 130
    assert ibl(server) == 0
    kept = files_in(tmp_path / "cache")
    assert len(kept) > 10
    assert ibl(server, "--max-raw-gb", "1", "--seed", "1", "--overwrite") == 0
    assert files_in(tmp_path / "cache") == kept


def test_a_journal_cannot_name_files_outside_of_its_session(server, ibl, tmp_path):
    mine = tmp_path / "cache" / "mine.npy"
    mine.parent.mkdir()
    mine.write_text("mine")
    journal = tmp_path / "out" / ".fetched" / f"{FIRST}.h5.txt"
    journal.parent.mkdir(parents=True)
    journal.write_text(f"id ../../../../../mine.npy\nid {mine}\n")
    assert ibl(server, "--max-raw-gb", "1") == 0
    assert mine.read_text() == "mine"


def test_the_cap_is_not_for_a_local_folder(database, tmp_path, capsys):
    tree = Path(shutil.copytree(database.tree, tmp_path / "tree"))
    before = files_in(tree)
    words = ["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(tmp_path / "out")]
    assert main([*words, "--max-raw-gb", "1"]) == 2
    assert "--max-raw-gb is for --mode remote" in capsys.readouterr().err
    assert main(words) == 0
    assert files_in(tree) == before


# ---- before it begins ----


def test_the_estimate_is_what_is_fetched(server, ibl, capsys):
    assert ibl(server) == 0
    size = sum((server.tree / name).stat().st_size for name in server.fetched)
    out = capsys.readouterr().out
    assert f"1 session: 0 prepared already, 1 to prepare. {size:,} bytes to fetch" in out
    assert "MB/s" in out
    assert ibl(server, eids=(FIRST, SECOND)) == 0
    assert "2 sessions: 1 prepared already, 1 to prepare." in capsys.readouterr().out
    assert ibl(server, out="other") == 0
    assert "1 to prepare. 0 bytes to fetch" in capsys.readouterr().out


def test_the_rate_says_how_much_time_is_left(server, ibl, capsys):
    server.failures = {"trials": [stand_in.slow]}
    assert ibl(server, eids=(FIRST, SECOND)) == 0
    first, second = (line for line in capsys.readouterr().out.splitlines() if ": prepared:" in line)
    assert " bytes and about 1 min left" in first
    assert "left" not in second.partition("MB/s")[2]


def test_a_cap_that_cannot_hold_a_session_is_refused_before_anything_is_fetched(server, ibl, capsys):
    assert ibl(server, "--max-raw-gb", "0.00001") == 2
    err = capsys.readouterr().err
    assert f"--max-raw-gb 1e-05: {FIRST} alone needs" in err
    assert server.fetched == []
    for cap in ("0", "-1"):
        assert ibl(server, "--max-raw-gb", cap) == 2
        assert "must be above 0" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        ibl(server, "--max-raw-gb", "nan")
    assert "--max-raw-gb: nan is not a number" in capsys.readouterr().err
    assert ibl(server, "--retries", "-1") == 2


@pytest.mark.parametrize(
    ("share", "cap", "sentence"), [(0.9, (), "Give --max-raw-gb"), (0.3, ("--max-raw-gb", "1"), "alone")]
)
def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    server, ibl, capsys, monkeypatch, share, cap, sentence
):
    total = sum(path.stat().st_size for path in server.tree.rglob("simlab/**/*.*"))
    usage = SimpleNamespace(free=int(share * total))
    monkeypatch.setattr("data_prep.sources.ibl.remote_files.shutil.disk_usage", lambda path: usage)
    assert ibl(server, *cap, eids=(FIRST, SECOND)) == 2
    assert sentence in capsys.readouterr().err
    assert server.fetched == []


def test_with_a_cap_the_disk_need_not_hold_all_sessions(server, ibl, monkeypatch):
    total = sum(path.stat().st_size for path in server.tree.rglob("simlab/**/*.*"))
    usage = SimpleNamespace(free=int(0.9 * total))
    monkeypatch.setattr("data_prep.sources.ibl.remote_files.shutil.disk_usage", lambda path: usage)
    assert ibl(server, "--max-raw-gb", "1", eids=(FIRST, SECOND)) == 0


def test_what_another_process_fetched_is_dropped_by_its_journal(tmp_path):
    record = FileRecord("id", "alf/spikes.times.npy", 4, "")
    folder, journal = tmp_path / "cache" / "session", tmp_path / "journal"
    here, there = (RawFiles(folder=folder, root=tmp_path / "cache", journal=journal) for _ in range(2))
    there.begin([record])
    (folder / "alf").mkdir(parents=True)
    for name in ("spikes.times.npy", "spikes.times.id.npy", "spikes.times.npy.0aF3b2C1", "spikes.times.npy.old"):
        (folder / "alf" / name).write_text("1234")
    here.drop()
    assert files_in(tmp_path) == {"cache/session/alf/spikes.times.npy.old"}

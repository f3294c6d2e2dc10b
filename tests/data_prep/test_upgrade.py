"""Shards of format 1 become format 2, and nothing else of them changes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from format_1 import as_format_1

from data_prep import upgrade
from data_prep.__main__ import main
from data_prep.upgrade import upgrade_folder
from neuromtm.data.manifest import add_shard, folder_problems, read_manifest
from neuromtm.data.seal import is_sealed
from neuromtm.data.shards import Shard, read_header, read_principal_axes, read_shard
from neuromtm.data.upgrade_journal import UPGRADE_JOURNAL, upgraded_but_unlisted


@pytest.fixture
def folder(simulated, tmp_path):
    """A copy of the simulated sessions in format 1."""
    for entry in read_manifest(simulated):
        path = tmp_path / entry.file
        path.write_bytes((simulated / entry.file).read_bytes())
        as_format_1(path)
        add_shard(path, entry.role)
    return tmp_path


WITHOUT = "a training does not notice if their regions, labels or splits are damaged."
FILES = ("sim-0-00.h5", "sim-0-01.h5")


def versions(folder: Path) -> list[int]:
    return [read_header(folder / file).format_version for file in FILES]


def require_same(found: Shard, expected: Shard) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.true_rates, expected.true_rates)
    for name, values in expected.behavior.items():
        np.testing.assert_array_equal(found.behavior[name], values)
    for part in ("neurons", "trials"):
        for name, values in vars(getattr(expected.header, part)).items():
            np.testing.assert_array_equal(getattr(getattr(found.header, part), name), values, err_msg=name)
    for name, values in expected.header.splits.items():
        np.testing.assert_array_equal(found.header.splits[name], values)


def test_an_upgraded_folder_is_as_if_it_had_been_prepared_so(folder, simulated, capsys):
    assert versions(folder) == [1, 1]
    assert main(["upgrade", str(folder)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "sim-0-00: upgraded: format 1 to 2",
        "sim-0-01: upgraded: format 1 to 2",
        f"{folder}: 2 upgraded, 0 already done, 0 skipped",
    ]
    assert versions(folder) == [2, 2]
    assert folder_problems(folder) == {}
    assert main(["check", str(folder)]) == 0
    for file in FILES:
        require_same(read_shard(folder / file), read_shard(simulated / file))
        np.testing.assert_array_equal(read_principal_axes(folder / file), read_principal_axes(simulated / file))
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "manifest.json", *FILES]


def test_what_is_listed_of_a_session_stays_but_for_its_checksum(folder):
    before = read_manifest(folder)
    assert main(["upgrade", str(folder)]) == 0
    for old, new in zip(before, read_manifest(folder), strict=True):
        assert old.sha256 != new.sha256
        assert vars(old) | {"sha256": None} == vars(new) | {"sha256": None}


def test_shards_of_format_2_are_left_alone(folder, capsys):
    main(["upgrade", str(folder)])

    def written():  # not when they were read
        found = {file: (folder / file).stat() for file in (*FILES, "manifest.json")}
        return {file: (stat.st_ino, stat.st_size, stat.st_mtime_ns) for file, stat in found.items()}

    before = written()
    assert main(["upgrade", str(folder)]) == 0
    assert "0 upgraded, 2 already done, 0 skipped" in capsys.readouterr().out
    assert written() == before


def test_a_shard_without_a_seal_is_sealed_and_nothing_else_of_it_changes(simulated, tmp_path, capsys):
    before = {}
    for entry in read_manifest(simulated):
        path = tmp_path / entry.file
        path.write_bytes((simulated / entry.file).read_bytes())
        with h5py.File(path, "r+"):  # which cuts the seal off
            pass
        before[path] = path.read_bytes()
        add_shard(path, entry.role)
    assert not any(map(is_sealed, before))
    assert main(["check", str(tmp_path)]) == 0
    assert f"2 of them without a seal: {WITHOUT}" in capsys.readouterr().out
    assert main(["upgrade", str(tmp_path)]) == 0
    assert "sim-0-00: upgraded: sealed" in capsys.readouterr().out
    assert all(map(is_sealed, before))
    assert all(path.read_bytes().startswith(content) for path, content in before.items())
    assert folder_problems(tmp_path) == {}
    assert main(["check", str(tmp_path)]) == 0
    assert WITHOUT not in capsys.readouterr().out
    assert main(["upgrade", str(tmp_path)]) == 0
    assert "0 upgraded, 2 already done, 0 skipped" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_bad_shard_is_skipped_with_its_reason_and_the_others_are_upgraded(folder, capsys, damage):
    path = folder / FILES[0]
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:1000])
    assert main(["upgrade", str(folder)]) == 1
    printed = capsys.readouterr().out
    reason = "its bytes are not the ones the manifest lists" if damage == "cut" else "no such shard"
    assert f"sim-0-00: skipped: {path}: {reason}" in printed
    assert read_header(folder / FILES[1]).format_version == 2
    assert folder_problems(folder).keys() == {FILES[0]}


def test_a_shard_that_the_manifest_lacks_is_named(folder, capsys):
    (folder / "other.h5").write_bytes((folder / FILES[0]).read_bytes())
    assert main(["upgrade", str(folder)]) == 1
    assert "other: skipped: not in the manifest" in capsys.readouterr().out


def test_a_folder_without_a_manifest_is_one_sentence(tmp_path, capsys):
    assert main(["upgrade", str(tmp_path)]) == 2
    assert "no manifest.json in it" in capsys.readouterr().err


KILLED = """
import os, signal, sys
from data_prep import upgrade
from data_prep.__main__ import main
replace, calls = os.replace, []
def die(*args):
    if str(args[0]).endswith(".upgrade.tmp"):
        calls.append(1)
        if len(calls) == AT and not AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*args)
        if len(calls) == AT and AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
    else:
        replace(*args)
os.replace = die
main(["upgrade", sys.argv[1]])
"""


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("after", [False, True])
def test_an_upgrade_that_was_killed_is_taken_up(folder, simulated, capsys, at, after):
    program = KILLED.replace("AT", str(at)).replace("AFTER", str(after))
    killed = subprocess.run([sys.executable, "-c", program, str(folder)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    n_done = at if after else at - 1
    assert versions(folder) == [2] * n_done + [1] * (2 - n_done)
    found = [problem for problems in folder_problems(folder).values() for problem in problems]
    assert len(found) == n_done
    assert all("Run python -m data_prep upgrade" in problem for problem in found)
    assert main(["simulate", "--out", str(folder), "--n-sessions", "2", "--n-heldout", "1"]) == 2
    assert "upgrade of this folder goes on or was interrupted" in capsys.readouterr().err
    left_behind = folder / "..sim-0-00.h5.upgrade.tmp.abc.tmp"
    left_behind.touch()
    assert main(["upgrade", str(folder)]) == 0
    assert not list(folder.glob(".*.upgrade.tmp*"))
    assert f"{2 - n_done} upgraded, {n_done} already done, 0 skipped" in capsys.readouterr().out
    assert folder_problems(folder) == {}
    assert versions(folder) == [2, 2]
    assert not (folder / UPGRADE_JOURNAL).exists()


def test_an_interrupted_upgrade_has_listed_what_it_upgraded(folder, monkeypatch):
    def interrupt(path):
        if path.name == FILES[1]:
            raise KeyboardInterrupt
        return read_shard(path)

    monkeypatch.setattr(upgrade, "read_shard", interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(upgrade_folder(folder))
    assert folder_problems(folder) == {}
    assert versions(folder) == [2, 1]


def test_a_line_of_the_journal_that_was_cut_short_harms_no_other(tmp_path):
    journal = tmp_path / UPGRADE_JOURNAL
    upgrade._note(journal, "a.h5", "1")
    journal.write_text(journal.read_text() + '\n{"file": "b.')
    upgrade._note(journal, "c.h5", "3")
    assert upgraded_but_unlisted(tmp_path) == {"a.h5": "1", "c.h5": "3"}


def test_a_shard_that_was_replaced_by_another_program_is_not_taken_for_an_upgraded_one(folder):
    upgrade._note(folder / UPGRADE_JOURNAL, FILES[0], "of another file")
    (folder / FILES[0]).write_bytes((folder / FILES[1]).read_bytes())
    outcome = next(iter(upgrade_folder(folder)))
    assert outcome.status == "skipped"


def test_two_upgrades_at_once_leave_the_folder_whole(folder):
    command = [sys.executable, "-m", "data_prep", "upgrade", str(folder)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert folder_problems(folder) == {}
    assert versions(folder) == [2, 2]
    assert os.listdir(folder).count("manifest.json") == 1

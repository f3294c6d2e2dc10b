"""A short run of the campaign of `tests/faults/kills.py`."""

import fcntl

import pytest

from neuromtm import files as files_module
from neuromtm.files import TEMPORARY, whole_file, write_whole
from tests.data.small_shards import Session, write_folder
from tests.faults.kills import Kill, baseline, campaign, files, in_process, preparation, scoring, undisturbed


def test_a_preparation_that_is_killed_again_and_again_ends_in_the_same_bytes(tmp_path):
    found = list(campaign(preparation(), tmp_path, n=3, seed=0))
    assert [wrong for _, wrong in found] == ["", "", ""]
    assert sum(n_killed for n_killed, _ in found) >= 2


def test_a_baseline_that_is_killed_ends_with_the_same_numbers(tmp_path):
    write_folder(tmp_path / "data", Session("a"))
    assert [wrong for _, wrong in campaign(baseline(tmp_path / "data"), tmp_path, n=2, seed=0)] == ["", ""]


def test_a_test_that_is_killed_while_it_writes_leaves_nothing_after_a_second_start(pretrained, tmp_path):
    work = scoring("test", pretrained)
    whole = undisturbed(work, tmp_path / "whole")
    # the last change of all gives a temporary file its name
    assert in_process(work, tmp_path / "run", Kill(before_change=whole.n_changes - 3)).status == -9
    assert in_process(work, tmp_path / "run").status == 0
    assert work.left(tmp_path / "run") == work.left(tmp_path / "whole")
    assert not [name for name in files(tmp_path / "run") if name.endswith(TEMPORARY)]


@pytest.fixture
def new_process(monkeypatch):
    """As if this process had not looked into any folder."""
    monkeypatch.setattr(files_module, "_looked_into", set())


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path, new_process):
    left, living, other = (tmp_path / name for name in (f".a.x{TEMPORARY}", f".a.y{TEMPORARY}", ".of another.tmp"))
    for path in (left, living, other):
        path.write_text("half")
    with living.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        write_whole(tmp_path / "b.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {living.name, other.name, "b.txt"}


def test_a_file_that_is_taken_for_left_behind_before_it_is_locked_is_made_anew(tmp_path, new_process, monkeypatch):
    lock, taken = fcntl.flock, []

    def taken_once(descriptor, operation):
        if not taken:
            taken.append(next(tmp_path.glob(f"*{TEMPORARY}")))
            taken[0].unlink()
        return lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", taken_once)
    with whole_file(tmp_path / "a.txt") as temporary:
        assert temporary not in taken
        temporary.write_text("whole")
    assert (tmp_path / "a.txt").read_text() == "whole"

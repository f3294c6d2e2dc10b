"""The manifest: what a folder holds, and whether it still does."""

import json
import multiprocessing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from neuromtm.data import manifest
from neuromtm.data.manifest import (
    ManifestWriter,
    SessionEntry,
    add_session,
    add_shard,
    describe,
    find_entry,
    folder_problems,
    read_manifest,
)
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials, write_shard
from neuromtm.errors import ManifestError, ShardError
from neuromtm.files import write_whole


def write(folder: Path, eid: str) -> Path:
    """Write a shard of 5 trials, 2 bins and 3 neurons."""
    unknown = np.full(3, np.nan)
    header = ShardHeader(
        eid=eid,
        subject=f"mouse {eid}",
        lab="lab",
        source="test",
        bin_size_s=0.5,
        window_s=(0.0, 1.0),
        align_event="stimOn_times",
        created_by="test",
        neurons=Neurons(
            np.array(["x", "y", "z"]), np.array(["CA1", "CA1", "root"]), np.repeat("p", 3), unknown, unknown, unknown
        ),
        trials=Trials(*np.zeros((6, 5)), index=np.arange(5)),
        splits={"train": np.arange(3), "val": np.array([3]), "test": np.array([4])},
        behaviors=("whisker",),
    )
    path = folder / f"{eid}.h5"
    write_shard(path, Shard(header, np.ones((5, 2, 3), np.uint8), {"whisker": np.zeros((5, 2))}))
    return path


@pytest.fixture
def folder(tmp_path):
    """Two sessions, one held out."""
    add_shard(write(tmp_path, "b"), "pretrain")
    add_shard(write(tmp_path, "a"), "heldout")
    return tmp_path


def test_an_entry_says_what_the_shard_holds(folder):
    entry = read_manifest(folder)[0]
    assert (entry.eid, entry.file, entry.role, entry.subject) == ("a", "a.h5", "heldout", "mouse a")
    assert (entry.n_trials, entry.n_bins, entry.n_neurons, entry.bin_size_s) == (5, 2, 3, 0.5)
    assert entry.regions == {"CA1": 2, "root": 1}
    assert entry.behaviors == ["whisker"]
    assert entry.splits == {"train": 3, "val": 1, "test": 1}


def test_sessions_are_sorted_whatever_the_order_they_came_in(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    add_shard(write(other, "a"), "heldout")
    add_shard(write(other, "b"), "pretrain")
    assert [entry.eid for entry in read_manifest(folder)] == ["a", "b"]
    assert (other / "manifest.json").read_bytes() == (folder / "manifest.json").read_bytes()


def test_adding_a_session_again_replaces_its_entry(folder):
    add_session(folder, replace(find_entry(folder, "a"), role="pretrain"))
    assert [entry.role for entry in read_manifest(folder)] == ["pretrain", "pretrain"]


def test_an_entry_is_found_by_name_or_not_at_all(folder, tmp_path_factory):
    assert find_entry(folder, "a") == describe(folder / "a.h5", "heldout")
    assert find_entry(folder, "c") is None
    assert find_entry(tmp_path_factory.mktemp("empty"), "a") is None


def add_many(folder: Path, entry: SessionEntry, start: int) -> None:
    for number in range(start, start + 20):
        add_session(folder, replace(entry, eid=f"{number:03d}"))


def test_no_session_is_lost_when_several_processes_add(folder):
    entry = find_entry(folder, "a")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=add_many, args=(folder, entry, 100 * n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_manifest(folder)) == 2 + 80


@pytest.fixture
def writes(monkeypatch):
    """The times that a manifest was written."""
    written = []
    monkeypatch.setattr(manifest, "write_whole", lambda *args: (written.append(args), write_whole(*args)))
    return written


def test_many_shards_are_listed_at_once(folder, writes):
    with ManifestWriter(folder) as writer:
        for eid in "cdef":
            writer.add(write(folder, eid), "heldout")
        assert not writes
    assert len(writes) == 1
    assert [entry.eid for entry in read_manifest(folder)] == list("abcdef")
    assert folder_problems(folder) == {}


def test_the_manifest_is_written_when_its_time_has_come(folder, writes):
    with ManifestWriter(folder, every_s=0.0) as writer:
        writer.add(write(folder, "c"), "heldout")
        assert find_entry(folder, "c") is not None
    assert len(writes) == 1  # nothing waited at the end


def test_an_error_does_not_lose_what_was_added_before(folder):
    def interrupted():
        with ManifestWriter(folder) as writer:
            writer.add(write(folder, "c"), "heldout")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert find_entry(folder, "c") == describe(folder / "c.h5", "heldout")


def test_a_shard_that_is_gone_does_not_keep_the_others_from_the_manifest(folder):
    writer = ManifestWriter(folder)
    for eid in "cd":
        writer.add(write(folder, eid), "heldout")
    (folder / "c.h5").unlink()
    with pytest.raises(ShardError, match=r"c\.h5: no such shard"):
        writer.write()
    assert [entry.eid for entry in read_manifest(folder)] == ["a", "b", "d"]


def test_a_writer_finds_what_it_added_and_what_another_one_added(folder):
    with ManifestWriter(folder) as writer:
        assert writer.find("a").role == "heldout"
        writer.add(write(folder, "c"), "heldout")
        assert writer.find("c") == describe(folder / "c.h5", "heldout")
        add_shard(write(folder, "d"), "pretrain")
        assert writer.find("d").role == "pretrain"
        assert writer.find("e") is None


def list_many(folder: Path, start: int) -> None:
    with ManifestWriter(folder, every_s=0.0) as writer:
        for number in range(start, start + 5):
            writer.add(write(folder, f"{number:03d}"), "heldout")


def test_no_shard_is_lost_when_several_writers_add(folder):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=list_many, args=(folder, 100 * n)) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert len(read_manifest(folder)) == 2 + 20
    assert folder_problems(folder) == {}


def test_a_whole_folder_has_no_problems(folder):
    assert folder_problems(folder) == {}


def damaged_header(path):
    content = bytearray(path.read_bytes())
    content[: len(content) // 2] = bytes(len(content) // 2)
    path.write_bytes(content)


def swapped(path):
    path.write_bytes(write(path.parent, "c").read_bytes())
    (path.parent / "c.h5").unlink()


@pytest.mark.parametrize("damage", [Path.unlink, damaged_header, swapped, lambda path: path.write_bytes(b"")])
def test_every_bad_file_is_named_and_no_good_one(folder, damage):
    damage(folder / "a.h5")
    problems = folder_problems(folder)
    assert problems.keys() == {"a.h5"}
    assert str(folder / "a.h5") in problems["a.h5"][0]


def test_damage_anywhere_is_found_without_harm(folder):
    path, rng = folder / "a.h5", np.random.default_rng(0)
    whole = path.read_bytes()
    for _ in range(100):
        content = bytearray(whole)
        content[rng.integers(len(content))] ^= int(rng.integers(1, 256))
        path.write_bytes(content)
        assert folder_problems(folder).keys() == {"a.h5"}


def test_an_entry_that_says_something_else_than_its_shard_is_found(folder):
    add_session(folder, replace(find_entry(folder, "a"), n_trials=6))
    assert "not what the manifest says" in folder_problems(folder)["a.h5"][0]


def test_a_shard_that_is_not_listed_is_found(folder):
    write(folder, "c")
    assert "not in the manifest" in folder_problems(folder)["c.h5"][0]


def change(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "manifest.json").unlink(), "not a data folder"),
        (lambda folder: (folder / "manifest.json").write_text("{"), "not a readable manifest"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\xff"), "not a readable manifest"),
        (lambda folder: change(folder, format="other"), "format 'other'"),
        (lambda folder: change(folder, format_version=2), "version 2, but this program reads"),
        (lambda folder: change(folder, sessions=[]), "lists no session"),
        (lambda folder: change(folder, sessions=[{"eid": "a"}]), "not a readable manifest"),
        (lambda folder: change(folder, sessions=7), "not a readable manifest"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_one_sentence(folder, spoil, sentence):
    spoil(folder)
    with pytest.raises(ManifestError, match=sentence):
        read_manifest(folder)


def test_a_missing_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(ManifestError, match=r"no such folder.*python -m data_prep simulate"):
        read_manifest(tmp_path / "nowhere")


def test_a_role_that_does_not_exist_is_named(folder):
    spoilt(folder, role="spare")
    with pytest.raises(ManifestError, match="role of session 1 is 'spare', not one of pretrain, heldout"):
        read_manifest(folder)


def spoilt(folder, **fields):
    """Put other values into the first session's entry."""
    sessions = json.loads((folder / "manifest.json").read_text())["sessions"]
    change(folder, sessions=[sessions[0] | fields, *sessions[1:]])


@pytest.mark.parametrize("value", [None, True, -1, ["x", 3], {"x": "y"}])
@pytest.mark.parametrize("name", [field.name for field in fields(SessionEntry)])
def test_a_field_of_another_type_is_one_sentence_that_names_it(folder, name, value):
    spoilt(folder, **{name: value})
    with pytest.raises(ManifestError, match=f"{name} of session 1 is ") as refused:
        read_manifest(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", [field.name for field in fields(SessionEntry)])
def test_an_entry_that_no_reader_would_take_is_not_written(folder, name):
    before, entry = (folder / "manifest.json").read_bytes(), find_entry(folder, "a")
    with pytest.raises(ManifestError, match=f"not written, as no reader would take it: {name} of session"):
        add_session(folder, replace(entry, **{name: None}))
    with pytest.raises(ManifestError, match="role of session 'a' is 'test', not one of pretrain, heldout"):
        add_shard(folder / "a.h5", "test")
    assert (folder / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", [3, "../b.h5", "/b.h5", "sub/b.h5", "sub\\b.h5", "..", ".", "", "b\0.h5"])
def test_a_file_outside_the_folder_is_not_opened(folder, name):
    spoilt(folder, file=name)
    with pytest.raises(ManifestError, match=r"file of session 1 is .*, not the name of a file in this folder"):
        read_manifest(folder)


def test_a_session_that_is_listed_twice_is_named(folder):
    spoilt(folder, eid="b")
    for read in (read_manifest, folder_problems, lambda folder: find_entry(folder, "a")):
        with pytest.raises(ManifestError, match="lists 'b' more than once"):
            read(folder)

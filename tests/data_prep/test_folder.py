import hashlib
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep.__main__ import main
from data_prep.folder import Job, prepare_sessions
from data_prep.options import PrepareOptions
from neuromtm.data import manifest
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import read_header, shard_name
from neuromtm.errors import ConfigError, ManifestError, SourceError
from neuromtm.files import write_whole

MANY = ("--n-sessions", "8", "--n-heldout", "2", "--n-trials", "40", "--n-neurons", "30")
OPTIONS = PrepareOptions(window_s=(-0.1, 0.1))


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if not p.name.startswith(".")}


def start(out: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "data_prep", "simulate", "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_prepared_twice_every_byte_is_equal(simulated, tiny, tmp_path):
    assert main(["simulate", "--out", str(tmp_path), *tiny]) == 0
    assert digests(tmp_path) == digests(simulated)


def test_a_session_with_a_text_that_no_shard_holds_is_skipped_and_the_others_go_on(recording, tmp_path):
    jobs = [
        Job(eid, "pretrain", lambda eid=eid, source=source: replace(recording, eid=eid, source=source))
        for eid, source in (("a", "x\0y"), ("b", "\ud800"), ("c", "test"))
    ]
    outcomes = [*prepare_sessions(jobs, out=tmp_path, options=OPTIONS, source_options={})]
    assert [outcome.status for outcome in outcomes] == ["skipped", "skipped", "prepared"]
    assert all("a shard cannot hold a text or a value" in str(outcome) for outcome in outcomes[:2])
    assert [path.name for path in tmp_path.glob("*.h5*")] == ["c.h5"]


@pytest.mark.parametrize("form", ["shards", "alf"])
def test_a_folder_that_is_a_link_to_nowhere_is_named(form, tiny, tmp_path, capsys):
    if form == "alf":
        pytest.importorskip("one", reason="ONE-api is not installed")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    assert main(["simulate", "--format", form, "--out", str(tmp_path / "link" / "a"), *tiny]) == 2
    assert f"{tmp_path / 'link'} is a link that leads nowhere" in capsys.readouterr().err


KILLED_IN_THE_THIRD_SHARD = """
import os, signal, sys
from data_prep.__main__ import main
from neuromtm.data import shards
verify, calls = shards._problems, []
def die(*args, **kwargs):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return verify(*args, **kwargs)
shards._problems = die
main(sys.argv[1:])
"""


def test_a_killed_preparation_is_taken_up_and_ends_in_the_same_bytes(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED_IN_THE_THIRD_SHARD, "simulate", "--out", str(killed), *MANY]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert sorted(digests(killed)) == ["sim-0-00.h5", "sim-0-01.h5"]  # whole, and listed by the next call
    assert main(["simulate", "--out", str(killed), *MANY]) == 0
    assert main(["simulate", "--out", str(whole), *MANY]) == 0
    assert digests(killed) == digests(whole)


def test_an_interrupted_preparation_has_listed_what_it_prepared(recording, tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    jobs = [Job("mouse-1", "pretrain", lambda: recording), Job("mouse-2", "pretrain", interrupt)]
    with pytest.raises(KeyboardInterrupt):
        list(prepare_sessions(jobs, out=tmp_path, options=OPTIONS, source_options={}))
    assert [entry.eid for entry in read_manifest(tmp_path)] == ["mouse-1"]
    assert folder_problems(tmp_path) == {}


def test_the_manifest_is_not_written_for_every_session(recording, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(manifest, "write_whole", lambda *args: (written.append(args), write_whole(*args)))
    jobs = [Job(f"mouse-{n}", "pretrain", lambda n=n: replace(recording, eid=f"mouse-{n}")) for n in range(6)]
    outcomes = list(prepare_sessions(jobs, out=tmp_path, options=OPTIONS, source_options={}))
    assert [outcome.status for outcome in outcomes] == 6 * ["prepared"]
    assert len(written) == 1
    assert len(read_manifest(tmp_path)) == 6


def test_a_manifest_that_cannot_be_read_stops_the_preparation_before_its_first_session(recording, tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(ManifestError, match="not a readable manifest"):
        prepare_one(recording, tmp_path)
    assert not (tmp_path / "mouse-1.h5").exists()


def test_two_processes_in_one_folder_leave_it_whole(tmp_path):
    both = [start(tmp_path / "both", *MANY) for _ in range(2)]
    outputs = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert folder_problems(tmp_path / "both") == {}
    assert len(read_manifest(tmp_path / "both")) == 8


def test_what_is_done_is_not_done_again(recording, tmp_path):
    loads = []

    def run(**kwargs):
        job = Job("mouse-1", "pretrain", lambda: loads.append(1) or recording)
        return [o.status for o in prepare_sessions([job], out=tmp_path, options=OPTIONS, source_options={}, **kwargs)]

    assert run() == ["prepared"]
    assert run() == ["already done"]
    assert len(loads) == 1


def prepare_one(recording, out, *, role="pretrain", options=OPTIONS, overwrite=False):
    job = Job(recording.eid, role, lambda: recording)
    return next(iter(prepare_sessions([job], out=out, options=options, source_options={}, overwrite=overwrite)))


def test_a_shard_of_other_options_stops_the_preparation_and_names_them(recording, tmp_path):
    prepare_one(recording, tmp_path)
    with pytest.raises(
        ConfigError, match=r"mouse-1.h5: was prepared with other values of min_label, seed.*--overwrite"
    ):
        prepare_one(recording, tmp_path, options=replace(OPTIONS, seed=1, min_label=0.5))
    assert read_header(tmp_path / "mouse-1.h5").preparation["seed"] == 0


def test_overwrite_replaces_a_shard_of_other_options(recording, tmp_path):
    prepare_one(recording, tmp_path)
    outcome = prepare_one(recording, tmp_path, options=replace(OPTIONS, seed=1), overwrite=True)
    assert outcome.status == "prepared"
    assert "replaces a shard that was prepared with other options" in outcome.note
    assert folder_problems(tmp_path) == {}
    assert read_header(tmp_path / "mouse-1.h5").preparation["seed"] == 1


def test_a_whole_shard_that_the_manifest_lacks_is_added(recording, tmp_path):
    prepare_one(recording, tmp_path)
    (tmp_path / "manifest.json").unlink()
    assert prepare_one(recording, tmp_path).note == "added to the manifest"
    assert folder_problems(tmp_path) == {}


@pytest.mark.parametrize("listed", [True, False])
def test_a_damaged_shard_is_prepared_again(recording, tmp_path, listed):
    prepare_one(recording, tmp_path)
    path = tmp_path / "mouse-1.h5"
    path.write_bytes(path.read_bytes()[:-100])
    if not listed:
        (tmp_path / "manifest.json").unlink()
    outcome = prepare_one(recording, tmp_path)
    assert (outcome.status, folder_problems(tmp_path)) == ("prepared", {})
    assert "replaces a damaged shard" in outcome.note


def test_a_session_that_changes_its_role_is_not_prepared_again(recording, tmp_path):
    prepare_one(recording, tmp_path)
    assert prepare_one(recording, tmp_path, role="heldout").status == "already done"
    assert read_manifest(tmp_path)[0].role == "heldout"


def test_a_session_that_cannot_be_used_is_skipped_with_its_reason_and_the_next_goes_on(recording, tmp_path):
    def no_spikes():
        raise SourceError("no spikes.")

    jobs = [Job("bad", "pretrain", no_spikes), Job("mouse-1", "pretrain", lambda: recording)]
    outcomes = list(prepare_sessions(jobs, out=tmp_path, options=OPTIONS, source_options={}))
    assert [str(outcomes[0]), outcomes[1].status] == ["bad: skipped: no spikes.", "prepared"]
    assert not (tmp_path / "bad.h5").exists()


@pytest.mark.parametrize("eid", ["", "a/b", "../a", ".a", "a b", "a\n"])
def test_an_eid_that_cannot_name_a_file_is_refused(eid):
    with pytest.raises(ConfigError, match="only letters, digits"):
        shard_name(eid)


def test_a_file_in_place_of_the_folder_is_refused(recording, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        prepare_one(recording, tmp_path / "out")

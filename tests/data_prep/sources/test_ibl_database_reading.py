"""What is read of a session decides what is fetched of it from the database, here or in another process."""

import pickle

import numpy as np
import pytest

from data_prep.cli import parser_of
from data_prep.sources.ibl import options
from neuromtm.data.shards import read_header

pytest.importorskip("one", reason="ONE-api is not installed")

from tests.data_prep.sources.stand_in_one import FIRST, PLACE, SECOND


@pytest.fixture
def with_wheel(own_server):
    """A server whose first session has a wheel too."""
    clock_s = np.arange(0, 200, 0.01)
    np.save(own_server.tree / PLACE / "_ibl_wheel.timestamps.npy", clock_s)
    np.save(own_server.tree / PLACE / "_ibl_wheel.position.npy", np.sin(clock_s))
    own_server.index()
    return own_server


def test_a_behavior_that_is_asked_for_is_fetched_and_no_other(with_wheel, ibl, tmp_path):
    assert ibl(with_wheel, out="default") == 0
    assert not [name for name in with_wheel.fetched if "wheel" in name]
    assert ibl(with_wheel, "--behaviors", "wheel_velocity", out="wheel") == 0
    assert len([name for name in with_wheel.fetched if "wheel" in name]) == 2
    header = read_header(tmp_path / "wheel" / f"{FIRST}.h5")
    assert header.behaviors == ("wheel_velocity",)
    assert header.preparation["behaviors"] == ["wheel_velocity"]
    assert header.attributes["sorter.probe00"] == "pykilosort"


def test_inspection_fetches_nothing_and_keeps_the_options_of_the_choice(with_wheel, ibl, tmp_path, capsys):
    assert ibl(with_wheel, "--inspect", "--list", "brain-wide-map", "--revision", "2030-01-01", eids=()) == 0
    said = capsys.readouterr().out
    assert with_wheel.fetched == []
    assert not (tmp_path / "out").exists()
    second, first, command = said.strip().split("\n\n")
    assert first.count("sorting ") == 1  # one probe of this session is in the freeze
    assert second.count("sorting ") == 2
    assert FIRST in first
    assert SECOND in second
    assert "wheel_velocity" in first
    assert "--list brain-wide-map --revision 2030-01-01" in command


def test_a_session_of_the_database_can_be_sent_to_another_process(server, ibl, tmp_path, monkeypatch):
    assert ibl(server, "--inspect") == 0  # the stand-in is in the place of the database now
    server.fetched.clear()
    words = [
        "--eids",
        FIRST,
        "--cache-dir",
        str(tmp_path / "cache"),
        "--tag",
        "Release1",
        "--out",
        str(tmp_path / "out"),
    ]
    plan = options.plan(parser_of("ibl").parse_args(words))
    (job,) = plan.jobs
    assert job.spike_bytes > 0
    load, finish = pickle.loads(pickle.dumps((job.load, job.finish)))
    recording = load()
    finish()
    assert recording.summary.n_all_spikes > 0
    assert len(server.fetched) == len({*server.fetched}) > 0


def test_the_cap_holds_for_all_sessions_that_are_prepared_at_a_time(server, ibl, capsys):
    at_least_one = ("--max-raw-gb", "0.0003")
    assert ibl(server, *at_least_one, "--jobs", "2", eids=(FIRST, SECOND)) == 2
    assert "the 2 largest sessions, which --jobs 2 may prepare at a time, need" in capsys.readouterr().err
    assert server.fetched == []
    assert ibl(server, *at_least_one, eids=(FIRST, SECOND)) == 0

"""What is read of a session decides what is fetched of it from the database."""

import numpy as np
import pytest

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

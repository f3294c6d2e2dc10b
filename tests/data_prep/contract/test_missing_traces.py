"""Values of a trace that are missing or infinite, in every source that has traces."""

import numpy as np
import pytest
from brain import make_brain
from faults import at
from spoiling import Files, write_good
from writers import WRITERS

from data_prep.__main__ import main
from data_prep.recording import WHISKER
from neuromtm.data.shards import Shard, read_shard

ROW = 12
"""of the trial in whose window the values lie"""
FIRST = round((make_brain().trials.stimulus_onset_s[ROW] + 0.1) / 0.02)
HOLE = slice(FIRST, FIRST + 5)
"""samples of the trace, 0.1 s"""


@pytest.fixture(params=WRITERS)
def source(request) -> str:
    for name, needed in (("ibl", "one"), ("nwb", "pynwb")):
        if request.param == name:
            pytest.importorskip(needed)
    return request.param


@pytest.fixture
def preparation(source, tmp_path, capsys):
    """`preparation(trace, value)`: the shard of files with this value in a trace, if any, and what was said."""
    argv = write_good(source, tmp_path / "files")
    runs = iter(range(9))

    def prepared(trace: str = WHISKER, value: float | None = None) -> tuple[Shard | None, str]:
        if value is not None:
            Files(source, tmp_path / "files").trace_values(trace, at(HOLE, value))
        out = tmp_path / f"out{next(runs)}"
        code = main([*argv, "--out", str(out)])
        paths = list(out.glob("*.h5"))
        assert bool(paths) == (code == 0)
        captured = capsys.readouterr()
        return read_shard(paths[0]) if paths else None, captured.out + captured.err

    return prepared


def test_a_trial_whose_whisker_trace_has_a_hole_is_removed_and_counted(preparation):
    good, _ = preparation()
    found, said = preparation(value=np.nan)
    assert found.header.trials.index.tolist() == [row for row in good.header.trials.index if row != ROW]
    assert "whisker trace" in said
    assert np.isfinite(found.behavior[WHISKER]).all()


def test_a_hole_in_another_trace_stays_missing_in_its_bins_alone(preparation, source):
    if source == "ibl":
        pytest.skip("the files that are written have one trace")
    good, _ = preparation()
    found, _ = preparation("wheel_speed", np.nan)
    trial, missing = np.flatnonzero(found.header.trials.index == ROW)[0], np.isnan(found.behavior["wheel_speed"])
    assert 1 <= missing[trial].sum() == missing.sum() <= 4
    np.testing.assert_array_equal(found.behavior["wheel_speed"][~missing], good.behavior["wheel_speed"][~missing])
    np.testing.assert_array_equal(found.counts, good.counts)


@pytest.mark.parametrize("value", [np.inf, -1e31])
def test_a_session_with_an_infinite_trace_is_refused(preparation, value):
    found, said = preparation(value=value)
    assert found is None
    assert f"the trace {WHISKER} has 5 values that are infinite or beyond 1e+30. Write NaN where it is missing" in said

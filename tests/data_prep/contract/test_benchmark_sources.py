"""The sources of the two benchmarks give back the same recording, as far as their formats can carry it."""

import numpy as np
import pytest
from benchmark_writers import BENCHMARKS
from brain import HOLE_S, make_brain, with_times_times
from comparing import assert_same, prepared

from data_prep.__main__ import main
from data_prep.prepare import prepare


@pytest.fixture(params=BENCHMARKS)
def written(request, tmp_path):
    """Lay a recording out in the benchmark's format, in a folder whose name has spaces and letters not of ASCII."""
    if request.param == "nlb":
        pytest.importorskip("pynwb", reason="pynwb is not installed")
    return lambda recording: BENCHMARKS[request.param](tmp_path / "Mäuse & Ratten", recording)


def test_the_shard_is_that_of_the_recording_and_the_splits_are_the_source_s(written, tmp_path):
    argv, held, options = written(make_brain(with_splits=True))
    found = prepared(argv, tmp_path / "out")
    assert_same(found, prepare(held, options=options, preparation={}).shard)
    assert found.header.neurons.heldout.sum() == 1
    for name, trials in found.header.splits.items():
        assert set(held.trials.split[found.header.trials.index[trials]]) == {name}
        assert len(trials) >= 3


def test_no_window_reaches_into_a_hole_of_the_recording(written, tmp_path):
    found = prepared(written(make_brain(with_splits=True)).argv, tmp_path / "out").header
    start_s, end_s = found.trials.start_s, found.trials.start_s + found.window_s[1] - found.window_s[0]
    assert not ((end_s > HOLE_S[0] + 0.1) & (start_s < HOLE_S[1] - 0.1)).any()
    assert len(start_s) > 25


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (3e4, "samples")])
def test_spikes_in_another_unit_are_warned_of(written, tmp_path, capsys, factor, unit):
    argv = written(with_times_times(make_brain(with_splits=True), factor)).argv
    main([*argv, "--out", str(tmp_path / "out")])
    assert f"the spikes are likely in {unit}" in capsys.readouterr().out


def test_inspect_says_what_is_there_and_writes_nothing(written, tmp_path, capsys):
    argv, held, _ = written(make_brain(with_splits=True))
    before = sorted(tmp_path.rglob("*"))
    assert main([*argv, "--inspect"]) == 0
    text = capsys.readouterr().out
    regions, n = np.unique(held.neurons.region, return_counts=True)
    counted = [f"{region} {count}" for region, count in zip(regions, n, strict=True)]
    for words in (held.eid, *counted, *held.traces, *held.trials.columns, f"python -m data_prep {argv[0]}"):
        assert words in text
    assert sorted(tmp_path.rglob("*")) == before

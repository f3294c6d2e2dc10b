"""What every source of real recordings must do: the same recording in any format gives the same shard."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from brain import HOLE_S, OVERLAPPING, make_brain, with_times_times
from writers import WRITERS

from data_prep.__main__ import main
from data_prep.cli import COMMANDS, parser_of
from data_prep.options import CONTINUOUS_EVENT, PrepareOptions
from data_prep.prepare import prepare
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import Shard, read_shard

WINDOW = ("--window-s", "-0.25", "0.75", "--bin-size-s", "0.05")
OPTIONS = PrepareOptions(window_s=(-0.25, 0.75), bin_size_s=0.05)
ONSET = ("--align-event", "stimOn_times")


@pytest.fixture(params=WRITERS)
def source(request) -> str:
    if request.param == "ibl":
        pytest.importorskip("one", reason="ONE-api is not installed")
    if request.param == "nwb":
        pytest.importorskip("pynwb", reason="pynwb is not installed")
    return request.param


@pytest.fixture
def written(source, tmp_path):
    """Lay a recording out in the source's format, in a folder whose name has spaces and letters that are not ASCII."""
    return lambda recording: WRITERS[source](tmp_path / "Mäuse & Ratten", recording)


def prepared(argv, out: Path, *options: str) -> Shard:
    assert main([*argv, "--out", str(out), *options]) == 0
    (entry,) = read_manifest(out)
    assert folder_problems(out) == {}
    return read_shard(out / entry.file)


def assert_same(found: Shard, expected: Shard) -> None:
    np.testing.assert_array_equal(found.counts, expected.counts)
    for name in ("uuid", "region", "probe", "label", "depth_um", "firing_rate_hz", "heldout"):
        np.testing.assert_array_equal(getattr(found.header.neurons, name), getattr(expected.header.neurons, name))
    for name in ("index", "start_s", "event_s", "choice", "contrast", "block", "reward", "reaction_time_s"):
        np.testing.assert_array_equal(getattr(found.header.trials, name), getattr(expected.header.trials, name))
    for name, values in expected.header.trials.columns.items():
        np.testing.assert_array_equal(found.header.trials.columns[name], values)
    for name in ("train", "val", "test"):
        assert found.header.splits[name].tolist() == expected.header.splits[name].tolist()
    assert found.behavior.keys() == expected.behavior.keys()
    for name, values in expected.behavior.items():
        np.testing.assert_allclose(found.behavior[name], values, rtol=1e-6)
    for name in ("eid", "subject", "lab", "window_s", "align_event"):
        assert getattr(found.header, name) == getattr(expected.header, name)


def test_the_shard_is_that_of_the_recording(written, tmp_path):
    argv, held = written(make_brain())
    found = prepared(argv, tmp_path / "out", *WINDOW, *ONSET)
    assert_same(found, prepare(held, options=OPTIONS, preparation={}).shard)
    assert 3 not in found.header.trials.index  # too slow


def test_no_window_reaches_into_a_hole_of_the_recording(written, tmp_path):
    start_s = prepared(written(make_brain()).argv, tmp_path / "out", *WINDOW, *ONSET).header.trials.start_s
    assert not ((start_s + 1 > HOLE_S[0] + 0.1) & (start_s < HOLE_S[1] - 0.1)).any()
    assert len(start_s) > 30


def test_windows_that_overlap_are_in_one_split(written, tmp_path):
    argv, held = written(make_brain())
    if held.trials.split is not None:
        pytest.skip("the source gives splits")
    for seed in range(4):
        header = prepared(argv, tmp_path / f"out{seed}", *WINDOW, *ONSET, "--seed", str(seed)).header
        one, other = (np.flatnonzero(header.trials.index == row)[0] for row in OVERLAPPING)
        assert [one in trials for trials in header.splits.values()] == [
            other in trials for trials in header.splits.values()
        ]


def test_splits_of_the_source_are_kept(written, tmp_path):
    argv, held = written(make_brain(with_splits=True))
    if held.trials.split is None:
        pytest.skip("the format holds no splits")
    found = prepared(argv, tmp_path / "out", *WINDOW, *ONSET)
    assert_same(found, prepare(held, options=OPTIONS, preparation={}).shard)
    for name, trials in found.header.splits.items():
        assert set(held.trials.split[found.header.trials.index[trials]]) == {name}


def test_any_column_of_times_can_be_the_event(written, tmp_path):
    argv, held = written(make_brain())
    event = next(iter(held.trials.columns), "feedback_times")
    options = replace(OPTIONS, align_event=event)
    found = prepared(argv, tmp_path / "out", *WINDOW, "--align-event", event)
    assert_same(found, prepare(held, options=options, preparation={}).shard)


def test_continuous_windows_lie_in_the_observed_time(written, tmp_path):
    argv, held = written(make_brain())
    options = PrepareOptions(
        window_s=(0.0, 0.5), bin_size_s=0.05, align_event=CONTINUOUS_EVENT, continuous=True, split_gap_s=1.0
    )
    found = prepared(argv, tmp_path / "out", "--continuous", "--length-s", "0.5", "--bin-size-s", "0.05")
    assert_same(found, prepare(held, options=options, preparation={}).shard)
    start_s = found.header.trials.start_s
    assert not ((start_s + 0.5 > HOLE_S[0] + 0.1) & (start_s < HOLE_S[1] - 0.1)).any()


def test_an_animal_can_be_held_out(written, tmp_path):
    argv, held = written(make_brain())
    assert main([*argv, "--out", str(tmp_path / "out"), *WINDOW, *ONSET, "--heldout-subjects", held.subject]) == 0
    assert [entry.role for entry in read_manifest(tmp_path / "out")] == ["heldout"]


def test_an_unknown_event_gets_those_there_and_leaves_no_shard(written, tmp_path, capsys):
    argv, held = written(make_brain())
    assert main([*argv, "--out", str(tmp_path / "out"), *WINDOW, "--align-event", "lunch"]) == 1
    text = capsys.readouterr().out
    assert "the trial table has no lunch. It has: " in text
    assert all(name in text for name in held.trials.event_names)
    assert not list((tmp_path / "out").glob("*.h5*"))


@pytest.mark.parametrize(("factor", "unit"), [(1e3, "milliseconds"), (3e4, "samples")])
def test_spikes_in_another_unit_are_warned_of(written, tmp_path, capsys, factor, unit):
    argv, _ = written(with_times_times(make_brain(), factor))
    main([*argv, "--out", str(tmp_path / "out"), *WINDOW, *ONSET])
    assert f"the spikes are likely in {unit}" in capsys.readouterr().out


def test_inspect_says_what_is_there_and_writes_nothing(source, written, tmp_path, capsys):
    argv, held = written(make_brain())
    if "--inspect" not in parser_of(source).format_help():
        pytest.skip("the source does not inspect")
    before = sorted(tmp_path.rglob("*"))
    assert main([*argv, "--inspect"]) == 0
    text = capsys.readouterr().out
    for words in (held.eid, "CA1 6", "VISp 6", *held.traces, *held.trials.columns, f"python -m data_prep {source}"):
        assert words in text
    assert sorted(tmp_path.rglob("*")) == before


def test_every_source_of_real_recordings_is_in_the_contract():
    sources = {name for name, command in COMMANDS.items() if command.is_source}
    of_benchmarks = {"nlb", "bwb"}  # they hold windows and splits of their own; tests/export/ compares their shards
    assert sources - {"lorenz"} - of_benchmarks == {*WRITERS}

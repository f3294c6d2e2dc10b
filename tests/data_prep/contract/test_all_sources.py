"""What every source of real recordings must do: the same recording in any format gives the same shard."""

import pickle
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from benchmark_writers import BENCHMARKS
from brain import HOLE_S, OVERLAPPING, make_brain, with_times_times
from comparing import assert_same, prepared
from writers import WRITERS

from data_prep.__main__ import main
from data_prep.cli import COMMANDS, parser_of
from data_prep.options import CONTINUOUS_EVENT, PrepareOptions
from data_prep.prepare import prepare
from neuromtm.data.manifest import read_manifest

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
    assert sources - {"lorenz"} == {*WRITERS} | {name.partition(" ")[0] for name in BENCHMARKS}


def test_sessions_can_be_sent_to_another_process(source, written):
    argv, held = written(make_brain())
    command, *options = argv
    plan = import_module(COMMANDS[command].module).plan(parser_of(command).parse_args([*options, *ONSET, "--out", "x"]))
    (job,) = plan.jobs
    found = pickle.loads(pickle.dumps(job.load))()
    assert (found.eid, found.n_neurons) == (held.eid, held.n_neurons)
    assert found.summary.n_spikes.tolist() == held.summary.n_spikes.tolist()
    if source != "nwb":  # the file holds all kinds of data
        assert 8 * held.summary.n_all_spikes / 2 <= job.spike_bytes <= 20 * held.summary.n_all_spikes + 1000

"""Sessions of BrainWideBench come out as the benchmark has them."""

import h5py
import numpy as np
import pytest

from data_prep.__main__ import main
from neuromtm.data.manifest import folder_problems, read_manifest
from neuromtm.data.shards import read_shard
from neuromtm.data.windows import dense_starts
from tests.export.bwb_sessions import DOMAINS, N_TRIALS, BenchSession


@pytest.fixture(scope="module")
def session() -> BenchSession:
    return BenchSession("aaaa-1", 1)


@pytest.fixture(scope="module")
def files(session, tmp_path_factory):
    """Folder of a session for evaluation and one for pretraining; not to be changed."""
    folder = tmp_path_factory.mktemp("bench") / "sessions"
    session.write(folder)
    BenchSession("bbbb-2", 2, for_evaluation=False).write(folder)
    return folder


@pytest.fixture
def prepared(files, tmp_path):
    def prepare(task: str, eid: str = "aaaa-1"):
        assert main(["bwb", str(files), "--task", task, "--out", str(tmp_path / task)]) == 0
        assert not folder_problems(tmp_path / task)
        return read_shard(tmp_path / task / f"{eid}.h5")

    return prepare


def test_windows_of_activity_are_the_benchmark_s_to_the_last_bit(prepared, session, tmp_path):
    shard = prepared("co_smoothing")
    header = shard.header
    starts = header.trials.start_s[header.splits["test"]]
    assert starts.tolist() == session.test_windows()
    for place in (0, 111, len(starts) - 1):
        counts = session.counts(starts[place])
        np.testing.assert_array_equal(shard.counts[header.splits["test"][place]], counts)
    assert header.neurons.uuid.tolist() == session.uuid.tolist()
    assert header.neurons.region.tolist() == session.region.tolist()
    assert header.neurons.heldout.tolist() == session.heldout.tolist()
    assert {entry.eid: entry.role for entry in read_manifest(tmp_path / "co_smoothing")} == {
        "aaaa-1": "heldout",
        "bbbb-2": "pretrain",
    }
    for name, (start, end) in DOMAINS.items():
        own = header.trials.start_s[header.splits[name]]
        assert len(own) > 0
        assert own.min() >= start
        assert own.max() + 1 <= end


@pytest.mark.parametrize(("length", "n"), [(1.0, 1), (1.005, 2), (1.02, 2), (3.1, 106)])
def test_the_last_window_ends_with_the_interval(length, n):
    starts = dense_starts(10.3, 10.3 + length, length_s=1.0, step_s=0.02)
    assert len(starts) == n
    assert starts[-1] + 1.0 == pytest.approx(10.3 + length, abs=1e-12)


@pytest.mark.parametrize(
    ("task", "window", "values"),
    [
        ("choice", "choice", lambda s: 2 * s.choice - 1),
        ("reward", "reward", lambda s: 2 * s.reward - 1),
        ("stimulus_contrast", "stimulus_contrast", lambda s: s.contrast),
    ],
)
def test_classes_stand_with_the_windows_of_their_trials(prepared, session, task, window, values):
    header = prepared(task).header
    named = header.trials.columns["trial_id"]
    trial = np.searchsorted(session.trial_index, named)
    np.testing.assert_array_equal(session.trial_index[trial], named)
    np.testing.assert_allclose(header.trials.start_s, session.windows(window)[trial], atol=1e-9)
    found = header.trials.columns[task] if task == "stimulus_contrast" else getattr(header.trials, task)
    np.testing.assert_array_equal(found, values(session)[trial])
    assert header.trials.columns["trial_id"][header.splits["test"]].tolist() == [
        session.trial_index[t] for t in session.test_trials()
    ]


@pytest.mark.parametrize(
    "task", ["whisker_motion_energy", "wheel_speed", "left_paw_speed", "right_paw_speed", "licking_rate"]
)
def test_traces_are_the_samples_that_the_benchmark_scores(prepared, session, task):
    shard = prepared(task)
    trial = np.searchsorted(session.trial_index, shard.header.trials.columns["trial_id"])
    window, values = {
        "whisker_motion_energy": (session.move, (session.whisker - 41.0) / 6.5),
        "wheel_speed": (session.move, session.wheel),
        "left_paw_speed": (session.move, np.where(session.confident, (session.paw - 99.0) / 9.0, np.nan)),
        "right_paw_speed": (
            session.move,
            np.where(session.right_confident, (session.right_paw - 81.0) / 6.0, np.nan),
        ),
        "licking_rate": (session.feedback, session.licks / 50),
    }[task]
    expected = np.stack([session.samples(values, window[t]) for t in trial]).astype(np.float32)
    np.testing.assert_array_equal(shard.behavior[task], expected)
    assert len(trial) < N_TRIALS  # trials in the gaps are in no split


def test_a_session_for_pretraining_has_a_test_of_its_own(prepared):
    header = prepared("co_smoothing", "bbbb-2").header
    assert header.neurons.heldout is None
    val, test = (header.trials.start_s[header.splits[name]] for name in ("val", "test"))
    assert val.min() >= 97.9
    assert test.min() - val.max() > 1 + 10


def test_windows_for_the_region_cover_the_session(prepared, session):
    header = prepared("unit_cosmos").header
    assert header.n_trials == pytest.approx(np.ptp(session.times_s), abs=30)  # less the gaps between the splits
    assert header.attributes["suite"] == "ts3"


def change(path, how):
    with h5py.File(path, "r+") as file:
        how(file)


def replaced(name, values):
    def how(file):
        del file[name]
        file[name] = values

    return how


def linked(file):
    del file["units/id"]
    file["units/id"] = h5py.ExternalLink("elsewhere.h5", "/units/id")


@pytest.mark.parametrize(
    ("task", "how", "sentence"),
    [
        ("choice", lambda f: f.__delitem__("units/id"), "has no units/id"),
        ("choice", linked, "units/id is a link to another place"),
        ("choice", lambda f: f["brainset"].attrs.__delitem__("unit_filtering"), "brainset says no unit_filtering"),
        ("choice", replaced("spikes/unit_index", np.array([99])), "spikes/timestamps, but 1"),
        ("co_smoothing", lambda f: f.__delitem__("ts2_test_domain"), "neither ts2_test_domain"),
        (
            "co_smoothing",
            lambda f: f.__delitem__("units/ts2_co_smoothing_is_held_out_test"),
            "needs the build `selected_units`",
        ),
        ("wheel_speed", lambda f: f.__delitem__("wheel"), "has no wheel/wheel_speed"),
        ("wheel_speed", lambda f: f["wheel"].attrs.update(sampling_rate=60), "not 50 a second"),
        ("whisker_motion_energy", lambda f: f.__delitem__("ts1_normalize"), "has no mean of"),
    ],
)
def test_a_file_that_lacks_something_is_skipped_in_one_sentence(session, tmp_path, capsys, task, how, sentence):
    path = session.write(tmp_path)
    change(path, how)
    assert main(["bwb", str(path), "--task", task, "--out", str(tmp_path / "out")]) == 1
    line = next(line for line in capsys.readouterr().out.splitlines() if "skipped" in line)
    assert sentence in line
    assert not list((tmp_path / "out").glob("*.h5"))


def test_inspection_says_what_is_there_and_writes_nothing(files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["bwb", str(files), "--task", "co_smoothing", "--inspect"]) == 0
    text = capsys.readouterr().out
    assert "held out  2 neurons" in text
    assert f"python -m data_prep bwb {files} --task co_smoothing --out data/mine" in text
    assert not list(tmp_path.iterdir())

"""The sessions of a folder as arrays, and a recording of one's own as a session of a folder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import neuromtm
from data_prep.__main__ import main as data_prep
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard, folder_problems
from neuromtm.data.shards import SPLITS, read_shard, write_shard
from neuromtm.data.splits import split_trials
from neuromtm.errors import ConfigError, DataError, ManifestError, UserError
from tests.running import EIDS, HELDOUT

EVERY = (*EIDS, HELDOUT)


@pytest.fixture(scope="module")
def sessions(sessions_dir):
    return neuromtm.Sessions(sessions_dir)


def counts_of(n_trials=20, n_bins=10, n_neurons=4, seed=0):
    return np.random.default_rng(seed).poisson(0.5, (n_trials, n_bins, n_neurons))


def write(folder, *, eid="mine", counts=None, bin_size_s=0.02, **options):
    counts = counts_of() if counts is None else counts
    return neuromtm.Sessions.write(folder, eid=eid, counts=counts, bin_size_s=bin_size_s, **options)


# ---- reading


def test_sessions_are_a_mapping_of_those_in_the_folder(sessions, sessions_dir):
    assert (list(sessions), len(sessions)) == (list(EVERY), 4)
    assert HELDOUT in sessions
    assert "sim-9" not in sessions
    assert sessions.get("sim-9") is None
    assert [session.eid for session in sessions.values()] == list(EVERY)
    assert list(neuromtm.Sessions(sessions_dir, role="pretrain")) == list(EIDS)
    assert list(neuromtm.Sessions(sessions_dir, role="heldout")) == [HELDOUT]
    assert list(neuromtm.Sessions(str(sessions_dir), eids=[HELDOUT, EIDS[0]])) == [HELDOUT, EIDS[0]]
    assert list(neuromtm.Sessions(sessions_dir, eids=HELDOUT)) == [HELDOUT]


def test_a_session_holds_what_its_shard_holds(sessions, sessions_dir):
    shard, session = read_shard(sessions_dir / f"{EIDS[0]}.h5"), sessions[EIDS[0]]
    header = shard.header
    assert np.array_equal(session.counts, shard.counts)
    assert session.neurons["uuid"].tolist() == header.neurons.uuid.tolist()
    assert session.trials["choice"].tolist() == header.trials.choice.tolist()
    assert session.behavior.keys() == shard.behavior.keys() != set()
    assert all(session.splits[name].tolist() == header.splits[name].tolist() for name in SPLITS)
    assert (session.bin_size_s, session.window_s, session.subject) == (0.02, (-0.1, 0.3), header.subject)
    assert (session.role, sessions[HELDOUT].role) == ("pretrain", "heldout")


def test_further_columns_of_the_trials_are_among_the_others(sessions_dir, tmp_path):
    shard = read_shard(sessions_dir / f"{EIDS[0]}.h5")
    odour = np.resize(["a", "b"], shard.header.n_trials)
    trials = replace(shard.header.trials, columns={"odour": odour})
    write_shard(tmp_path / f"{EIDS[0]}.h5", replace(shard, header=replace(shard.header, trials=trials)))
    add_shard(tmp_path / f"{EIDS[0]}.h5", "pretrain")
    session = neuromtm.Sessions(tmp_path)[EIDS[0]]
    assert session.trials["odour"].tolist() == odour.tolist()
    assert session.select(split="test").trials["odour"].tolist() == odour[session.splits["test"]].tolist()


def test_some_trials_and_neurons_can_be_selected(sessions):
    session = sessions[EIDS[0]]
    chosen, uuid = session.splits["test"], session.neurons["uuid"][[3, 1]].tolist()
    part = session.select(split="test", neurons=uuid)
    assert np.array_equal(part.counts, session.counts[chosen][:, :, [3, 1]])
    assert part.neurons["region"].tolist() == session.neurons["region"][[3, 1]].tolist()
    assert part.trials["choice"].tolist() == session.trials["choice"][chosen].tolist()
    for name, trace in part.behavior.items():
        assert np.array_equal(trace, session.behavior[name][chosen], equal_nan=True)
    assert {name: len(trials) for name, trials in part.splits.items()} == {"train": 0, "val": 0, "test": len(chosen)}
    with pytest.raises(DataError, match=r"no split 'tests'. There are: train, val, test"):
        session.select(split="tests")
    with pytest.raises(DataError, match=r"no neuron 'nobody'; 1 of the 1 named are not among its 15"):
        session.select(neurons=["nobody"])
    with pytest.raises(DataError, match="neurons names no neuron"):
        session.select(neurons=[])


def test_the_table_has_a_row_a_session(sessions):
    table = sessions.table()
    assert {len(column) for column in table.values()} == {4}
    for row, session in enumerate(sessions.values()):
        sizes = (table["n_trials"][row], table["n_bins"][row], table["n_neurons"][row])
        assert sizes == session.counts.shape
        assert table["eid"][row] == session.eid
        assert [table[f"n_{name}"][row] for name in SPLITS] == [len(session.splits[name]) for name in SPLITS]


def test_a_table_is_a_data_frame_for_those_who_have_pandas(sessions):
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(sessions.table()).set_index("eid").loc[HELDOUT, "role"] == "heldout"


def test_an_unknown_session_is_named_beside_those_there_are(sessions, sessions_dir):
    with pytest.raises(UserError, match=r"no session 'sim-9'\. There are: sim-0-00, sim-0-01") as error:
        sessions["sim-9"]
    assert isinstance(error.value, KeyError)
    with pytest.raises(DataError, match=r"no session 'sim-9'\. There are: sim-0-00"):
        neuromtm.Sessions(sessions_dir, eids=["sim-9"])
    with pytest.raises(ManifestError, match="no such folder"):
        neuromtm.Sessions(sessions_dir / "nowhere")


# ---- writing


def test_what_is_written_is_what_is_read(tmp_path):
    counts = counts_of()
    trace = np.linspace(0, 1, 200).reshape(20, 10)
    choice = [1, -1, 0, np.nan] * 5
    region = ["CA1", "CA1", "LP", "root"]
    written = write(
        tmp_path,
        counts=counts,
        window_start_s=-0.1,
        subject="Ada",
        region=region,
        choice=choice,
        behavior={"lick": trace},
    )
    assert list(written) == ["mine"]
    session = neuromtm.Sessions(tmp_path)["mine"]
    assert np.array_equal(session.counts, counts)
    assert session.counts.dtype == np.uint8
    assert session.neurons["uuid"].tolist() == [f"mine-{i:04d}" for i in range(4)]
    assert session.neurons["region"].tolist() == region
    assert session.neurons["firing_rate_hz"] == pytest.approx(counts[session.splits["train"]].mean((0, 1)) / 0.02)
    assert session.trials["choice"].tolist() == [1, -1, 0, 0] * 5
    assert session.behavior["lick"] == pytest.approx(trace)
    assert (session.bin_size_s, session.subject, session.role) == (0.02, "Ada", "heldout")
    assert session.window_s == pytest.approx((-0.1, 0.1))


def test_the_trials_are_split_as_the_preparation_splits_them(tmp_path):
    session = write(tmp_path, fractions=(0.5, 0.25, 0.25), seed=7)["mine"]
    expected = split_trials(20, fractions=(0.5, 0.25, 0.25), seed=7, eid="mine")
    assert all(np.array_equal(session.splits[name], expected[name]) for name in SPLITS)


def test_splits_can_be_given(tmp_path):
    splits = {"train": [5, 0, 1], "val": np.array([2]), "test": range(10, 12)}
    session = write(tmp_path, splits=splits)["mine"]
    assert {name: trials.tolist() for name, trials in session.splits.items()} == {
        "train": [0, 1, 5],
        "val": [2],
        "test": [10, 11],
    }


def test_the_folder_is_one_that_all_else_takes(tmp_path):
    write(tmp_path, eid="a", region=["CA1", "LP", "LP", "CA1"])
    write(tmp_path, eid="b", counts=torch.from_numpy(counts_of() + 300.0))
    assert folder_problems(tmp_path) == {}
    assert data_prep(["check", str(tmp_path)]) == 0
    data = SessionDataModule(root=str(tmp_path), role="heldout")
    data.setup()
    assert list(data.sessions) == ["a", "b"]
    assert next(data.groups("b", "test")).counts.max() > 255


def test_nothing_is_replaced_unasked(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match="the session 'mine' is there already"):
        write(tmp_path, counts=counts_of(seed=1))
    assert np.array_equal(neuromtm.Sessions(tmp_path)["mine"].counts, counts_of())
    write(tmp_path, counts=counts_of(seed=1), overwrite=True)
    assert np.array_equal(neuromtm.Sessions(tmp_path)["mine"].counts, counts_of(seed=1))


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"eid": "a/b"}, ConfigError, "only letters, digits"),
        ({"eid": "a" * 201}, ConfigError, "has 201 characters; 200 is the most"),
        ({"eid": 3}, ConfigError, "eid is 3, not a text"),
        ({"eid": None}, ConfigError, "eid is None, not a text"),
        ({"eid": "manifest.json"}, ConfigError, "the name of the list of sessions"),
        ({"role": "test"}, ConfigError, "role is 'test', not one of pretrain, heldout"),
        ({"role": None}, ConfigError, "role is None"),
        ({"role": ["heldout"]}, ConfigError, "role is "),
        ({"overwrite": "no"}, ConfigError, "overwrite is 'no', not True or False"),
        ({"subject": None}, DataError, "subject is None, not a text. If it is not known, give 'unknown'"),
        ({"subject": 3}, DataError, "subject is 3, not a text"),
        ({"subject": "a\0b"}, DataError, "subject is .*, not a text"),
        ({"subject": "\ud800"}, DataError, "subject is .*, not a text"),
        ({"lab": 3.0}, DataError, "lab is 3.0, not a text"),
        ({"counts": counts_of() * 0}, DataError, "no spike in 20 trials of 4 neurons"),
        ({"counts": counts_of(n_trials=2)}, DataError, "2 trials cannot be divided"),
        ({"bin_size_s": 0.0}, DataError, "bin_size_s is 0.0"),
        ({"bin_size_s": float("nan")}, DataError, "bin_size_s is nan"),
        ({"bin_size_s": "0.02"}, DataError, "bin_size_s is '0.02'"),
        ({"bin_size_s": None}, DataError, "bin_size_s is None"),
        ({"bin_size_s": True}, DataError, "bin_size_s is True"),
        ({"bin_size_s": 1e308}, DataError, "beyond the precision of numbers"),
        ({"window_start_s": "0"}, DataError, "window_start_s '0'"),
        ({"window_start_s": [0.0]}, DataError, r"window_start_s \[0.0\]"),
        ({"window_start_s": 1e20}, DataError, "beyond the precision of numbers"),
        ({"uuid": "abcd"}, DataError, "uuid is 'abcd', not a list of names"),
        ({"uuid": {"a", "b", "c", "d"}}, DataError, "not a list of names"),
        ({"uuid": [1, 2, 3, 4]}, DataError, "uuid has an entry that is no text: 1"),
        ({"uuid": ["a", "b", "c", "d\0"]}, DataError, "uuid has an entry that is no text"),
        ({"region": "root"}, DataError, "region is 'root', not a list of names"),
        ({"region": 3}, DataError, "region is 3, not a list of names"),
        ({"uuid": ["a", "b"]}, DataError, r"uuid has the shape \(2,\), but counts has 4 neurons"),
        ({"uuid": ["a", "b", "c", "a"]}, DataError, "names a neuron twice"),
        ({"region": ["CA1"] * 5}, DataError, r"region has the shape \(5,\), but counts has 4 neurons"),
        ({"region": ["CA1", "", "LP", "LP"]}, DataError, "an entry that is no text"),
        ({"region": ["CA1", None, "LP", "LP"]}, DataError, "an entry that is no text"),
        ({"choice": [1, -1]}, DataError, r"choice has the shape \(2,\), but counts has 20 trials"),
        ({"choice": [2] * 20}, DataError, r"choice has the values \[2.0\]"),
        ({"choice": ["1"] * 20}, DataError, "choice has entries of the type <U1, not numbers"),
        ({"choice": [True] * 20}, DataError, "choice has entries of the type bool, not numbers"),
        ({"choice": "left"}, DataError, "choice has entries of the type"),
        ({"choice": [[1], [1, -1]]}, DataError, "choice is no array of numbers"),
        ({"behavior": ["lick"]}, DataError, "behavior is a list, not a mapping"),
        *(
            ({"behavior": {name: np.zeros((20, 10))}}, DataError, "not a name. Give a text without a slash")
            for name in ("", "a/b", "/", ".", "..", "a\0b", 3, None)
        ),
        *(
            ({"behavior": {name: np.zeros((20, 10))}}, DataError, "the name of a column of the trials")
            for name in ("choice", "reward", "block", "contrast", "reaction_time_s")
        ),
        ({"behavior": {"lick": np.full((20, 10), np.inf)}}, DataError, "'lick' has 200 values that are infinite"),
        ({"behavior": {"lick": np.full((20, 10), 1e300)}}, DataError, "too large for float32"),
        ({"behavior": {"lick": np.full((20, 10), "on")}}, DataError, "'lick' has entries of the type <U2, not numbers"),
        ({"behavior": {"lick": np.zeros((20, 9))}}, DataError, r"'lick' has the shape \(20, 9\)"),
        ({"fractions": (0.5, 0.5, 0.5)}, DataError, "three numbers above 0 that sum to 1"),
        ({"fractions": "abc"}, DataError, "three numbers above 0"),
        ({"fractions": 0.5}, DataError, "three numbers above 0"),
        ({"fractions": (0.5, "0.25", 0.25)}, DataError, "three numbers above 0"),
        ({"fractions": (np.nan, 0.5, 0.5)}, DataError, "three numbers above 0"),
        ({"seed": -1}, DataError, "seed is -1, not a whole number from 0"),
        ({"seed": 1.5}, DataError, "seed is 1.5, not a whole number from 0"),
        ({"seed": "a"}, DataError, "seed is 'a', not a whole number from 0"),
        ({"splits": "train"}, DataError, "splits names 'train'; give"),
        ({"splits": {"train": [0.5], "val": [1], "test": [2]}}, DataError, "the type float64; give a list of trial"),
        ({"splits": {"train": [True] * 20, "val": [], "test": []}}, DataError, r"np.flatnonzero\(mask\)"),
        ({"splits": {"train": ["0"], "val": [1], "test": [2]}}, DataError, "give a list of trial numbers"),
        ({"splits": {"train": [[0, 1]], "val": [2], "test": [3]}}, DataError, r"has the shape \(1, 2\)"),
        ({"splits": {"train": 0, "val": [2], "test": [3]}}, DataError, r"has the shape \(\)"),
        ({"splits": {"train": [], "val": [2], "test": [3]}}, DataError, "no train trial"),
        ({"splits": {"train": [0], "test": [1]}}, DataError, "give 'train', 'val' and 'test'"),
        ({"splits": {"train": [0], "val": [0], "test": [1]}}, DataError, "names a trial twice"),
        ({"splits": {"train": [0], "val": [1], "test": [20]}}, DataError, "outside 0 to 19"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_in_one_sentence_and_nothing_is_written(tmp_path, options, error, sentence):
    with pytest.raises(error, match=sentence) as refused:
        write(tmp_path / "data", **options)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "data").exists()


def test_a_refused_recording_leaves_a_folder_as_it_was_and_can_be_written_again(tmp_path):
    write(tmp_path, eid="a")
    before = {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    for options in ({"role": "test"}, {"subject": None}, {"behavior": {"": np.zeros((20, 10))}}):
        with pytest.raises(UserError):
            write(tmp_path, eid="b", **options)
        assert {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")} == before
    assert list(write(tmp_path, eid="b")) == ["b"]
    assert list(neuromtm.Sessions(tmp_path)) == ["a", "b"]


def test_a_shard_that_cannot_be_listed_does_not_stay(tmp_path, monkeypatch):
    def fails(*_):
        raise ManifestError("another process wrote it")

    with monkeypatch.context() as patch:
        patch.setattr("neuromtm.api.sessions.add_shard", fails)
        with pytest.raises(ManifestError, match="another process"):
            write(tmp_path)
    assert not list(tmp_path.glob("*.h5"))
    assert list(write(tmp_path)) == ["mine"]


def test_a_folder_whose_manifest_is_damaged_takes_no_session(tmp_path):
    (tmp_path / "manifest.json").write_text("{")
    for overwrite in (False, True):
        with pytest.raises(ManifestError, match="not a readable manifest"):
            write(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_two_sessions_differ_by_more_than_the_case_of_letters(tmp_path):
    write(tmp_path, eid="Mouse")
    with pytest.raises(ConfigError, match="'mouse': differs from 'Mouse' in upper and lower case only"):
        write(tmp_path, eid="mouse")
    write(tmp_path, eid="Mouse", overwrite=True)


@pytest.mark.parametrize("eid", ["-a", "007", "null", "1e5", "true", "COM", "a" * 200])
def test_unusual_names_are_names(tmp_path, eid):
    assert list(write(tmp_path, eid=eid)) == [eid]
    assert neuromtm.Sessions(tmp_path)[eid].eid == eid


def test_unknown_choices_can_be_none(tmp_path):
    assert write(tmp_path, choice=[1, None, -1, 0] * 5)["mine"].trials["choice"].tolist() == [1, 0, -1, 0] * 5


@pytest.mark.parametrize("path", [None, 3, "", b"data", "a\0b"])
def test_what_is_no_path_is_refused(path):
    for call in (lambda: write(path), lambda: neuromtm.Sessions(path)):
        with pytest.raises(ConfigError, match=r"folder is .*, not a path"):
            call()


def test_a_place_that_is_a_file_or_a_name_too_long_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/below"):
        with pytest.raises(ConfigError, match=r"file is a file. Name another folder"):
            write(tmp_path / place)
    with pytest.raises(UserError, match="File name too long"):
        write(tmp_path / ("a" * 300))


def test_a_neuron_is_selected_once(sessions):
    uuid = sessions[EIDS[0]].neurons["uuid"][0]
    with pytest.raises(DataError, match="names a neuron twice: 1 uuids in 2"):
        sessions[EIDS[0]].select(neurons=[uuid, uuid])


@pytest.mark.parametrize("neurons", [0, [0, 1], [True, False], np.arange(3), "sim-0-00-0000"])
def test_neurons_are_selected_by_their_uuids(sessions, neurons):
    session = sessions[EIDS[0]]
    with pytest.raises(DataError, match=r"A mask or numbers choose them by session.neurons\[\"uuid\"\]"):
        session.select(neurons=neurons)


def test_sessions_are_taken_by_names_and_roles_that_there_are(sessions_dir):
    with pytest.raises(ConfigError, match="role is 'test', not one of pretrain, heldout, all"):
        neuromtm.Sessions(sessions_dir, role="test")
    with pytest.raises(DataError, match="eids is 3, not a list of names"):
        neuromtm.Sessions(sessions_dir, eids=3)

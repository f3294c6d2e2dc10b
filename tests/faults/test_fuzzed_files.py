"""A short run of the campaign of `tests/faults/structure.py`, and what it found once."""

import json
import shutil

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from data_prep.sources.ibl.sessions import read_eids_file
from neuromtm.data.shards import read_header
from neuromtm.data.upgrade_journal import upgraded_but_unlisted
from neuromtm.errors import ConfigError, DataError, ShardError, UserError
from neuromtm.evaluation.amounts import read_settings
from neuromtm.evaluation.references import read_baseline, read_ceiling
from neuromtm.evaluation.results import read_metrics, read_neurons, read_regions
from neuromtm.evaluation.trials import read_trials_file
from neuromtm.evaluation.true_rates import read_rates
from neuromtm.provenance import read_starts
from neuromtm.training.run_lock import LOCK, RunLock
from tests.data.small_shards import Session, write_folder
from tests.faults.fuzzed_files import HELDOUT, KINDS, make_good, mend_shard
from tests.faults.fuzzed_sources import source_kinds
from tests.faults.structure import VERDICTS, Fuzzed

OF_CI = (
    *("manifest", "shard", "metrics.json", "neurons.csv", "trials.h5", "predictions", "grid.csv", "checkpoint"),
    *("saved config", "saved weights"),
)
N = 5
SHORT = settings(
    max_examples=N,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Good files of every kind."""
    folder = tmp_path_factory.mktemp("fuzzed") / "good"
    folder.mkdir()
    make_good(folder, trained=False)
    return folder


@pytest.fixture
def files(root, tmp_path):
    """A copy of them, to be changed."""
    return shutil.copytree(root, tmp_path / "files")


@pytest.mark.parametrize("name", OF_CI)
def test_a_file_of_another_content_is_refused_in_a_sentence_or_read_as_what_it_is(name, root):
    fuzzed = Fuzzed(root, KINDS[name], slow_every=None)

    @SHORT
    @given(KINDS[name].changes(root / KINDS[name].file))
    def try_one(change):
        outcome = fuzzed.outcome_of(change)
        assert outcome.failures == {}, outcome.what

    try_one()
    assert fuzzed.number >= N


def test_so_are_the_files_of_a_recording(root):
    kinds = dict(source_kinds(root, ["arrays"]))
    fuzzed = {name: Fuzzed(root, kind, slow_every=None) for name, kind in kinds.items()}
    every = [
        kind.changes(root / kind.file).map(lambda change, name=name: (name, change)) for name, kind in kinds.items()
    ]

    @settings(SHORT, max_examples=2 * N)
    @given(st.one_of(every))
    def try_one(case):
        name, change = case
        outcome = fuzzed[name].outcome_of(change)
        assert outcome.failures == {}, outcome.what
        assert outcome.verdict in VERDICTS

    try_one()


def test_a_change_that_does_harm_is_seen(root):
    """The campaign itself: a reader that takes anything fails."""
    kind = KINDS["metrics.json"]
    careless = Fuzzed(root, kind, slow_every=None)
    careless.kind = type(kind)(kind.file, kind.changes, {"text": lambda folder: (folder / kind.file).read_bytes()})

    @settings(SHORT, max_examples=20)
    @given(kind.changes(root / kind.file))
    def try_one(change):
        outcome = careless.outcome_of(change)
        assert change.is_other or outcome.failures or outcome.verdict == "same"
        seen.update(outcome.failures.values())

    seen = set()
    try_one()
    assert "other numbers" in seen


# ---- what the campaign found


@pytest.fixture
def shard(tmp_path):
    (tmp_path / "data").mkdir()
    write_folder(tmp_path / "data", Session("a"))
    return tmp_path / "data" / "file0.h5"


def attribute(name, value):
    def change(file):
        del file.attrs[name]
        file.attrs[name] = value

    return change


def dataset(name, make):
    def change(file):
        values = make(file[name][()])
        del file[name]
        file[name] = values

    return change


OF_SHARDS = {
    "align_event is no text": attribute("align_event", 7),
    "subject is no text": attribute("subject", np.nan),
    "preparation is no JSON object": attribute("preparation", "[1]"),
    "recording is no JSON object": attribute("recording", "{"),
    "which is no window": attribute("window_s", np.array([0.0, np.inf])),
    "bin_size_s is no number": attribute("bin_size_s", "0.02"),
    "far too many": attribute("bin_size_s", 1e-300),
    "trials/contrast is of the type uint64": dataset("trials/contrast", lambda v: v.astype(np.uint64)),
    "trials/choice is of the type float64": dataset("trials/choice", lambda v: v.astype(float)),
    "neurons/uuid is of the type float64": dataset("neurons/uuid", lambda v: np.zeros(len(v))),
    "neurons/depth_um is of the type >f8": dataset("neurons/depth_um", lambda v: v.astype(">f8")),
    "splits/val is no list": dataset("splits/val", lambda v: v[:, None]),
    "trials/start_s has values that are infinite": dataset("trials/start_s", lambda v: np.full(len(v), 1e300)),
    "neurons/label has values that are infinite, or not from 0 to 1": dataset("neurons/label", lambda v: v * 0 + -1.0),
    "neurons/uuid names a neuron twice": dataset("neurons/uuid", lambda v: np.repeat(v[:1], len(v))),
    "trials/choice has values other than": dataset("trials/choice", lambda v: np.full(len(v), 5, np.int8)),
}


@pytest.mark.parametrize("said", OF_SHARDS)
def test_what_a_sealed_shard_says_is_checked_where_it_is_read(said, shard):
    with h5py.File(shard, "r+") as file:
        file["neurons/label"][...] = 1.0
        file.attrs["recording"] = "{}"
        OF_SHARDS[said](file)
    mend_shard(shard.parent.parent, "data/file0.h5")
    with pytest.raises(ShardError, match=f"{shard.name}: .*{said}"):
        read_header(shard)


def changed_json(path, *place, value):
    tree = json.loads(path.read_text())
    node = tree
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    path.write_text(json.dumps(tree))


def test_means_that_are_not_those_of_the_sessions_are_refused(files):
    path = files / "run" / "metrics.json"
    changed_json(path, "mean", "co_smoothing_bps", value=2.0)
    with pytest.raises(UserError, match=r"metrics\.json: its mean co_smoothing_bps is 2, but that of its sessions is"):
        read_metrics(path)
    changed_json(path, "mean", value={})
    with pytest.raises(UserError, match="stands among its sessions or its means alone"):
        read_metrics(path)
    changed_json(path, "sessions", value={HELDOUT: {"choice_accuracy": 1.5}})
    with pytest.raises(UserError, match=r"choice_accuracy of .* is 1\.5, but 1 is the best possible"):
        read_metrics(path)
    changed_json(path, "sessions", value={HELDOUT: {"co_smoothing_bps": 10**400}})
    with pytest.raises(UserError, match="where a finite number belongs"):
        read_metrics(path)


@pytest.mark.parametrize("cell", ["nan", "inf", "1_0", "٣", "abc", "1,5"])
def test_a_cell_of_a_result_that_is_no_number_is_refused(cell, files):
    for name, read in (("neurons.csv", read_neurons), ("regions.csv", read_regions)):
        path = files / "run" / name
        head, *rows = path.read_text().splitlines()
        # the whole session of the regions, with its numbers
        cells = rows[0].split(",")
        cells[-2 if name == "neurons.csv" else 4] = f'"{cell}"'
        path.write_text("\n".join([head, ",".join(cells), *rows[1:]]))
        with pytest.raises(UserError, match=f"{name}: .*stands where a number belongs"):
            read(path)


def test_rows_that_stand_twice_are_refused_and_an_empty_line_is_none(files):
    for name, read in (("neurons.csv", read_neurons), ("regions.csv", read_regions)):
        path = files / "run" / name
        good, text = read(path), path.read_text()
        path.write_text("\ufeff" + text + "\n\n")
        assert read(path) == good
        path.write_text(text + text.splitlines()[1] + "\n")
        with pytest.raises(UserError, match="twice"):
            read(path)
        head, *rows = text.splitlines()
        path.write_text("\n".join([f"{head},region", *(f"{row},x" for row in rows)]))
        with pytest.raises(UserError, match="it has the column 'region' twice"):
            read(path)


OF_TRIALS = {
    "n_bins": lambda group: group.attrs.__setitem__("n_bins", 0),
    "no text": lambda group: group.parent.attrs.__setitem__("subject", 7),
    "not of the trials": lambda group: replaced(group, "spikes", lambda v: v[:-1]),
    "not finite costs": lambda group: replaced(group, "model_nll", lambda v: v * np.nan),
    "do not ascend": lambda group: replaced(group.parent, "trial", lambda v: v[::-1].copy()),
    "not one name": lambda group: replaced(group.parent, "trial", lambda v: v[:, None]),
}


def replaced(group, name, make):
    values = make(group[name][()])
    del group[name]
    group[name] = values


@pytest.mark.parametrize("said", OF_TRIALS)
def test_sums_of_trials_that_do_not_belong_together_are_refused(said, files):
    path = files / "run" / "trials.h5"
    with h5py.File(path, "r+") as file:
        OF_TRIALS[said](file["sessions/0/co_smoothing_bps"])
    with pytest.raises(UserError, match=rf"trials\.h5: .*{said}"):
        read_trials_file(path)


def test_a_reference_whose_record_is_another_is_refused(files):
    for value in ("ab", 7, None, [[]]):
        changed_json(files / "ceiling" / "ceiling.json", "sessions", value=value)
        with pytest.raises(UserError, match=r"ceiling\.json: names no sessions"):
            read_ceiling(files / "ceiling", eids=[HELDOUT])
        changed_json(files / "other" / "baseline.json", "kind", value=[])
        with pytest.raises(UserError, match=r"baseline\.json: not the record of a baseline"):
            read_baseline(files / "other", eids=[HELDOUT])


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "just words", "\0"])
def test_a_configuration_that_holds_no_settings_is_named(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: holds no settings of a run"):
        read_settings(tmp_path / "config.yaml")
    assert read_settings(tmp_path / "other.yaml") == {}


OF_PREDICTIONS = {
    "eid is no text": lambda file: file.attrs.__setitem__("eid", 7),
    "rates are not finite": lambda file: replaced(file, "rates", lambda v: -v),
    "trial is not a number": lambda file: replaced(file, "trial", lambda v: v.astype(float)),
    "trials or neurons than": lambda file: replaced(file, "trial", lambda v: v - 10**6),
    "no name of its own": lambda file: replaced(file, "trial", lambda v: np.full(len(v), v[0])),
    "not of the session in its name": lambda file: file.attrs.__setitem__("eid", "another"),
}


@pytest.mark.parametrize("said", OF_PREDICTIONS)
def test_predictions_of_another_content_are_refused(said, files):
    path = files / "run" / "predictions" / f"{HELDOUT}.h5"
    with h5py.File(path, "r+") as file:
        OF_PREDICTIONS[said](file)
    with pytest.raises(DataError, match=said):
        read_rates(files / "run", files / "data")
    path.write_bytes(b"no HDF5")
    with pytest.raises(DataError, match=f"{path.name}: not the rates that"):
        read_rates(files / "run", files / "data")


def test_a_lock_of_another_content_stands_in_nobodys_way(tmp_path):
    (tmp_path / LOCK).mkdir()
    good = {"name": "a", "user": "u", "process": 1, "host": "h", "since": "", "machine": "m", "began": "", "job": None}
    for wrong in ({"process": "abc"}, {"process": -1}, {"machine": None}, {"n_requeues": [0]}, {"process": 2**70}):
        (tmp_path / LOCK).mkdir(exist_ok=True)
        (tmp_path / LOCK / "holder.json").write_text(json.dumps(good | {"n_requeues": 0} | wrong))
        lock = RunLock(tmp_path)
        lock.acquire()
        lock.release()


def test_lists_and_journals_of_another_content(tmp_path):
    eids = tmp_path / "eids.txt"
    eids.write_text("\ufeffsession-1\nsession-2\n")
    assert read_eids_file(eids) == ("session-1", "session-2")
    eids.write_text("a\0b\n")
    with pytest.raises(ConfigError, match="is no name"):
        read_eids_file(eids)
    (tmp_path / ".upgrade.jsonl").write_bytes(b'\xff\n{"file": "a.h5", "sha256": "0"}\n' + b"[" * 100_000)
    assert upgraded_but_unlisted(tmp_path) == {"a.h5": "0"}
    (tmp_path / "provenance.json").write_text("[" * 100_000)
    assert read_starts(tmp_path) == []

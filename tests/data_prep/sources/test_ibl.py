"""Sessions are read through ONE-api from a tree whose content is known."""

import re
import shutil
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from data_prep.__main__ import main
from data_prep.recording import WHISKER
from data_prep.sources.ibl.cameras import align_camera
from data_prep.sources.ibl.recording import beryl_acronyms, read_session
from data_prep.sources.ibl.repeated_site import HELDOUT_EIDS, PRETRAIN_EIDS
from data_prep.sources.ibl.sessions import find_sessions, make_jobs, open_one, read_eids_file
from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_shard
from neuromtm.errors import ConfigError, SourceError

pytest.importorskip("one", reason="ONE-api is not installed")
FIRST, SECOND = (f"simlab_mouse-0-0{n}_2020-01-01_001" for n in range(2))


def ibl(tree: Path, out: Path, *options: str) -> int:
    return main(["ibl", "--mode", "local", "--cache-dir", str(tree), "--out", str(out), *options])


@pytest.fixture(scope="module")
def prepared(alf_tree, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("ibl") / "shards"
    assert ibl(alf_tree, out) == 0
    return out


@pytest.fixture
def tree(alf_tree, tmp_path) -> Path:
    """A copy of the tree that a test may damage."""
    return Path(shutil.copytree(alf_tree, tmp_path / "tree"))


def alf(tree: Path, subject: str = "mouse-0-00") -> Path:
    return tree / "simlab" / "Subjects" / subject / "2020-01-01" / "001" / "alf"


def index(tree: Path) -> None:
    from one.alf.cache import make_parquet_db

    make_parquet_db(tree, hash_files=False)


def test_a_tree_gives_the_same_shards_as_the_simulation_itself(prepared, simulated):
    for entry in read_manifest(simulated):
        direct = read_shard(simulated / entry.file)
        by_one = read_shard(prepared / f"simlab_{direct.header.subject}_2020-01-01_001.h5")
        np.testing.assert_array_equal(by_one.counts, direct.counts)
        np.testing.assert_allclose(by_one.behavior[WHISKER], direct.behavior[WHISKER], rtol=1e-6)
        for field in ("uuid", "region", "probe", "label", "depth_um"):
            found, expected = (getattr(s.header.neurons, field) for s in (by_one, direct))
            np.testing.assert_array_equal(found, expected)
        for field in ("choice", "contrast", "block", "reward", "reaction_time_s", "stimulus_onset_s", "index"):
            found, expected = (getattr(s.header.trials, field) for s in (by_one, direct))
            np.testing.assert_array_equal(found, expected)
        assert set(by_one.header.neurons.probe) == {"probe00", "probe01"}
        for shard in (by_one, direct):  # their trials are split by their names, which differ
            header = shard.header
            rate_hz = shard.counts[header.splits["train"]].mean((0, 1)) / header.bin_size_s
            np.testing.assert_allclose(header.neurons.firing_rate_hz, rate_hz, rtol=1e-12)


def test_tables_built_anew_do_not_change_a_byte_of_the_shards(prepared, tree, tmp_path):
    index(tree)
    assert ibl(tree, tmp_path / "again") == 0
    for path in prepared.glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_a_session_is_found_by_either_of_its_names(alf_tree, tmp_path):
    one = open_one(mode="local", cache_dir=alf_tree)
    sessions = find_sessions(one, ())
    assert [s.path_eid for s in sessions] == [FIRST, SECOND]
    assert find_sessions(one, (SECOND,)) == find_sessions(one, (sessions[1].one_eid,)) == sessions[1:]
    assert find_sessions(one, (SECOND, sessions[1].one_eid)) == sessions[1:]
    assert ibl(alf_tree, tmp_path, "--identity", "one", "--eids", SECOND) == 0
    assert [e.eid for e in read_manifest(tmp_path)] == [sessions[1].one_eid]


def test_an_unknown_session_is_named(alf_tree):
    with pytest.raises(ConfigError, match=r"not in .*: nobody\. Sessions in this folder: simlab_mouse-0-00"):
        find_sessions(open_one(mode="local", cache_dir=alf_tree), ("nobody",))


@pytest.mark.parametrize(
    "heldout", [{"heldout_eids": (SECOND,)}, {"heldout_subjects": ("mouse-0-01",)}], ids=["eid", "subject"]
)
def test_held_out_sessions_are_named_by_eid_or_by_animal(alf_tree, heldout):
    one = open_one(mode="local", cache_dir=alf_tree)
    jobs = make_jobs(one, find_sessions(one, ()), identity="path", **heldout)
    assert [(job.eid, job.role) for job in jobs] == [(FIRST, "pretrain"), (SECOND, "heldout")]


def test_a_held_out_name_that_fits_no_session_is_told(alf_tree, tmp_path, capsys):
    assert ibl(alf_tree, tmp_path, "--eids", FIRST, "--heldout-subjects", "mouse-0-01", "--heldout-eids", "x") == 0
    err = capsys.readouterr().err
    assert "--heldout-subjects: not among the animals of these sessions (mouse-0-00): mouse-0-01." in err
    assert "--heldout-eids: not among the sessions (1 in all): x." in err


def test_a_file_of_eids_is_read_without_comments(alf_tree, tmp_path):
    (tmp_path / "eids").write_text(f"# the second\n\n{SECOND}  # again\n")
    assert ibl(alf_tree, tmp_path / "out", "--eids-file", str(tmp_path / "eids")) == 0
    assert [e.eid for e in read_manifest(tmp_path / "out")] == [SECOND]
    for text in ("", "# nothing\n"):
        (tmp_path / "eids").write_text(text)
        with pytest.raises(ConfigError, match="names no session"):
            read_eids_file(tmp_path / "eids")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_eids_file(tmp_path / "nowhere")


def test_the_held_out_sessions_of_the_paper_are_not_pretrained_on():
    assert len(set(HELDOUT_EIDS)) == 5
    assert len(set(PRETRAIN_EIDS)) == 35
    assert not {*HELDOUT_EIDS} & {*PRETRAIN_EIDS}


def remove_spikes(alf):
    for file in alf.rglob("spikes.*"):
        file.unlink()


def remove_regions(alf):
    for file in alf.rglob("channels.brainLocationIds_ccf_2017.npy"):
        file.unlink()


def change_trials(**columns):
    def change(alf):
        import pandas as pd

        path = alf / "_ibl_trials.table.pqt"
        pd.read_parquet(path).assign(**columns).to_parquet(path)

    return change


def drop_column(alf):
    import pandas as pd

    path = alf / "_ibl_trials.table.pqt"
    pd.read_parquet(path).drop(columns="choice").to_parquet(path)


def garble(name):
    def change(alf):
        path = next(alf.rglob(name))
        path.write_bytes(path.read_bytes()[:60])

    return change


def foreign_region(alf):
    path = next(alf.rglob("channels.brainLocationIds_ccf_2017.npy"))
    np.save(path, np.full_like(np.load(path), 987654321))


def foreign_channel(alf):
    path = next(alf.rglob("clusters.channels.npy"))
    np.save(path, np.load(path) + 1000)


def foreign_spike(alf):
    path = alf / "probe00" / "pykilosort" / "spikes.clusters.npy"
    n_neurons = len(np.load(path.with_name("clusters.channels.npy")))
    np.save(path, np.r_[n_neurons, np.load(path)[1:]])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (remove_spikes, "no spikes"),
        (remove_regions, "no region file"),
        (lambda alf: (alf / "_ibl_trials.table.pqt").unlink(), "no trials in alf"),
        (drop_column, "the trial table has no choice"),
        (change_trials(choice=0.0), "0 of 13 trials left"),
        (change_trials(choice="left"), "trial table cannot be read"),
        (garble("spikes.times.npy"), "spikes in alf/probe0./pykilosort cannot be read"),
        (garble("_ibl_trials.table.pqt"), "trials in alf cannot be read"),
        (foreign_region, "not in the Allen atlas"),
        (foreign_channel, "but 384 channels"),
        (foreign_spike, "alf/probe00/pykilosort: spikes.clusters goes from 0 to .* clusters are listed"),
    ],
)
def test_a_session_that_cannot_be_used_is_skipped_with_its_reason(tree, tmp_path, capsys, damage, reason):
    damage(alf(tree))
    index(tree)
    assert ibl(tree, tmp_path / "out") == 1
    out = capsys.readouterr().out
    skipped = next(line for line in out.splitlines() if "skipped:" in line)
    assert re.search(f"^{FIRST}.*{reason}", skipped), skipped
    assert "1 prepared, 0 already done, 1 skipped" in out
    assert [e.eid for e in read_manifest(tmp_path / "out")] == [SECOND]


def rename_camera(tree):
    for file in alf(tree).glob("*leftCamera*"):
        file.rename(file.with_name(file.name.replace("leftCamera", "rightCamera")))
    index(tree)


def test_the_right_camera_stands_in_for_the_left(tree, tmp_path, prepared):
    rename_camera(tree)
    assert ibl(tree, tmp_path / "out", "--eids", FIRST) == 0
    found, expected = (read_shard(folder / f"{FIRST}.h5").behavior[WHISKER] for folder in (tmp_path / "out", prepared))
    np.testing.assert_array_equal(found, expected)


def test_without_a_camera_the_session_has_no_trace_and_keeps_its_trials(tree, tmp_path):
    for file in alf(tree).glob("*leftCamera*"):
        file.unlink()
    index(tree)
    assert ibl(tree, tmp_path / "out", "--eids", FIRST) == 0
    entry = read_manifest(tmp_path / "out")[0]
    assert (entry.behaviors, entry.n_trials) == ([], 12)


def test_a_camera_with_too_few_times_is_not_used_and_the_reason_is_told(tree, tmp_path, capsys):
    path = alf(tree) / "_ibl_leftCamera.times.npy"
    np.save(path, np.load(path)[:-7])
    assert ibl(tree, tmp_path / "out", "--eids", FIRST) == 0
    assert "left camera not used" in (out := capsys.readouterr().out)
    assert "times" in out
    assert read_manifest(tmp_path / "out")[0].behaviors == []


def test_surplus_camera_times_are_the_first_ones_and_repeated_or_missing_times_are_left_out():
    trace = align_camera(np.array([0.0, 1, 2, 3, 4]), np.array([10.0, 20, 30]))
    assert (trace.times_s.tolist(), trace.values.tolist()) == ([2, 3, 4], [10, 20, 30])
    trace = align_camera(np.array([0.0, np.nan, 2, 2]), np.array([1.0, 2, 3, 4]))
    assert (trace.times_s.tolist(), trace.values.tolist()) == ([0, 2], [1, 3])
    for times_s, values in ((None, np.ones(2)), (np.ones(2), None), (np.ones(1), np.ones(2))):
        with pytest.raises(SourceError):
            align_camera(times_s, values)


def test_the_newest_revision_of_a_sorting_is_read(tree):
    folder = alf(tree) / "probe00" / "pykilosort"
    one = open_one(mode="local", cache_dir=tree)
    before = read(one)
    revision = folder / "#2024-05-06#"
    revision.mkdir()
    for file in list(folder.glob("*.*")):
        shutil.copy(file, revision)
    np.save(revision / "clusters.depths.npy", np.full(len(np.load(folder / "clusters.depths.npy")), 7.0))
    index(tree)
    after = read(open_one(mode="local", cache_dir=tree))
    on_first = after.neurons.probe == "probe00"
    assert (after.neurons.depth_um[on_first] == 7.0).all()
    np.testing.assert_array_equal(after.merged().spike_times_s, before.merged().spike_times_s)


def test_labels_are_joined_by_the_number_of_the_neuron_and_not_by_the_row(tree):
    import pandas as pd

    path = next((alf(tree) / "probe00").rglob("clusters.metrics.pqt"))
    metrics = pd.read_parquet(path)
    metrics.drop(index=1).sample(frac=1, random_state=0).to_parquet(path)
    label = read(open_one(mode="local", cache_dir=tree)).neurons.label
    assert np.isnan(label[1])
    np.testing.assert_array_equal(np.delete(label[: len(metrics)], 1), metrics["label"].drop(index=1))


def test_without_labels_depths_and_uuids_neurons_still_have_lasting_names(tree):
    for name in ("metrics.pqt", "depths.npy", "uuids.csv"):
        for file in alf(tree).rglob(f"clusters.{name}"):
            file.unlink()
    index(tree)
    neurons = read(open_one(mode="local", cache_dir=tree)).neurons
    assert np.isnan(neurons.label).all()
    assert np.isnan(neurons.depth_um).all()
    assert len(set(neurons.uuid)) == len(neurons.uuid)
    assert all(uuid.startswith(FIRST) for uuid in neurons.uuid)


def read(one):
    session = find_sessions(one, (FIRST,))[0]
    return read_session(one, session.one_eid, eid=FIRST, subject=session.subject, lab=session.lab)


def test_regions_are_those_of_the_beryl_atlas_in_both_hemispheres():
    # 778 is layer 5 of the primary visual area; in Beryl it belongs to VISp. 0 is outside the brain
    assert beryl_acronyms(np.array([385, -385, 778, 0])).tolist() == ["VISp", "VISp", "VISp", "void"]
    with pytest.raises(SourceError, match="987654321"):
        beryl_acronyms(np.array([385, 987654321]))


class Database:
    """Answers as ONE-api does in remote mode."""

    mode = "remote"
    sessions = MappingProxyType(
        {eid: ("lab_a", f"M_{n}", "2020-01-02", n) for n, eid in enumerate(PRETRAIN_EIDS[:3], 1)}
    )

    def get_details(self, eid):
        if eid not in self.sessions:
            raise ConnectionError("404") if eid == "offline" else ValueError(f"{eid} is no eid")
        return dict(zip(("lab", "subject", "date", "number"), self.sessions[eid], strict=True))

    def search(self, *, date_range, number):
        assert date_range[0] == date_range[1]
        return [eid for eid, s in self.sessions.items() if s[2] == date_range[0] and s[3] == number]


def test_the_remote_database_finds_a_session_by_either_of_its_names():
    by_eid, by_path = find_sessions(Database(), (PRETRAIN_EIDS[0], "lab_a_M_2_2020-01-02_002"))
    assert (by_eid.one_eid, by_eid.path_eid) == (PRETRAIN_EIDS[0], "lab_a_M_1_2020-01-02_001")
    assert (by_path.one_eid, by_path.subject, by_path.lab) == (PRETRAIN_EIDS[1], "M_2", "lab_a")


def test_sessions_that_the_remote_database_lacks_are_all_named_at_once():
    with pytest.raises(ConfigError, match=r"not in the database.*: lab_b_M_2_2020-01-02_002, nobody\."):
        find_sessions(Database(), ("lab_b_M_2_2020-01-02_002", PRETRAIN_EIDS[0], "nobody"))


def test_a_database_that_goes_away_is_one_sentence():
    with pytest.raises(ConfigError, match="cannot be asked for offline"):
        find_sessions(Database(), ("offline",))


def test_remote_mode_without_an_account_says_how_to_bring_one(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TOKEN", "LOGIN", "PWD", "URL"):
        monkeypatch.delenv(f"ALYX_{name}", raising=False)
    with pytest.raises(ConfigError, match="ALYX_TOKEN"):
        open_one(mode="remote", cache_dir=None)


@pytest.mark.parametrize(
    ("variables", "login"),
    [
        ({"ALYX_TOKEN": "t"}, {"token": "t"}),
        ({"ALYX_LOGIN": "me", "ALYX_PWD": "secret"}, {"username": "me", "password": "secret"}),
        ({"ALYX_TOKEN": "t", "ALYX_URL": "https://x"}, {"token": "t", "base_url": "https://x"}),
    ],
)
def test_remote_mode_logs_in_with_what_the_environment_holds(tmp_path, monkeypatch, variables, login):
    calls = []
    monkeypatch.setattr("one.api.OneAlyx", lambda **kwargs: calls.append(kwargs))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    open_one(mode="remote", cache_dir=tmp_path)
    assert calls == [{"mode": "remote", "silent": True, "cache_dir": tmp_path, **login}]


def test_a_database_that_does_not_answer_is_one_sentence(monkeypatch):
    def refuse(**kwargs):
        raise ConnectionError("no route")

    monkeypatch.setenv("ALYX_TOKEN", "t")
    monkeypatch.setattr("one.api.OneAlyx", refuse)
    with pytest.raises(ConfigError, match=r"does not answer.*no route"):
        open_one(mode="remote", cache_dir=None)


def test_a_home_that_cannot_be_written_is_one_sentence(alf_tree, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match=r"HOME=.*cannot be written"):
        open_one(mode="local", cache_dir=alf_tree)


def test_without_one_api_the_extra_is_named(monkeypatch, alf_tree):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "one" else object())
    with pytest.raises(ConfigError, match=r"needs one: pip install 'neuromtm\[ibl\]'"):
        open_one(mode="local", cache_dir=alf_tree)
    assert "one" in sys.modules


def test_a_tree_of_other_options_is_not_mixed_with(alf_tree, capsys):
    assert main(["simulate", "--format", "alf", "--out", str(alf_tree), "--n-trials", "13"]) == 2
    assert "simulated with other options" in capsys.readouterr().err

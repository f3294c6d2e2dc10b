"""Data and options that cannot work: one line that says what, where and the mend."""

import gc
import re

import h5py
import pytest
from small_shards import Session, make_shard, ready, without_trials, write_folder

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import write_shard
from neuromtm.errors import ConfigError, DataError, ManifestError, ShardError, UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three sessions for pretraining and one held out; not to be changed."""
    folder = tmp_path_factory.mktemp("shards")
    write_folder(
        folder,
        Session("a"),
        Session("b", regions=["MOs", "CA1"]),
        Session("c", regions=["CA1"]),
        Session("held", role="heldout"),
    )
    return folder


def read_a_little(root, **options) -> None:
    """Set up and read the first batch of each split."""
    data = ready(root, **options)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        next(iter(loader))


def said(error_class: type[UserError], root, **options) -> str:
    """The one line that reading ends with."""
    with pytest.raises(error_class) as error:
        read_a_little(root, **options)
    sentence = str(error.value)
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return sentence


def test_a_folder_without_data_is_named(tmp_path):
    assert "no such folder" in said(ManifestError, tmp_path / "absent")
    assert "not a data folder" in said(ManifestError, tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "neuromtm-manifest", "format_version": 1, "sessions": []}')
    assert "lists no session" in said(ManifestError, tmp_path)


def test_an_eid_that_is_not_there_is_named_beside_those_that_are(folder):
    sentence = said(DataError, folder, sessions=["a", "x", "y"])
    assert "no session 'x', 'y'" in sentence
    assert "a, b, c, held" in sentence
    assert "no session is named" in said(DataError, folder, sessions=[])


def test_more_sessions_than_there_are_is_an_error(folder):
    assert re.search("n_sessions is 4, but there are only 3", said(DataError, folder, n_sessions=4))


def test_a_subject_without_a_session_of_the_role_is_named_beside_those_that_have_one(folder):
    sentence = said(DataError, folder, subjects=["mouse a", "mouse held", "Nobody"])
    assert "no subject 'mouse held', 'Nobody' among the sessions of the role 'pretrain'" in sentence
    assert "There are: 'mouse a', 'mouse b', 'mouse c'." in sentence
    assert "no subject is named" in said(DataError, folder, subjects=[])
    assert "give one of the two" in said(ConfigError, folder, subjects=["mouse a"], sessions=["a"])


def test_a_role_that_no_session_has_is_an_error(tmp_path):
    write_folder(tmp_path, Session("a"))
    assert "no session of the role 'heldout'; there are pretrain" in said(DataError, tmp_path, role="heldout")


def test_sessions_of_other_bins_are_named(tmp_path):
    write_folder(tmp_path, Session("a"), Session("b", n_bins=6), Session("c"))
    sentence = said(DataError, tmp_path)
    assert "4 bins of 0.02 s in a, c" in sentence
    assert "6 bins of 0.02 s in b" in sentence
    assert list(ready(tmp_path, sessions=["b"]).sessions) == ["b"]


def test_a_filter_that_leaves_no_neuron_is_an_error(tmp_path, folder):
    write_folder(tmp_path, Session("a"))
    assert "a: no neuron is left with data.min_firing_rate_hz 500" in said(
        DataError, tmp_path, min_firing_rate_hz=500.0
    )
    assert "c: no neuron is left" in said(DataError, folder, regions=["MOs", "VISp"])


def test_a_region_that_no_session_has_is_named(folder):
    sentence = said(DataError, folder, regions=["CA1", "CA9"])
    assert "data.regions names 'CA9'" in sentence
    assert "CA1, MOs, VISp, root" in sentence


def test_a_shard_that_is_gone_or_cut_short_is_named(tmp_path):
    write_folder(tmp_path, Session("a"))
    path = tmp_path / "file0.h5"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "file0.h5: not a readable HDF5 file" in said(ShardError, tmp_path)
    path.unlink()
    assert "file0.h5: no such shard" in said(ShardError, tmp_path)


def test_a_file_of_another_session_is_not_believed(tmp_path):
    write_folder(tmp_path, Session("a"), Session("b"), Session("c"))
    (tmp_path / "file0.h5").write_bytes((tmp_path / "file1.h5").read_bytes())
    sentence = said(ManifestError, tmp_path)
    assert "file0.h5 holds 'b' and not 'a'. Prepare" in sentence
    assert f"data_prep check {tmp_path}" in sentence
    assert list(ready(tmp_path, sessions=["b", "c"]).sessions) == ["b", "c"]


def test_an_error_in_a_worker_is_the_same_sentence(tmp_path, monkeypatch):
    # after an error torch waits so long for each worker to end
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    write_folder(tmp_path, Session("a"))
    sentences = []
    for n_workers in (0, 1):
        data = ready(tmp_path, n_workers=n_workers)
        (tmp_path / "file0.h5").rename(tmp_path / "away.h5")
        with pytest.raises(ShardError) as error:
            next(iter(data.train_dataloader()))
        sentences.append(str(error.value))
        (tmp_path / "away.h5").rename(tmp_path / "file0.h5")
    del error
    gc.collect()  # ends the workers
    assert sentences[0].startswith(f"{tmp_path / 'file0.h5'}: no such shard")
    assert sentences[1] == sentences[0]


def test_a_shard_of_another_version_is_named(tmp_path):
    write_folder(tmp_path, Session("a"))
    with h5py.File(tmp_path / "file0.h5", "r+") as file:
        file.attrs["format_version"] = 3
    assert "version 3, but this program reads" in said(ShardError, tmp_path)


def test_a_split_without_trials_is_named(tmp_path):
    write_shard(tmp_path / "a.h5", without_trials(make_shard(Session("a")), "val"))
    add_shard(tmp_path / "a.h5", "pretrain")
    assert "no trial in the split 'val'" in said(DataError, tmp_path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"batch_size": 6, "sessions_per_batch": 4}, "batch_size 6 is not a multiple of sessions_per_batch 4"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"sessions_per_batch": 0}, "sessions_per_batch 0"),
        ({"eval_batch_size": 0}, "eval_batch_size is 0"),
        ({"n_sessions": 0}, "n_sessions is 0"),
        ({"n_workers": -1}, "n_workers is -1"),
        ({"min_firing_rate_hz": -1.0}, "min_firing_rate_hz is -1"),
        ({"min_firing_rate_hz": float("nan")}, "min_firing_rate_hz is nan"),
        ({"eval_batch_size": 0, "n_workers": -1}, "eval_batch_size is 0.*n_workers is -1"),
    ],
)
def test_a_bad_option_is_named(tmp_path, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SessionDataModule(root=str(tmp_path), **options)

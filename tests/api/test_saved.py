"""A saved model is the same model, in files that hold no code, and nothing half or other is taken for one."""

import importlib
import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import neuromtm
from neuromtm.api.model import Model
from neuromtm.api.saved import _digest
from neuromtm.errors import CheckpointError, ConfigError, UserError
from neuromtm.files import sha256
from neuromtm.masking.objective import Objective
from neuromtm.training.checkpoint import KEY, CheckpointRecord, load_checkpoint
from tests.models.small_models import BACKBONES, make_model
from tests.running import EIDS

EID = EIDS[0]


@pytest.fixture(scope="module")
def model(pretrained):
    return neuromtm.load(pretrained)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """Not to be changed."""
    return model.save(tmp_path_factory.mktemp("saved") / "model", license="cc-by-4.0", description="Of mice.")


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copied")


def test_a_saved_model_is_the_same_model(model, saved, sessions_dir):
    again = neuromtm.load(saved)
    before, after = model.stitched.state_dict(), again.stitched.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert again.sessions == model.sessions
    assert again.record == model.record  # objective, bins, fingerprints of the trials, subjects
    assert set(again.record.trials) == set(EIDS)
    session = neuromtm.Sessions(sessions_dir)[EID]
    assert np.array_equal(again.predict(session), model.predict(session))
    assert np.array_equal(again.embed(session), model.embed(session))


def test_every_architecture_can_be_saved(tmp_path):
    for name in BACKBONES:
        stitched = make_model(backbone=name).float()
        record = CheckpointRecord.of(
            stitched, n_bins=20, bin_size_s=0.02, objective=Objective(), trials={}, batches={}, subjects={"a": "mouse"}
        )
        model = Model(stitched, record, name=name)
        again = neuromtm.load(model.save(tmp_path / name))
        counts = np.ones((3, 20, model.sessions["a"].n_neurons), np.uint8)
        assert np.array_equal(again.predict(counts, eid="a"), model.predict(counts, eid="a")), name
        assert again.record == record, name


def test_the_metrics_of_a_test_go_with_it(model, tmp_path):
    metrics = {"sessions": {EID: {"co_smoothing_bps": 0.25}}, "mean": {"co_smoothing_bps": 0.25}}
    folder = Model(model.stitched, model.record, name="x", metrics=metrics).save(tmp_path / "model")
    assert neuromtm.load(folder).metrics == metrics
    assert "| co_smoothing_bps | 0.25 |" in (folder / "README.md").read_text()


def test_nothing_in_the_folder_is_pickled(saved):
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for path in saved.iterdir():
        assert not zipfile.is_zipfile(path)
        assert path.read_bytes()[:2] != b"\x80\x02"
    json.loads((saved / "config.json").read_text())
    load_file(saved / "model.safetensors")


def test_the_card_says_what_the_model_is(saved, model):
    _, header, text = (saved / "README.md").read_text().split("---\n", 2)
    assert yaml.safe_load(header) == {
        "license": "cc-by-4.0",
        "library_name": "neuromtm",
        "tags": ["neuroscience", "spikes", "masked-modeling"],
    }
    assert "Of mice." in text
    for eid, session in model.sessions.items():
        line = next(line for line in text.splitlines() if line.startswith(f"| {eid} "))
        assert (
            line
            == f"| {eid} | {model.record.subjects[eid]} | {session.n_neurons} | {', '.join(session.region_names)} |"
        )
    n_shared = sum(weights.numel() for weights in model.stitched.backbone.parameters())
    assert f"{n_shared:,} shared weights" in text
    assert "20 bins of 0.02 s" in text
    assert all(scheme in text for scheme in model.record.objective.schemes)
    assert "was not tested" in text
    assert "neuromtm.load(" in text


def test_the_code_of_the_card_runs(saved, sessions_dir):
    text = (saved / "README.md").read_text()
    code = text.split("```python\n")[1].split("```")[0].replace("THIS_FOLDER", str(saved))
    names = {"counts": neuromtm.Sessions(sessions_dir)[EID].counts}
    exec(code, names)
    assert names["rates"].shape == names["counts"].shape


def test_a_session_s_name_cannot_break_the_card(model, tmp_path):
    record = CheckpointRecord.from_checkpoint(
        {KEY: model.record.to_plain() | {"subjects": {EID: "a|b\n# <script>"}}}, name="x"
    )
    text = (Model(model.stitched, record, name="x").save(tmp_path / "model") / "README.md").read_text()
    assert f"| {EID} | a\\|b # \\<script\\> |" in text


def test_nothing_is_overwritten(model, saved, tmp_path):
    before = sha256(saved / "config.json")
    with pytest.raises(UserError, match=r"holds files already, and nothing is overwritten"):
        model.save(saved)
    assert sha256(saved / "config.json") == before
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="a file, and nothing is overwritten"):
        model.save(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    neuromtm.load(model.save(tmp_path / "empty"))


def test_an_interrupted_save_leaves_nothing(model, tmp_path, monkeypatch):
    def fails(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("neuromtm.api.saved.write_whole", fails)
    with pytest.raises(OSError, match="disk full"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


# ---- what is no saved model


def change_config(folder: Path, **values) -> None:
    """Other content, with the checksum that belongs to it."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps(config | {"config_sha256": _digest(config)}))


def change_record(folder: Path, **values) -> None:
    """Another record of the model, with the checksum that belongs to it."""
    record = json.loads((folder / "config.json").read_text())["model"]
    change_config(folder, model=record | values)


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "config.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def rewrite_weights(folder: Path, change) -> None:
    """Other weights, with the checksum that belongs to them."""
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")
    change_config(folder, weights_sha256=sha256(folder / "model.safetensors"))


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (folder / "model.safetensors").write_bytes(content)


def no_safetensors(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not weights")
    change_config(folder, weights_sha256=sha256(folder / "model.safetensors"))


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors beside config.json"),
        (lambda folder: (folder / "config.json").unlink(), "no config.json beside model.safetensors"),
        (lambda folder: (folder / "config.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not one of neuromtm"),
        (lambda folder: change_config(folder, format="bert"), "is not one of neuromtm"),
        (lambda folder: change_config(folder, format_version=2), "format version 2, but this program reads 1"),
        (lambda folder: edit(folder, '"bin_size_s": 0.02', '"bin_size_s": 0.2'), "was changed since it was saved"),
        (lambda folder: edit(folder, '"config_sha256"', '"old"'), "was changed since it was saved"),
        (lambda folder: change_config(folder, metrics=[]), "metrics are not those of a test"),
        (lambda folder: change_config(folder, metrics={"mean": 3, "sessions": {}}), "metrics are not those of a test"),
        (lambda folder: change_config(folder, model=None), "has no entry"),
        (lambda folder: change_config(folder, model={"format_version": 9}), "checkpoint format version 9"),
        (lambda folder: change_config(folder, model={"format_version": 1}), "is not whole"),
        (flip_a_bit, "damaged, cut short or replaced"),
        (no_safetensors, "not a readable safetensors file"),
        (
            lambda folder: rewrite_weights(folder, lambda w: w.update({"backbone.embed.weight": torch.zeros(2, 2)})),
            r"embed.weight is \(2, 2\) there and \(16, 16\) here",
        ),
        (lambda folder: rewrite_weights(folder, lambda w: w.pop("backbone.embed.weight")), "embed.weight is missing"),
    ],
)
def test_a_damaged_folder_is_refused_in_one_sentence(copied, damage, sentence):
    damage(copied)
    with pytest.raises(CheckpointError, match=sentence) as error:
        neuromtm.load(copied)
    assert str(copied) in str(error.value)
    assert "\n" not in str(error.value)


def session(**values):
    return [{"eid": "a", "neurons": ["x"], "regions": ["CA1"]} | values]


NDT1 = "neuromtm.models.ndt1.NDT1"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        *(({"bin_size_s": value}, "bin_size_s is not a number of seconds") for value in ("x", None, 0, -1, True)),
        *(({"n_bins": value}, "n_bins is not a number of bins") for value in ("x", None, 0, 2.5, True)),
        *(({"backbone": value}, "backbone is not a class_path and its init_args") for value in (None, [], NDT1, {})),
        *(
            ({"backbone": {"class_path": value, "init_args": {}}}, "backbone is not a class_path")
            for value in (None, 0.5, "", ["x"])
        ),
        ({"backbone": {"class_path": NDT1, "init_args": [1]}}, "backbone is not a class_path"),
        ({"backbone": {"class_path": NDT1, "init_args": {"speed": 1}}}, "takes other options now"),
        ({"backbone": {"class_path": NDT1, "init_args": {"width": 10**9}}}, "cannot be made"),
        ({"backbone": {"class_path": NDT1, "init_args": {"width": "x"}}}, "takes other options|cannot be made"),
        ({"backbone": {"class_path": NDT1, "init_args": {"width": -8}}}, "cannot be made"),
        ({"backbone": {"class_path": "neuromtm.nowhere.X", "init_args": {}}}, "cannot be imported"),
        ({"backbone": {"class_path": "neuromtm.errors.UserError", "init_args": {}}}, "is no Backbone"),
        *(({"sessions": value}, "sessions is not a list of sessions") for value in (None, "a", {}, [3], ["a"])),
        *(
            ({"sessions": session(**values)}, "sessions is not a list of sessions")
            for values in (
                {"eid": 3},
                {"eid": ""},
                {"neurons": "x"},
                {"neurons": [3]},
                {"regions": [None]},
                {"regions": []},
                {"neurons": ["x", "x"], "regions": ["CA1", "CA1"]},
            )
        ),
        ({"sessions": [*session(), *session()]}, "sessions is not a list of sessions"),
        ({"decoder": "x"}, "decoder is not a mapping"),
        ({"decoder": ["x"]}, "decoder is not a mapping"),
        ({"objective": ["x"]}, "objective is not a mapping"),
        ({"objective": {"schemes": 5}}, "is not whole"),
        ({"objective": {"neuron_ratio": "x"}}, "is not whole"),
        ({"objective": {"luck": 1}}, "is not whole"),
        *(({name: value}, f"{name} is not a") for name in ("trials", "subjects") for value in (None, [], {"a": 3})),
        ({"batches": 3}, "batches is not a mapping"),
    ],
)
def test_a_folder_made_by_hand_is_refused_in_one_sentence(copied, values, sentence):
    change_record(copied, **values)
    with pytest.raises(CheckpointError, match=sentence) as error:
        neuromtm.load(copied)
    assert str(copied) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_code_is_run_that_the_folder_names(copied, tmp_path, monkeypatch):
    (tmp_path / "evilmod.py").write_text(
        "from pathlib import Path\nfrom neuromtm.models.ndt1 import NDT1\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\nclass E(NDT1):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    options = json.loads((copied / "config.json").read_text())["model"]["backbone"]["init_args"]
    for class_path in ("evilmod.E", "evilmod.sub.E"):
        change_record(copied, backbone={"class_path": class_path, "init_args": options})
        with pytest.raises(CheckpointError, match=r"is of another package: import evilmod.* before, if you trust it"):
            neuromtm.load(copied)
        assert not (tmp_path / "ran").exists()
    change_record(copied, backbone={"class_path": "evilmod.E", "init_args": options})
    importlib.import_module("evilmod")  # the user trusts it
    try:
        assert neuromtm.load(copied).record.class_path == "evilmod.E"
    finally:
        del sys.modules["evilmod"]


@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("nowhere", "no such file or folder"),
        (".", "no model in it"),
        ("run", "no such checkpoint"),
        ("text.ckpt", "not a readable checkpoint"),
    ],
)
def test_what_is_no_model_is_refused_in_one_sentence(tmp_path, place, sentence):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    (tmp_path / "text.ckpt").write_text("weights")
    with pytest.raises(CheckpointError, match=sentence):
        neuromtm.load(tmp_path / place)


def test_a_decoder_is_no_masked_model(pretrained, tmp_path):
    checkpoint = load_checkpoint(pretrained / "checkpoints" / "best.ckpt")
    checkpoint[KEY]["decoder"] = {"target": "choice"}
    torch.save(checkpoint, tmp_path / "decoder.ckpt")
    with pytest.raises(CheckpointError, match="a decoder of 'choice', not a masked model"):
        neuromtm.load(tmp_path / "decoder.ckpt")


@pytest.mark.parametrize(
    ("device", "sentence"),
    [
        ("cuda:99", "device 'cuda:99' cannot be used here"),
        ("gpu", "device 'gpu' cannot be used here: did you mean 'cuda'"),
        ("nothing", "device 'nothing' cannot be used here"),
        ("meta", "device 'meta' cannot be used here: it holds no numbers"),
        (None, "device is None, not a name"),
        (3, "device is 3, not a name"),
    ],
)
def test_a_device_that_there_is_not_is_refused(pretrained, model, device, sentence):
    for call in (lambda: neuromtm.load(pretrained, device=device), lambda: model.to(device)):
        with pytest.raises(ConfigError, match=sentence) as refused:
            call()
        assert "\n" not in str(refused.value)
    assert model.device.type == "cpu"


@pytest.mark.parametrize("path", [None, 3, "", b"model", "a\0b"])
def test_what_is_no_path_is_refused(model, path):
    for call in (neuromtm.load, model.save):
        with pytest.raises(ConfigError, match=r"(path|folder) is .*, not a path"):
            call(path)


def test_a_model_is_saved_only_where_a_folder_can_be(model, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "below", tmp_path / ("a" * 300)):
        with pytest.raises(UserError, match="Name another"):
            model.save(place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("texts", [{"license": 3}, {"license": ""}, {"license": None}, {"description": 3}])
def test_a_license_and_a_description_are_text(model, tmp_path, texts):
    with pytest.raises(ConfigError, match=r"(license|description) is .*, not a text"):
        model.save(tmp_path / "model", **texts)
    assert not list(tmp_path.iterdir())

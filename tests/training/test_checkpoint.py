"""Checkpoints: whole, plain, of the right model, and open without the data."""

import shutil
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neuromtm.data.manifest import read_manifest
from neuromtm.data.shards import read_header
from neuromtm.errors import CheckpointError
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import VisibleGroup, module_key
from neuromtm.training.checkpoint import (
    KEY,
    CheckpointRecord,
    load_backbone,
    load_checkpoint,
    newest_checkpoint,
)
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.masked_modeling import MaskedModeling
from tests.conftest import ROOT
from tests.running import EIDS, HELDOUT, SHORT, finetune, neuromtm


@pytest.fixture
def best(pretrained):
    return pretrained / "checkpoints" / "best.ckpt"


@pytest.fixture(scope="module")
def whole(pretrained):
    """The weights of the best checkpoint."""
    return load_checkpoint(pretrained / "checkpoints" / "best.ckpt")["state_dict"]


@pytest.mark.parametrize("name", ["best", "last"])
def test_a_checkpoint_holds_tensors_and_plain_types_only(pretrained, name):
    torch.load(pretrained / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_a_checkpoint_names_its_sessions_with_their_neurons_and_regions(best, sessions_dir):
    plain = load_checkpoint(best)[KEY]
    assert plain["format_version"] == 1
    headers = [read_header(sessions_dir / e.file) for e in read_manifest(sessions_dir) if e.role == "pretrain"]
    assert plain["sessions"] == [
        {"eid": h.eid, "neurons": h.neurons.uuid.tolist(), "regions": h.neurons.region.tolist()} for h in headers
    ]
    assert (plain["n_bins"], plain["bin_size_s"]) == (20, 0.02)


def test_a_checkpoint_opens_without_the_data(best, tmp_path):
    alone = tmp_path / "alone.ckpt"
    shutil.copy(best, alone)
    module = MaskedModeling.load_from_checkpoint(alone)
    assert tuple(module.model.sessions) == EIDS
    weights = load_checkpoint(alone)["state_dict"]
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())


def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    WholeFileCheckpointIO().save_checkpoint({"step": 1}, path)

    def half(checkpoint, file):
        file.write(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(KeyboardInterrupt):
        WholeFileCheckpointIO().save_checkpoint({"step": 2}, path)
    assert load_checkpoint(path) == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_the_newest_of_last_and_requeue_checkpoints_is_gone_on_from(tmp_path):
    import os

    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    last, requeued = tmp_path / "checkpoints" / "last.ckpt", tmp_path / "hpc_ckpt_1.ckpt"
    for path, time_s in ((last, 100), (requeued, 200)):
        path.touch()
        os.utime(path, (time_s, time_s))
    assert newest_checkpoint(tmp_path) == requeued
    os.utime(last, (300, 300))
    assert newest_checkpoint(tmp_path) == last


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_checkpoint_cut_short_is_refused(best, tmp_path, share):
    content = best.read_bytes()
    (tmp_path / "short.ckpt").write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"short\.ckpt: not a"):
        load_checkpoint(tmp_path / "short.ckpt")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_checkpoint_with_another_bit_is_refused_or_the_same(best, whole, tmp_path_factory, data):
    path, content = tmp_path_factory.getbasetemp() / "flipped.ckpt", bytearray(best.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = load_checkpoint(path)["state_dict"]
    except CheckpointError:
        return
    # the bit was one of those that only fill the file up
    assert found.keys() == whole.keys()
    assert all(torch.equal(value, whole[name]) for name, value in found.items())


def test_a_weight_with_another_bit_is_refused(best, tmp_path):
    weight = next(v for k, v in load_checkpoint(best)["state_dict"].items() if k.startswith("model.backbone."))
    content = bytearray(best.read_bytes())
    content[content.index(weight.numpy().tobytes())] ^= 1
    (tmp_path / "flipped.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"flipped\.ckpt: not a whole checkpoint; the file is damaged"):
        load_checkpoint(tmp_path / "flipped.ckpt")


def test_a_weight_that_became_a_folder_is_refused(best, tmp_path):
    content, part = bytearray(best.read_bytes()), zipfile.ZipFile(best).namelist()[-3]
    content[content.rindex(part.encode()) - 8] ^= 0x10  # its attributes in the zip file's directory
    (tmp_path / "flipped.ckpt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"flipped\.ckpt: not a whole checkpoint; .* in its part .*/data/"):
        load_checkpoint(tmp_path / "flipped.ckpt")


def test_a_checkpoint_without_weights_is_refused(best, tmp_path):
    torch.save({KEY: load_checkpoint(best)[KEY]}, tmp_path / "bare.ckpt")
    with pytest.raises(CheckpointError, match=r"bare\.ckpt: not a checkpoint of neuromtm; it has no weights"):
        load_checkpoint(tmp_path / "bare.ckpt")


def test_a_folder_or_a_missing_best_checkpoint_says_which_file_to_give(best, pretrained, tmp_path):
    for folder in (pretrained, pretrained / "checkpoints"):
        with pytest.raises(CheckpointError, match=rf"is a folder, .* {best}\.$"):
            load_checkpoint(folder)
    shutil.copy(best, tmp_path / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"no such checkpoint, because .* validation\. Use .*last\.ckpt\.$"):
        load_checkpoint(tmp_path / "best.ckpt")
    with pytest.raises(CheckpointError, match=r"other\.ckpt: no such checkpoint\.$"):
        load_checkpoint(tmp_path / "other.ckpt")


@pytest.mark.parametrize("other", [torch.zeros(3), [1, 2], {"state_dict": {}}, {KEY: 3}])
def test_a_torch_file_that_is_not_ours_is_refused(tmp_path, other):
    torch.save(other, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"other\.pt: not a checkpoint of neuromtm"):
        WholeFileCheckpointIO().load_checkpoint(tmp_path / "other.pt")


def test_a_pickled_object_is_refused_without_advice_to_trust_it(tmp_path):
    torch.save(NDT1(width=16, n_layers=1, n_heads=2), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="not a checkpoint of neuromtm") as refused:
        load_checkpoint(tmp_path / "model.pt")
    assert "weights_only" not in str(refused.value)


def changed(record, **changes):
    return {KEY: record.to_plain() | changes}


def test_a_record_of_another_version_or_not_whole_is_refused(best):
    record = CheckpointRecord.from_checkpoint(load_checkpoint(best), name="x")
    with pytest.raises(CheckpointError, match="format version 2"):
        CheckpointRecord.from_checkpoint(changed(record, format_version=2), name="x")
    with pytest.raises(CheckpointError, match="not whole"):
        CheckpointRecord.from_checkpoint(changed(record, sessions=[{"eid": "a"}]), name="x")


@pytest.mark.parametrize(
    ("class_path", "options", "message"),
    [
        ("neuromtm.nowhere.Model", {}, "cannot be imported"),
        ("neuromtm", {}, "cannot be imported"),
        ("nowhere.Model", {}, "of another package: import nowhere before, if you trust it"),
        ("Model", {}, "of another package"),
        ("torch.nn.Linear", {}, "is no Backbone"),
        ("neuromtm.models.ndt1.NDT1", {"flavour": 1}, "takes other options"),
    ],
)
def test_an_architecture_that_is_not_to_be_had_is_named(class_path, options, message):
    record = CheckpointRecord(class_path, options, (), 20, 0.02)
    with pytest.raises(CheckpointError, match=message):
        record.build_backbone(name="x")


def test_every_difference_to_the_options_is_named(best):
    record = CheckpointRecord.from_checkpoint(load_checkpoint(best), name="best.ckpt")
    other = NDT1(width=32, n_layers=2, n_heads=2, mlp_width=32, max_bins=32)
    with pytest.raises(CheckpointError, match=r"n_layers 1 there and 2 here; width 16 there and 32 here"):
        record.require_backbone(other, name="best.ckpt")


def test_weights_that_do_not_fit_the_architecture_are_named(best):
    checkpoint = load_checkpoint(best)
    backbone = CheckpointRecord.from_checkpoint(checkpoint, name="x").build_backbone(name="x")
    load_backbone(backbone, checkpoint, name="x")
    first, second = (f"model.backbone.{key}" for key in list(backbone.state_dict())[:2])
    spoilt = dict(checkpoint["state_dict"]) | {"model.backbone.spare": torch.zeros(1), second: torch.zeros(1, 2, 3, 4)}
    del spoilt[first]
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"x: .* is missing, spare is not known, .* is \(1, 2, 3, 4\) there"):
        load_backbone(backbone, {"state_dict": spoilt}, name="x")
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


@pytest.fixture(scope="module")
def finetuned(root, sessions_dir, pretrained, tmp_path_factory):
    """Fine-tuned by no step at all: a learning rate of almost nothing."""
    run_dir = tmp_path_factory.mktemp("finetuned") / "run"
    neuromtm(
        *finetune(root, sessions_dir, pretrained / "checkpoints" / "best.ckpt"),
        *("--run_dir", run_dir, "--model.lr", "1e-30", "--model.weight_decay", "0"),
    )
    return run_dir


def test_fine_tuning_starts_from_the_shared_weights(finetuned, best):
    before, after = (
        load_checkpoint(best)["state_dict"],
        load_checkpoint(finetuned / "checkpoints/last.ckpt")["state_dict"],
    )
    shared = [name for name in before if name.startswith("model.backbone.")]
    assert shared
    for name in shared:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-20)


def test_fine_tuning_keeps_none_of_the_pretraining_sessions(finetuned):
    checkpoint = load_checkpoint(finetuned / "checkpoints" / "last.ckpt")
    assert [s["eid"] for s in checkpoint[KEY]["sessions"]] == [HELDOUT]
    stitchers = {name.split(".")[2] for name in checkpoint["state_dict"] if name.startswith("model.stitchers.")}
    assert stitchers == {module_key(HELDOUT)}


def test_a_checkpoint_remembers_whose_sessions_the_shared_weights_have_learned_from(finetuned, best, sessions_dir):
    subjects = {entry.eid: entry.subject for entry in read_manifest(sessions_dir)}
    before = CheckpointRecord.from_checkpoint(load_checkpoint(best), name="best")
    assert dict(before.subjects) == {eid: subjects[eid] for eid in EIDS}
    after = CheckpointRecord.from_checkpoint(load_checkpoint(finetuned / "checkpoints" / "last.ckpt"), name="last")
    assert dict(after.subjects) == {eid: subjects[eid] for eid in (*EIDS, HELDOUT)}


def test_a_checkpoint_from_before_subjects_were_kept_still_opens(best):
    checkpoint = load_checkpoint(best)
    del checkpoint[KEY]["subjects"]
    assert CheckpointRecord.from_checkpoint(checkpoint, name="old").subjects == {}


def test_a_new_session_starts_at_its_mean_rates(finetuned, sessions_dir):
    from neuromtm.data.datamodule import SessionDataModule

    data = SessionDataModule(root=str(sessions_dir), role="heldout")
    data.setup()
    weights = load_checkpoint(finetuned / "checkpoints" / "last.ckpt")["state_dict"]
    prefix = f"model.stitchers.{module_key(HELDOUT)}.read_out"
    torch.testing.assert_close(weights[f"{prefix}.bias"], data.mean_counts(HELDOUT).log())
    assert weights[f"{prefix}.weight"].abs().max() < 1e-20


def test_a_checkpoint_from_before_options_were_there_keeps_what_the_model_did_without_them(tmp_path, sessions_dir):
    """Neither its architecture nor its objective may take today's defaults."""
    former = {"standardise": False, "principal_axes": False, "embedding": "softsign", "bin_vectors": False}
    objective = {"region_per_trial": False, "draw_unknown": False}
    run_dir, root = tmp_path / "run", ("--data.root", sessions_dir)
    options = [f"--model.backbone.init_args.{name}={value}" for name, value in former.items()]
    options += [f"--model.objective.{name}={value}" for name, value in objective.items()]
    recipes = [f"--config={ROOT / 'conf' / name}" for name in ("pretrain.yaml", "model/tiny.yaml")]
    neuromtm("fit", *recipes, *SHORT, *root, "--run_dir", run_dir, *options)
    checkpoint = load_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    before = MaskedModeling.load_from_checkpoint(run_dir / "checkpoints" / "last.ckpt")
    for name in former:
        del checkpoint[KEY]["backbone"]["init_args"][name]
    for name in (*objective, "trailing_blocks"):
        del checkpoint[KEY]["objective"][name]
    torch.save(checkpoint, old := tmp_path / "old.ckpt")
    module = MaskedModeling.load_from_checkpoint(old)
    assert {name: getattr(module.model.backbone, name) for name in former} == former
    assert module.objective == before.objective
    assert not module.objective.draw_unknown
    counts = torch.ones(2, 20, module.model.sessions[EIDS[0]].n_neurons)
    with torch.no_grad():
        found, expected = (
            m.eval().model([VisibleGroup(EIDS[0], counts)], "neuron").log_rates[0] for m in (module, before)
        )
    assert torch.equal(found, expected)
    tuned = tmp_path / "tuned"
    neuromtm(
        "fit",
        f"--config={ROOT / 'conf' / 'finetune.yaml'}",
        *SHORT,
        *root,
        "--run_dir",
        tuned,
        f"--model.pretrained={old}",
    )
    record = CheckpointRecord.from_checkpoint(load_checkpoint(tuned / "checkpoints" / "last.ckpt"), name="tuned")
    assert record.options.items() >= former.items()
    assert not record.objective.draw_unknown

"""A masking scheme that is newer than a checkpoint: what the checkpoint knows still works, the new one is learned."""

import logging
import shutil

import pytest
import torch

from neuromtm import load
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.masking.masked import MaskingScheme, mask
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import SCHEMES
from neuromtm.training.checkpoint import KEY, load_checkpoint
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import neuromtm, pretrain, refusal
from tests.trainers import quiet_trainer

NEW = "every_other_bin"
TOKEN = f"model.backbone.prompts.{NEW}"


def hide(counts, region, options, generator):
    first = int(torch.randint(2, (), generator=generator))
    return mask(counts, (torch.arange(counts.shape[1]) % 2 == first)[None, :, None])


SCHEME = MaskingScheme(hide=hide, ratio=0.5)


@pytest.fixture
def planted(monkeypatch):
    """One more scheme, as if its file and its name were there."""
    monkeypatch.setitem(SCHEMES, NEW, SCHEME)


def best(run_dir):
    return run_dir / "checkpoints" / "best.ckpt"


def weights(run_dir):
    return load_checkpoint(run_dir / "checkpoints" / "last.ckpt")["state_dict"]


def trained(module, sessions_dir, folder):
    trainer = quiet_trainer(folder, max_epochs=1)
    trainer.fit(module, datamodule=SessionDataModule(root=str(sessions_dir)))
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer, load_checkpoint(folder / "last.ckpt")


def test_a_model_without_the_scheme_is_tested_as_before(pretrained, planted, tmp_path, monkeypatch):
    options = ("test", "--config", pretrained / "config.yaml", "--ckpt_path", best(pretrained), "--run_dir")
    neuromtm(*options, tmp_path / "with")
    monkeypatch.delitem(SCHEMES, NEW)
    neuromtm(*options, tmp_path / "without")
    for name in ("metrics.json", "neurons.csv"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_a_run_from_before_the_scheme_goes_on_to_the_same_weights(root, sessions_dir, planted, tmp_path, monkeypatch):
    def command(run_dir, n_epochs):
        # under another schedule a run ends with the epochs that it began with
        more = ("--model.schedule", "constant", "--behavior.validate", "false", "--trainer.max_epochs", n_epochs)
        return pretrain(root, sessions_dir, "--run_dir", run_dir, "--auto_resume", "true", *more)

    def goes_on(run_dir):
        shutil.copytree(tmp_path / "begun", run_dir)
        neuromtm(*command(run_dir, 2))
        return weights(run_dir)

    monkeypatch.delitem(SCHEMES, NEW)
    neuromtm(*command(tmp_path / "begun", 1))
    before = goes_on(tmp_path / "without")
    monkeypatch.setitem(SCHEMES, NEW, SCHEME)
    later = goes_on(tmp_path / "with")
    assert later.keys() == before.keys()
    assert all(torch.equal(later[name], before[name]) for name in before)
    assert any(not torch.equal(later[name], weights(tmp_path / "begun")[name]) for name in before)


def test_a_model_from_before_the_scheme_is_fine_tuned_with_it(sessions_dir, pretrained, planted, tmp_path, caplog):
    module = MaskedModeling(pretrained=str(best(pretrained)), objective=Objective(schemes=(NEW,)), lr=1e-2)
    with caplog.at_level(logging.INFO, logger="lightning.pytorch"):
        trainer, checkpoint = trained(module, sessions_dir, tmp_path)
    assert f"from before the masking scheme {NEW}, whose prompt starts untrained" in caplog.text
    assert {f"train/loss/{NEW}", f"val/loss/{NEW}"} <= trainer.logged_metrics.keys()
    assert checkpoint[KEY]["objective"]["schemes"] == [NEW]
    after, old = checkpoint["state_dict"], load_checkpoint(best(pretrained))["state_dict"]
    assert set(after) - set(old) == {TOKEN}
    assert torch.equal(after["model.backbone.prompts.neuron"], old["model.backbone.prompts.neuron"])


def test_the_token_of_the_scheme_is_learned(sessions_dir, pretrained, planted, tmp_path):
    module = MaskedModeling(pretrained=str(best(pretrained)), objective=Objective(schemes=(NEW,)), lr=1e-30)
    _, before = trained(module, sessions_dir, tmp_path / "before")
    again = MaskedModeling(pretrained=str(tmp_path / "before" / "last.ckpt"), lr=1e-2)
    _, after = trained(again, sessions_dir, tmp_path / "after")
    assert not torch.equal(before["state_dict"][TOKEN], after["state_dict"][TOKEN])


def test_a_model_from_before_the_scheme_opens_in_python(pretrained, planted):
    assert "neuron" in load(best(pretrained)).stitched.backbone.prompts
    assert NEW in load(best(pretrained)).stitched.backbone.prompts


@pytest.mark.parametrize("command", ["test", "fit"])
def test_a_model_of_a_scheme_that_this_program_lacks_is_refused(
    capsys, root, sessions_dir, pretrained, tmp_path, command
):
    checkpoint = load_checkpoint(best(pretrained))
    checkpoint["state_dict"][TOKEN] = torch.zeros(16)
    torch.save(checkpoint, tmp_path / "newer.ckpt")
    if command == "test":
        options = ("test", "--config", pretrained / "config.yaml", "--ckpt_path", tmp_path / "newer.ckpt")
    else:
        options = pretrain(root, sessions_dir, "--model.pretrained", tmp_path / "newer.ckpt")
    line = refusal(capsys, *options, "--run_dir", tmp_path / "run")
    assert f"newer.ckpt: has a prompt token of the masking scheme {NEW}, which this program does not have" in line

"""A test that asks every task with one given prompt."""

import csv

import pytest
import torch

from neuromtm.callbacks import plots
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.evaluation.tasks import TASKS, hidden_rates, predict_task
from neuromtm.models.stitching import VisibleGroup
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import neuromtm, pretrain, refusal


def score(pretrained, folder, *more):
    """The rows of neurons.csv of a test."""
    checkpoint = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    neuromtm("test", *checkpoint, "--run_dir", folder, *more)
    with (folder / "neurons.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def own(pretrained, tmp_path_factory):
    """Every task asked with its own prompt."""
    return score(pretrained, tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize(("prompt", "task"), [("neuron", "co_smoothing"), ("causal", "forward_prediction")])
def test_a_given_prompt_changes_every_score_but_that_of_the_task_whose_own_it_is(
    pretrained, own, tmp_path, monkeypatch, prompt, task
):
    drawn_with = []

    def watched(*arguments, prompt):
        drawn_with.append(prompt)
        return hidden_rates(*arguments, prompt=prompt)

    monkeypatch.setattr(plots, "hidden_rates", watched)
    given = score(pretrained, tmp_path, "--activity.prompt", prompt)
    same = {one: [row[f"{one}_bps"] for row in given] == [row[f"{one}_bps"] for row in own] for one in TASKS}
    assert same == {one: one == task for one in TASKS}
    assert set(drawn_with) == {prompt}, "the plots show other predictions than were scored"


def test_the_prompt_brings_its_attention_and_leaves_what_is_hidden(pretrained, sessions_dir):
    data = SessionDataModule(root=str(sessions_dir))
    data.setup()
    module = MaskedModeling.load_from_checkpoint(pretrained / "checkpoints" / "best.ckpt").eval()
    group = next(data.groups(next(iter(data.sessions)), "test"))
    neurons = torch.tensor([1, 4])
    with torch.no_grad():
        asked = predict_task("co_smoothing", module.model, module.objective, group, neurons, prompt="causal")
        expected = module.model.left_out(VisibleGroup(group.eid, group.counts), "causal", neurons)
        (held_out,) = asked
    assert torch.equal(held_out.log_rates, expected)


@pytest.mark.parametrize("command", ["test", "validate"])
def test_a_prompt_that_was_not_trained_is_refused(pretrained, tmp_path, capsys, command):
    checkpoint = ("--config", pretrained / "config.yaml", "--ckpt_path", pretrained / "checkpoints" / "best.ckpt")
    line = refusal(capsys, command, *checkpoint, "--run_dir", tmp_path / "run", "--activity.prompt", "temporal")
    assert "activity.prompt is temporal" in line
    assert "neuron, causal, intra_region, inter_region" in line
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_training_refuses_it_before_its_first_step(root, sessions_dir, tmp_path, capsys):
    command = pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", "--activity.prompt", "temporal")
    assert "activity.prompt is temporal" in refusal(capsys, *command)
    assert not (tmp_path / "run" / "checkpoints").exists()

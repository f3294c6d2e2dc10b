"""A checkpoint is used with the trials and the masking it was trained with, and a run goes on as it began."""

import shutil

import pytest

from neuromtm.training.checkpoint import CheckpointRecord, load_checkpoint
from tests.running import SIMULATE, WINDOW, finetune, neuromtm, pretrain, refusal


@pytest.fixture(scope="module")
def temporal(root, sessions_dir, tmp_path_factory):
    """A run with temporal masking."""
    run_dir = tmp_path_factory.mktemp("temporal") / "run"
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir, "--model.objective.schemes", "[temporal]"))
    return run_dir


def record(run_dir):
    return CheckpointRecord.from_checkpoint(load_checkpoint(run_dir / "checkpoints/best.ckpt"), name="best")


def test_sessions_split_otherwise_are_not_tested(capsys, pretrained, tmp_path):
    from data_prep.__main__ import main

    assert main(["simulate", "--out", str(tmp_path / "data"), *SIMULATE, *WINDOW]) == 0
    same = ("--run_dir", tmp_path / "run", "--data.root", tmp_path / "data")
    checkpoint = pretrained / "checkpoints/best.ckpt"
    neuromtm("test", "--config", pretrained / "config.yaml", "--ckpt_path", checkpoint, *same)

    from neuromtm.data.manifest import add_shard
    from neuromtm.data.shards import read_shard, write_shard

    path = tmp_path / "data" / "sim-0-00.h5"
    shard = read_shard(path)
    splits = shard.header.splits
    splits["train"][0], splits["test"][0] = splits["test"][0], splits["train"][0]
    path.unlink()
    write_shard(path, shard)
    add_shard(path, "pretrain")
    line = refusal(capsys, "test", "--config", pretrained / "config.yaml", "--ckpt_path", checkpoint, *same)
    assert "sim-0-00" in line
    assert "split" in line


def test_fine_tuning_takes_the_masking_of_the_checkpoint(root, sessions_dir, temporal, tmp_path):
    neuromtm(*finetune(root, sessions_dir, temporal / "checkpoints/best.ckpt", "--run_dir", tmp_path / "run"))
    assert record(tmp_path / "run").objective.schemes == ("temporal",)


def test_masking_that_is_given_wins_in_fine_tuning(root, sessions_dir, temporal, tmp_path):
    given = ("--model.objective.schemes", "[neuron]")
    neuromtm(*finetune(root, sessions_dir, temporal / "checkpoints/best.ckpt", "--run_dir", tmp_path / "run", *given))
    assert record(tmp_path / "run").objective.schemes == ("neuron",)


def test_a_model_is_not_tested_with_prompts_it_was_not_trained_with(capsys, temporal, tmp_path):
    config, checkpoint = temporal / "config.yaml", temporal / "checkpoints/best.ckpt"
    other = ("--model.objective.schemes", "[causal]", "--run_dir", tmp_path)
    line = refusal(capsys, "test", "--config", config, "--ckpt_path", checkpoint, *other)
    assert "temporal" in line
    assert "causal" in line


@pytest.mark.parametrize("option", ["--data.batch_size", "--seed_everything"])
def test_a_run_does_not_go_on_with_other_batches(capsys, root, sessions_dir, pretrained, tmp_path, option):
    run_dir = shutil.copytree(pretrained, tmp_path / "run")
    command = pretrain(root, sessions_dir, "--run_dir", run_dir, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    assert f"{option.removeprefix('--')} was" in refusal(capsys, *command, option, "8")

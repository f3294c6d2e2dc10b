"""The command line: its help, its options, and what it says to users who err."""

import json
import re
import shutil
import warnings

import h5py
import numpy as np
import pytest
import torch

from data_prep.__main__ import main as data_prep
from neuromtm.commands.main import COMMANDS, LIGHTNING
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import read_header
from tests.running import (
    EIDS,
    HELDOUT,
    SHORT,
    SIMULATE,
    finetune,
    neuromtm,
    neuromtm_process,
    pretrain,
    refusal,
)


def output(capsys, *arguments):
    """What a command that ends well prints."""
    capsys.readouterr()
    code = 0
    try:
        neuromtm(*arguments)
    except SystemExit as ended:
        code = ended.code
    assert not code
    return capsys.readouterr().out


# ---- help ----


def test_the_help_names_every_command(capsys):
    text = output(capsys, "--help")
    assert all(name in text for name in (*LIGHTNING, *COMMANDS))
    assert "you never run on your" not in text  # Lightning's, cut in mid-sentence


@pytest.mark.parametrize("command", LIGHTNING)
def test_the_help_says_every_option_with_its_meaning(capsys, command):
    lines = output(capsys, command, "--help").split("\noptions:\n")[1].splitlines()
    options = [i for i, line in enumerate(lines) if line.startswith("  --") and ".help" not in line]
    assert len(options) > 50
    for number in options:
        beside = lines[number].strip().partition("  ")[2]
        meaning = (beside or lines[number + 1]).strip()
        assert meaning[:1].isalpha() or meaning[:1] == "`", lines[number]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_the_commands_beside_them(capsys, command):
    text = output(capsys, command, "--help")
    assert text.startswith(f"usage: neuromtm {command}")
    assert re.search(r"^  (?!-h, --help)\S", text, flags=re.MULTILINE), "an argument beside --help"


def test_the_configuration_printed_is_one_that_can_be_given_again(capsys, root, tmp_path):
    printed = output(capsys, "fit", "--config", root / "conf" / "pretrain.yaml", "--data.root", "x", "--print_config")
    (tmp_path / "again.yaml").write_text(printed)
    assert output(capsys, "fit", "--config", tmp_path / "again.yaml", "--print_config") == printed


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--model.schedul", "cosine", "model.schedul"),
        ("--model.lr", "fast", "model.lr"),
        ("--model.objective.schemes", "[neurons]", "neurons"),
        ("--model.backbone.init_args.widht", "3", "widht"),
    ],
)
def test_an_option_that_is_not_understood(capsys, root, sessions_dir, option, value, message):
    assert message in refusal(capsys, *pretrain(root, sessions_dir, option, value))


# ---- noise ----


def test_a_run_says_nothing_that_is_not_the_users_business(root, sessions_dir, tmp_path, capfd):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        neuromtm(*pretrain(root, sessions_dir, "--run_dir", tmp_path / "run"))
    text = capfd.readouterr().err + " ".join(str(warning.message) for warning in said)
    for noise in ("litlogger", "LeafSpec", "args parameter", "weights_only", "sync_dist"):
        assert noise not in text
    assert not (tmp_path / "run" / "hparams.yaml").exists()


# ---- what users get wrong: data ----


@pytest.fixture
def copied(sessions_dir, tmp_path):
    """A data folder that may be changed."""
    return shutil.copytree(sessions_dir, tmp_path / "data")


def test_a_missing_data_folder(capsys, root, tmp_path):
    assert "no such folder" in refusal(capsys, *pretrain(root, tmp_path / "none", "--run_dir", tmp_path / "run"))
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_empty_manifest(capsys, root, copied, tmp_path):
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps(manifest | {"sessions": []}))
    assert "lists no session" in refusal(capsys, *pretrain(root, copied, "--run_dir", tmp_path / "run"))


def test_a_wrong_eid(capsys, root, sessions_dir, tmp_path):
    line = refusal(capsys, *pretrain(root, sessions_dir, "--run_dir", tmp_path, "--data.sessions", "[sim-9]"))
    assert "no session 'sim-9'" in line
    assert EIDS[0] in line


def test_sessions_of_different_bins(capsys, root, copied, tmp_path):
    other = tmp_path / "other"
    data_prep(["simulate", "--out", str(other), "--seed", "1", *SIMULATE, "--window-s", "-0.1", "0.4"])
    shutil.copy(other / "sim-1-00.h5", copied)
    add_shard(copied / "sim-1-00.h5", "pretrain")
    line = refusal(capsys, *pretrain(root, copied, "--run_dir", tmp_path / "run"))
    assert "differ in their bins" in line
    assert "sim-1-00" in line


def test_a_shard_of_another_format_version(capsys, root, copied, tmp_path):
    with h5py.File(copied / f"{EIDS[1]}.h5", "a") as file:
        file.attrs["format_version"] = 7
    line = refusal(capsys, *pretrain(root, copied, "--run_dir", tmp_path / "run"))
    assert f"{EIDS[1]}.h5" in line
    assert "version 7" in line


@pytest.mark.parametrize("share", [0.1, 0.6, 0.98])
def test_a_shard_cut_short(capsys, root, copied, tmp_path, share):
    path = copied / f"{EIDS[1]}.h5"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    line = refusal(capsys, *pretrain(root, copied, "--run_dir", tmp_path / "run"))
    assert path.name in line


def test_more_bins_than_the_model_takes(capsys, root, sessions_dir, tmp_path):
    run_dir = tmp_path / "run"
    command = pretrain(root, sessions_dir, "--run_dir", run_dir)
    line = refusal(capsys, *command, "--model.backbone.max_bins", "19")
    assert "20 bins a trial, but the model takes at most 19" in line
    # nothing is in the way of the mended command
    neuromtm(*command, "--trainer.max_steps", "1")
    assert (run_dir / "config.yaml").exists()


# ---- what users get wrong: checkpoints ----


@pytest.fixture
def best(pretrained):
    return pretrained / "checkpoints" / "best.ckpt"


def evaluate(pretrained, *more):
    """The command that tests a run, with options that come later."""
    return ("test", "--config", pretrained / "config.yaml", *more)


def test_a_test_without_a_checkpoint(capsys, pretrained, tmp_path):
    assert "--ckpt_path" in refusal(capsys, *evaluate(pretrained, "--run_dir", tmp_path))


def test_a_test_of_the_last_checkpoint_where_there_is_none(capsys, caplog, pretrained, tmp_path):
    line = refusal(capsys, *evaluate(pretrained, "--run_dir", tmp_path, "--ckpt_path", "last"))
    assert f"{tmp_path / 'checkpoints' / 'last.ckpt'} does not exist" in line
    assert "training starts" not in caplog.text + capsys.readouterr().err


def test_a_test_without_a_checkpoint_of_a_fine_tuned_run(capsys, root, sessions_dir, tmp_path):
    line = refusal(
        capsys, "test", "--config", root / "conf" / "finetune.yaml", *SHORT, "--data.root", sessions_dir,
        "--run_dir", tmp_path,
    )  # fmt: skip
    assert "--ckpt_path" in line


def test_a_missing_checkpoint(capsys, pretrained, tmp_path):
    line = refusal(capsys, *evaluate(pretrained, "--run_dir", tmp_path, "--ckpt_path", tmp_path / "none.ckpt"))
    assert "none.ckpt: no such checkpoint" in line
    assert not list(tmp_path.glob("config*"))


def test_a_checkpoint_cut_short(capsys, pretrained, best, tmp_path):
    (tmp_path / "short.ckpt").write_bytes(best.read_bytes()[:-1000])
    line = refusal(capsys, *evaluate(pretrained, "--run_dir", tmp_path, "--ckpt_path", tmp_path / "short.ckpt"))
    assert "short.ckpt: not a readable checkpoint" in line


@pytest.mark.parametrize("content", [{"state_dict": {}}, torch.zeros(3)], ids=["dictionary", "tensor"])
def test_a_torch_file_that_is_not_ours(capsys, pretrained, tmp_path, content):
    torch.save(content, tmp_path / "other.pt")
    line = refusal(capsys, *evaluate(pretrained, "--run_dir", tmp_path, "--ckpt_path", tmp_path / "other.pt"))
    assert "other.pt: not a checkpoint of neuromtm" in line


def test_a_checkpoint_of_other_sizes(capsys, pretrained, best, tmp_path):
    line = refusal(
        capsys, *evaluate(pretrained, "--run_dir", tmp_path, "--ckpt_path", best, "--model.backbone.width", "32")
    )
    assert "width 16 there and 32 here" in line


def test_a_checkpoint_of_another_class(capsys, pretrained, best, tmp_path):
    checkpoint = torch.load(best, weights_only=True)
    checkpoint["neuromtm"]["backbone"]["class_path"] = "neuromtm.models.lfads.Other"
    torch.save(checkpoint, tmp_path / "other.ckpt")
    line = refusal(capsys, *evaluate(pretrained, "--run_dir", tmp_path, "--ckpt_path", tmp_path / "other.ckpt"))
    assert "model of another class, neuromtm.models.lfads.Other" in line


def test_pretrained_weights_of_another_model(capsys, root, sessions_dir, best, tmp_path):
    command = finetune(root, sessions_dir, best, "--run_dir", tmp_path / "run")
    line = refusal(capsys, *command, "--model.backbone", "neuromtm.models.ndt1.NDT1")
    assert "width 16 there and 512 here" in line


def test_missing_pretrained_weights(capsys, root, sessions_dir, tmp_path):
    command = finetune(root, sessions_dir, tmp_path / "none.ckpt", "--run_dir", tmp_path / "run")
    assert "none.ckpt: no such checkpoint" in refusal(capsys, *command)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_session_that_the_checkpoint_does_not_know(capsys, pretrained, best, tmp_path):
    options = ("--run_dir", tmp_path, "--ckpt_path", best, "--data.sessions", f"[{HELDOUT}]")
    line = refusal(capsys, *evaluate(pretrained, *options))
    assert f"does not know the session {HELDOUT}" in line


def test_other_neurons_than_the_checkpoint_was_trained_with(capsys, pretrained, best, sessions_dir, tmp_path):
    threshold = float(np.median(read_header(sessions_dir / f"{EIDS[0]}.h5").neurons.firing_rate_hz))
    options = ("--run_dir", tmp_path, "--ckpt_path", best, "--data.min_firing_rate_hz", threshold)
    line = refusal(capsys, *evaluate(pretrained, *options))
    assert EIDS[0] in line
    assert "neurons" in line


def test_going_on_with_other_neurons(capsys, root, sessions_dir, pretrained, tmp_path):
    run_dir = shutil.copytree(pretrained, tmp_path / "run")
    command = pretrain(root, sessions_dir, "--run_dir", run_dir, "--ckpt_path", "last", "--trainer.max_epochs", "2")
    line = refusal(capsys, *command, "--data.regions", "[VISp]")
    assert "last.ckpt: the neurons of sim-0-00, sim-0-01, sim-0-02 are not those it was trained with" in line
    assert "data.regions" in line


# ---- what users get wrong: runs ----


def test_a_used_run_directory(capsys, root, sessions_dir, pretrained):
    before = (pretrained / "config.yaml").read_text()
    line = refusal(capsys, *pretrain(root, sessions_dir, "--run_dir", pretrained, "--model.lr", "1"))
    assert "holds a run already" in line
    assert "--auto_resume true" in line
    assert (pretrained / "config.yaml").read_text() == before


def test_going_on_with_a_run_in_the_directory_of_another(capsys, root, sessions_dir, pretrained, best, tmp_path):
    other = shutil.copytree(pretrained, tmp_path / "other")
    before = {path.name: path.read_bytes() for path in (other / "checkpoints").iterdir()}
    line = refusal(capsys, *pretrain(root, sessions_dir, "--run_dir", other, "--ckpt_path", best))
    assert "holds a run already" in line
    assert {path.name: path.read_bytes() for path in (other / "checkpoints").iterdir()} == before


def test_going_on_to_an_epoch_that_is_past(capsys, root, sessions_dir, tmp_path):
    command = pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", "--model.schedule", "constant")
    neuromtm(*command, "--trainer.max_epochs", "2")
    command = (*command, "--ckpt_path", "last")
    neuromtm(*command, "--trainer.max_epochs", "3")
    assert "max_epochs=1" in refusal(capsys, *command, "--trainer.max_epochs", "1")


def test_a_run_directory_that_is_a_file(capsys, root, sessions_dir, tmp_path):
    (tmp_path / "file").touch()
    for run_dir in (tmp_path / "file", tmp_path / "file" / "run"):
        assert "file is a file" in refusal(capsys, *pretrain(root, sessions_dir, "--run_dir", run_dir))


def test_a_gpu_that_is_not_there(capsys, root, sessions_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("lightning.pytorch.accelerators.cuda.num_cuda_devices", lambda: 0)
    command = pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", "--trainer.accelerator", "gpu")
    assert "gpu" in refusal(capsys, *command).lower()


def test_a_schedule_without_an_end(capsys, root, sessions_dir, tmp_path):
    command = pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", "--trainer.max_epochs", "-1")
    assert "needs an end" in refusal(capsys, *command)


def test_a_prediction_on_two_devices(capsys, pretrained, best, tmp_path):
    options = ("--run_dir", tmp_path, "--ckpt_path", best, "--trainer.devices", "2")
    assert "one device" in refusal(capsys, "predict", "--config", pretrained / "config.yaml", *options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model.lr", "0"), "lr is 0"),
        (("--model.objective.causal_ratio", "1.5"), "causal_ratio is 1.5"),
        (("--model.objective.schemes", "[neuron,neuron]"), "twice"),
        (("--data.batch_size", "0"), "batch_size"),
        (("--model.backbone.n_heads", "3"), "width 16 in 3 heads"),
        (("--seed_everything", "-5"), "seed_everything is -5"),
        (("--checkpoint_every_n_minutes", "0"), "checkpoint_every_n_minutes is 0"),
        (("--checkpoint_every_n_minutes", ".nan"), "checkpoint_every_n_minutes is nan"),
        (("--rank_timeout_s", "-1"), "rank_timeout_s is -1"),
        (("--trainer.accelerator", "tpuu"), "tpuu"),
        (("--trainer.devices", "0"), "devices"),
        (("--activity.n_val_neurons", "0"), "n_val_neurons is 0"),
        (("--figures.n_val_sessions", "-1"), "n_val_sessions is -1"),
    ],
)
def test_options_that_cannot_work(capsys, root, sessions_dir, tmp_path, options, message):
    command = pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", *options)
    assert message in refusal(capsys, *command)


def test_the_program_itself_ends_with_one_line_and_code_2(root, tmp_path):
    result = neuromtm_process(*pretrain(root, tmp_path / "none", "--run_dir", tmp_path / "run"), check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("neuromtm: ")
    assert result.stderr.count("neuromtm: ") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ceiling", "--data", "nowhere", "--out", "x"), "no such folder"),
        (("compare", "mtm"), "NAME=RUN"),
        (("compare", "mtm=nowhere"), "no such run directory"),
    ],
)
def test_the_tools_refuse_likewise(capsys, arguments, message):
    assert message in refusal(capsys, *arguments)

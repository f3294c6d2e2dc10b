"""Adapting a model is the fine-tuning of the command line, and leaves nothing else changed."""

import logging
import random
import signal
import tempfile
import warnings

import numpy as np
import pytest
import torch

import neuromtm
from neuromtm.errors import CheckpointError, ConfigError, DataError, TrainingError
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS, HELDOUT, finetune
from tests.running import neuromtm as command

ONE_EPOCH = {"max_epochs": 1, "accelerator": "cpu", "progress": False}


@pytest.fixture(scope="module")
def model(pretrained):
    return neuromtm.load(pretrained)


@pytest.fixture(scope="module")
def heldout(sessions_dir):
    return neuromtm.Sessions(sessions_dir, role="heldout")


@pytest.fixture(scope="module")
def adapted(model, heldout):
    return model.adapt(heldout, seed=3, **ONE_EPOCH)


def weights_of(model):
    return {name: value.clone() for name, value in model.stitched.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(value, second[name]) for name, value in first.items())


def test_adapting_equals_the_command_bit_by_bit(adapted, root, sessions_dir, pretrained, tmp_path):
    best = pretrained / "checkpoints" / "best.ckpt"
    command(*finetune(root, sessions_dir, best, "--run_dir", tmp_path / "run", "--seed_everything", 3))
    by_command = neuromtm.load(tmp_path / "run")
    assert same(weights_of(by_command), weights_of(adapted))
    assert tuple(adapted.sessions) == (HELDOUT,)
    assert adapted.sessions == by_command.sessions
    assert dict(adapted.record.trials) == dict(by_command.record.trials)
    assert dict(adapted.record.subjects) == dict(by_command.record.subjects)


def test_another_seed_is_another_training(adapted, model, heldout):
    assert not same(weights_of(model.adapt(heldout, seed=4, **ONE_EPOCH)), weights_of(adapted))


def test_a_saved_model_adapts_to_the_same(adapted, model, heldout, tmp_path):
    again = neuromtm.load(model.save(tmp_path / "model")).adapt(heldout, seed=3, **ONE_EPOCH)
    assert same(weights_of(again), weights_of(adapted))


def test_an_adapted_model_can_be_saved_and_its_card_names_the_pretraining(adapted, tmp_path):
    folder = adapted.save(tmp_path / "model")
    assert same(weights_of(neuromtm.load(folder)), weights_of(adapted))
    text = (folder / "README.md").read_text()
    assert "pretrained on 3 further sessions of 3 subjects" in text
    assert all(eid in text for eid in EIDS)


def test_a_run_directory_that_is_named_is_one_of_the_command_line(model, heldout, tmp_path):
    run = tmp_path / "run"
    adapted = model.adapt(heldout, run_dir=run, **ONE_EPOCH)
    assert adapted.name == str(run)
    assert same(weights_of(neuromtm.load(run)), weights_of(adapted))
    best = run / "checkpoints" / "best.ckpt"
    command("test", "--config", run / "config.yaml", "--ckpt_path", best, "--figures.n_val_sessions", 0)
    assert list(neuromtm.load(run).metrics["sessions"]) == [HELDOUT]
    with pytest.raises(ConfigError, match="is in use already"):
        model.adapt(heldout, run_dir=run, **ONE_EPOCH)


def test_the_model_the_random_numbers_and_the_disk_stay_as_they_are(model, heldout, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    before = weights_of(model)

    def draws():
        return random.random(), np.random.random(), torch.rand(2).tolist()  # noqa: NPY002 (the global stream itself)

    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    expected = draws()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)  # noqa: NPY002
    model.adapt(heldout, **ONE_EPOCH)
    assert draws() == expected
    assert same(weights_of(model), before)
    assert not model.stitched.training
    assert not list(tmp_path.iterdir())


def test_options_and_overlays_reach_the_training(model, heldout, tmp_path):
    run = tmp_path / "run"
    (tmp_path / "overlay.yaml").write_text("data:\n  batch_size: 4\n")
    overlays = [tmp_path / "overlay.yaml", "trainer/cpu.yaml"]
    model.adapt(heldout, run_dir=run, lr=0.01, overlays=overlays, options={"data.cache": "memory"}, **ONE_EPOCH)
    text = (run / "config.yaml").read_text()
    for line in ("lr: 0.01", "batch_size: 4", "cache: memory", "max_epochs: 1", "check_val_every_n_epoch: 1"):
        assert f" {line}\n" in text


def test_without_progress_nothing_is_said_and_the_user_s_own_settings_stay(model, heldout, capfd):
    filters, levels = warnings.filters.copy(), logging.getLogger("lightning.pytorch").level
    with warnings.catch_warnings(record=True) as warned:
        model.adapt(heldout, **ONE_EPOCH)
    assert not [one for one in warned if "lightning" in str(one.filename) and one.category is not DeprecationWarning]
    assert (warnings.filters, logging.getLogger("lightning.pytorch").level) == (filters, levels)
    said = "".join(capfd.readouterr())
    assert "Seed set" not in said
    assert "Epoch" not in said
    assert "GPU available" not in said


def test_without_progress_nothing_is_said_of_schemes_that_the_sessions_do_not_allow(model, tmp_path):
    with warnings.catch_warnings(record=True) as warned:
        model.adapt(write(tmp_path), **ONE_EPOCH)  # its neurons have no known region
    assert not [one for one in warned if "metric" in str(one.message)]


def test_an_interrupt_is_an_interrupt_and_the_next_one_is_heard(model, heldout, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(MaskedModeling, "training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        model.adapt(heldout, **ONE_EPOCH)
    assert signal.getsignal(signal.SIGINT) is handler


# ---- what cannot be adapted to


def write(folder, *, eid="mine", n_trials=20, n_bins=20, bin_size_s=0.02, **options):
    counts = np.random.default_rng(0).poisson(0.4, (n_trials, n_bins, 6))
    return neuromtm.Sessions.write(folder, eid=eid, counts=counts, bin_size_s=bin_size_s, **options)


@pytest.mark.parametrize(
    ("sessions", "options", "error", "sentence"),
    [
        (lambda folder: write(folder, bin_size_s=0.04), {}, CheckpointError, "bins of 0.02 s, but .* of 0.04 s"),
        (lambda folder: write(folder, n_bins=40), {}, ConfigError, "40 bins a trial, .* at most 32"),
        (lambda folder: folder, {}, ConfigError, "takes neuromtm.Sessions, not a "),
        (write, {"max_epochs": 0}, ConfigError, "max_epochs is 0"),
        (write, {"lr": -1.0}, ConfigError, "lr is -1.0"),
        (write, {"seed": -1}, ConfigError, "seed_everything is -1"),
        (write, {"accelerator": "quantum"}, ConfigError, "accelerator is 'quantum', not one of auto, cpu, gpu"),
        (write, {"accelerator": "tpu"}, ConfigError, "accelerator is 'tpu'"),
        (write, {"accelerator": 3}, ConfigError, "accelerator is 3"),
        (write, {"max_epochs": 1.5}, ConfigError, "max_epochs is 1.5, not a whole number"),
        (write, {"max_epochs": "a"}, ConfigError, "max_epochs is 'a', not a whole number"),
        (write, {"lr": "fast"}, ConfigError, "lr is 'fast', not a number"),
        (write, {"lr": float("inf")}, ConfigError, "lr is inf, not a number"),
        (write, {"seed": "a"}, ConfigError, "seed is 'a', not a whole number"),
        (write, {"seed": 0.5}, ConfigError, "seed is 0.5, not a whole number"),
        (write, {"progress": "no"}, ConfigError, "progress is 'no', not True or False"),
        (write, {"options": ["x"]}, ConfigError, "options is .*, not a mapping"),
        (write, {"options": {3: "x"}}, ConfigError, "options is .*, not a mapping"),
        (write, {"options": {"data.batch_size": {1}}}, ConfigError, "a value that the command line cannot take"),
        (write, {"options": {"data.batch_size": "x"}}, ConfigError, "batch_size"),
        (write, {"overlays": "trainer/cpu.yaml"}, ConfigError, "not a list. Give a list of files"),
        (write, {"overlays": [None]}, ConfigError, "overlays: an entry is None, not a path"),
        (write, {"options": {"model.speed": 1}}, ConfigError, "speed"),
        (write, {"options": {"run_dir": "elsewhere"}}, ConfigError, "options names run_dir, which adapt sets"),
        (write, {"overlays": ["nowhere.yaml"]}, ConfigError, "nowhere.yaml: no such file, and no recipe"),
        (
            lambda folder: write(folder, splits={"train": range(16), "val": [], "test": range(16, 20)}),
            {},
            DataError,
            "no trial in the split 'val'",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_in_one_sentence(model, tmp_path, sessions, options, error, sentence):
    run = tmp_path / "run"
    with pytest.raises(error, match=sentence) as refused:
        model.adapt(sessions(tmp_path / "data"), run_dir=run, **(ONE_EPOCH | options))
    assert "\n" not in str(refused.value)
    assert not list(run.glob("pretrained.ckpt"))


def test_a_session_that_the_model_knows_by_other_trials_is_refused(model, sessions_dir, tmp_path):
    session = neuromtm.Sessions(sessions_dir)[EIDS[0]]
    other = write(tmp_path / "data", eid=EIDS[0])
    assert session.eid in model.sessions
    with pytest.raises(CheckpointError, match=f"other trials of {EIDS[0]}") as refused:
        model.adapt(other, **ONE_EPOCH)
    assert str(refused.value).startswith(f"{model.name}: was trained on")  # and not the temporary file of the training


def test_a_model_that_diverged_is_not_returned(model, heldout):
    with pytest.raises(TrainingError, match="The training diverged"):
        model.adapt(heldout, lr=1e9, **ONE_EPOCH)


@pytest.mark.parametrize("run_dir", ["", 3, "a\0b"])
def test_a_run_directory_is_a_path(model, heldout, run_dir):
    with pytest.raises(ConfigError, match=r"run_dir is .*, not a path"):
        model.adapt(heldout, run_dir=run_dir, **ONE_EPOCH)


def test_a_folder_without_sessions_of_the_role_is_refused(tmp_path):
    write(tmp_path)
    with pytest.raises(DataError, match="no session of the role 'pretrain'; there are heldout"):
        neuromtm.Sessions(tmp_path, role="pretrain")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "newton"}, "neither 'training' nor 'closed_form'"),
        ({"method": "closed_form", "max_epochs": 3, "lr": 0.1}, "leave out trainer.max_epochs, model.lr"),
        ({"method": "closed_form", "seed": 7}, "seed is 7, but method 'closed_form' draws nothing"),
        ({"method": "closed_form", "overlays": ["trainer/cpu.yaml"]}, "overlays are for a training"),
    ],
)
def test_an_adaptation_without_a_training_takes_no_options_of_one(model, heldout, arguments, words):
    with pytest.raises(ConfigError, match=words):
        model.adapt(heldout, progress=False, **arguments)

"""A model in Python predicts, embeds and scores what the commands do, and opens from whatever they leave."""

import json
import math
import os
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
import torch

import neuromtm
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError
from neuromtm.evaluation.tasks import FORWARD_FRACTION, TASKS, features_of
from neuromtm.metrics.keys import BPS_KEYS
from tests.running import EIDS
from tests.running import neuromtm as command

EID = EIDS[0]


@pytest.fixture(scope="module")
def model(pretrained):
    return neuromtm.load(pretrained)


@pytest.fixture(scope="module")
def session(sessions_dir):
    return neuromtm.Sessions(sessions_dir)[EID]


@pytest.fixture(scope="module")
def unseen(session):
    return session.select(split="test")


def of_checkpoint(run, *more):
    return ("--config", run / "config.yaml", "--ckpt_path", run / "checkpoints" / "best.ckpt", *more)


# ---- opening


@pytest.mark.parametrize("place", [".", "checkpoints", "checkpoints/best.ckpt", "checkpoints/last.ckpt"])
def test_a_run_or_a_file_in_it_opens(pretrained, place):
    model = neuromtm.load(pretrained / place)
    assert tuple(model.sessions) == EIDS
    assert (model.bin_size_s, model.n_bins, model.device.type) == (0.02, 20, "cpu")


def test_a_model_opens_and_predicts_without_data_and_without_lightning(pretrained):
    code = (
        "import sys, numpy, neuromtm\n"
        f"model = neuromtm.load({str(pretrained)!r})\n"
        f"model.predict(numpy.zeros((1, 20, model.sessions[{EID!r}].n_neurons), 'uint8'), eid={EID!r})\n"
        "assert not {'lightning', 'pytorch_lightning', 'jsonargparse', 'matplotlib'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_opening_draws_nothing_from_the_user_s_stream_of_random_numbers(pretrained):
    torch.manual_seed(0)
    neuromtm.load(pretrained)
    after = torch.rand(3)  # the user's own draw
    torch.manual_seed(0)
    assert torch.equal(torch.rand(3), after)


def test_the_sessions_are_those_of_the_data(model, session):
    info = model.sessions[EID]
    assert list(info.neurons) == session.neurons["uuid"].tolist()
    assert list(info.regions) == session.neurons["region"].tolist()


# ---- predictions and embeddings


@pytest.fixture(scope="module")
def predicted(pretrained, tmp_path_factory):
    """Folder of what `neuromtm predict` writes."""
    run = tmp_path_factory.mktemp("predicted") / "run"
    command("predict", *of_checkpoint(pretrained, "--run_dir", run))
    return run / "predictions"


@pytest.mark.parametrize("eid", EIDS)
def test_predictions_are_those_of_the_command_bit_by_bit(model, predicted, sessions_dir, eid):
    session = neuromtm.Sessions(sessions_dir)[eid]
    with h5py.File(predicted / f"{eid}.h5") as file:
        rates, trial = file["rates"][()], file["trial"][()]
    found = model.predict(session.counts[trial], eid=eid)
    assert found.dtype == rates.dtype == np.float32
    assert np.array_equal(found, rates)
    assert np.array_equal(model.predict(session.select(split="test")), rates)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.float32, np.float64, ">i4"])
def test_counts_of_any_numeric_type_are_the_same_counts(model, unseen, dtype):
    found = model.predict(unseen.counts.astype(dtype), eid=EID)
    assert np.array_equal(found, model.predict(unseen.counts, eid=EID))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.bfloat16])
def test_a_tensor_gives_a_tensor(model, unseen, dtype):
    counts = torch.from_numpy(unseen.counts).to(dtype)
    for method in (model.predict, model.embed):
        found = method(counts, eid=EID)
        assert isinstance(found, torch.Tensor)
        assert np.array_equal(found.numpy(), method(unseen.counts, eid=EID))


def test_arrays_that_cannot_be_written_to_or_lie_otherwise_in_memory_do_as_well(model, unseen):
    expected = model.predict(unseen.counts, eid=EID)
    fixed = unseen.counts.copy()
    fixed.flags.writeable = False
    assert np.array_equal(model.predict(fixed, eid=EID), expected)
    turned = np.asfortranarray(unseen.counts)
    assert np.array_equal(model.predict(turned, eid=EID), expected)


def test_the_counts_of_the_user_are_not_changed(model, unseen):
    before = unseen.counts.copy()
    model.score(unseen.counts, eid=EID, task="co_smoothing")
    assert np.array_equal(unseen.counts, before)


def test_batches_of_any_size_give_the_same_rates(model, session):
    whole = model.predict(session, batch_size=1000)
    for batch_size in (1, 7, 40):
        assert np.allclose(model.predict(session, batch_size=batch_size), whole, rtol=1e-5, atol=1e-7)


def test_a_prompt_is_asked_with_in_the_place_of_the_usual_one(model, unseen):
    usual = model.predict(unseen)
    assert np.array_equal(model.predict(unseen, prompt="neuron"), usual)
    assert not np.allclose(model.predict(unseen, prompt="causal"), usual)


def test_embeddings_are_the_states_that_the_rates_are_read_from(model, unseen, sessions_dir):
    states = model.embed(unseen)
    assert states.shape == (*unseen.counts.shape[:2], model.stitched.backbone.state_size)
    data = SessionDataModule(root=str(sessions_dir), sessions=[EID])
    data.setup()
    (group,) = data.groups(EID, "test")
    with torch.no_grad():
        assert np.array_equal(states, features_of(model.stitched, "neuron", group).states.numpy())
        read_out = model.stitched.stitchers[f"session:{EID}"].read_out
        rates = read_out(torch.from_numpy(states)).exp().numpy()
    assert np.allclose(rates, model.predict(unseen), rtol=1e-5)
    with pytest.raises(ConfigError, match="mean_over_bins is 'no', not True or False"):
        model.embed(unseen, mean_over_bins="no")
    means = model.embed(unseen, mean_over_bins=True)
    assert np.allclose(means, states.mean(1), atol=1e-6)


# ---- scores


@pytest.fixture(scope="module")
def tested(pretrained, tmp_path_factory):
    """Metrics of `neuromtm test`."""
    run = tmp_path_factory.mktemp("tested") / "run"
    command("test", *of_checkpoint(pretrained, "--run_dir", run))
    return json.loads((run / "metrics.json").read_text())


@pytest.mark.parametrize("task", TASKS)
def test_the_mean_over_neurons_is_that_of_a_test_exactly(model, sessions_dir, tested, task):
    sessions = neuromtm.Sessions(sessions_dir, eids=EIDS)
    for eid, session in sessions.items():
        score = model.score(session.select(split="test"), task=task)
        assert score.mean == tested["sessions"][eid][f"{task}_bps"]
        assert (score.eid, score.task) == (eid, task)
        assert score.uuid == model.sessions[eid].neurons
        assert score.region == model.sessions[eid].regions
        assert np.nanmean(score.bps) == pytest.approx(score.mean)


def slow_rates(model, counts, task, neuron, region):
    """(trial, bin) expected counts of a neuron by predictions of counts that were zeroed by hand; and its bins."""
    hidden = counts.copy()
    n_forward = max(1, round(FORWARD_FRACTION * counts.shape[1]))
    if task == "forward_prediction":
        hidden[:, -n_forward:] = 0
        return model.predict(hidden, eid=EID, prompt="causal")[:, -n_forward:, neuron], slice(-n_forward, None)
    if task == "inter_region":
        hidden[..., region == region[neuron]] = 0
    else:
        hidden[..., neuron] = 0
    if task == "intra_region":
        hidden[..., region != region[neuron]] = 0
    prompt = "neuron" if task == "co_smoothing" else task
    return model.predict(hidden, eid=EID, prompt=prompt)[..., neuron], slice(None)


@pytest.mark.parametrize("task", TASKS)
def test_both_conventions_equal_the_sums_of_a_slow_twin(model, unseen, task):
    counts, region = unseen.counts, unseen.neurons["region"]
    gains, spikes = [], []
    for neuron in range(counts.shape[2]):
        rates, bins = slow_rates(model, counts, task, neuron, region)
        x, r = counts[:, bins, neuron].astype(float), rates.astype(float)
        mean = x.mean()
        null = sum(mean - (c * math.log(mean) if c else 0) for c in x.flat)
        gains.append(null - (r - x * np.log(r)).sum())
        spikes.append(x.sum())
    score = model.score(unseen, task=task)
    own = [g / s / math.log(2) if s else math.nan for g, s in zip(gains, spikes, strict=True)]
    assert score.bps.tolist() == pytest.approx(own, rel=1e-3, abs=5e-4, nan_ok=True)
    assert score.mean == pytest.approx(np.nanmean(own), rel=1e-3, abs=5e-4)
    assert score.pooled == pytest.approx(sum(gains) / sum(spikes) / math.log(2), rel=1e-3, abs=5e-4)
    assert score.pooled != pytest.approx(score.mean, rel=1e-3)


def test_a_task_without_neurons_or_spikes_has_no_score(model, session):
    silent = np.zeros_like(session.counts[:3])
    score = model.score(silent, eid=EID, task="co_smoothing")
    assert math.isnan(score.mean)
    assert math.isnan(score.pooled)
    assert np.isnan(score.bps).all()


def test_the_metrics_of_a_tested_run_are_the_model_s_until_it_is_trained_on(pretrained, tmp_path):
    run = shutil.copytree(pretrained, tmp_path / "run")
    assert neuromtm.load(run).metrics is None
    of_sessions = dict.fromkeys(BPS_KEYS, 0.5)
    (run / "metrics.json").write_text(json.dumps({"sessions": {EID: of_sessions}, "mean": of_sessions}))
    assert neuromtm.load(run).metrics["mean"] == of_sessions
    assert neuromtm.load(run / "checkpoints" / "last.ckpt").metrics is None
    later = (run / "metrics.json").stat().st_mtime + 10
    os.utime(run / "checkpoints" / "best.ckpt", (later, later))
    assert neuromtm.load(run).metrics is None

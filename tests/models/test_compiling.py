"""Compiling the heavy part of an architecture for training."""

import copy
import shutil
from functools import partial

import pytest
import torch
from torch._dynamo.utils import counters

from neuromtm.batch import Scheme
from neuromtm.masking.objective import Objective
from neuromtm.models.compiling import compilable_parts
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.masked_cost import masked_cost
from tests.models.small_models import make_group, make_model, make_session

SIZES = {"a": ["CA1", "CA1", "VISp"], "b": ["CA1", "VISp", "VISp", "MOs"], "c": ["CA1", "VISp"] * 3}
SESSIONS = [make_session(eid, regions) for eid, regions in SIZES.items()]
without_compiler = pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="needs a C++ compiler")


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture
def by_tracing_alone(monkeypatch):
    """Traces and guards are the real ones; only the code is not generated, which would take a minute."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


def failed(error: Exception) -> None:
    raise AssertionError("could not be compiled") from error


def compiled(model: StitchedModel, on_failure=failed) -> StitchedModel:
    for part in compilable_parts(model):
        part.compile_training(on_failure)
    return model.train()


def step(model: StitchedModel, eids: str, scheme: Scheme, *, n_trials: int = 3) -> torch.Tensor:
    groups = [make_group(model.sessions[eid], n_trials=n_trials) for eid in eids]
    generator = torch.Generator().manual_seed(0)
    masked = [Objective(neurons_per_token=3).hide(scheme, g.counts, g.region, generator) for g in groups]
    cost = masked_cost(model, groups, masked, scheme)
    loss = cost.total / cost.n_targets
    model.zero_grad()
    loss.backward()
    return loss.detach()


@pytest.mark.parametrize("backbone", ["NDT1", "NDT2", "SpikeTokens"])
def test_sessions_schemes_and_batches_of_other_sizes_compile_nothing_anew(backbone, by_tracing_alone):
    model = compiled(make_model(SESSIONS, backbone=backbone))
    step(model, "a", "neuron")
    step(model, "ab", "causal")
    if backbone == "NDT2":  # the number of tokens differs between sessions, and padding needs a mask
        step(model, "ac", "neuron")
        step(model, "ac", "causal")
        step(model, "c", "causal")
        step(model, "c", "neuron")
    n_versions = counters["stats"]["unique_graphs"]
    for scheme in ("neuron", "causal", "intra_region", "inter_region", "temporal", "random_token"):
        for eids, n_trials in (("b", 5), ("cab", 2), ("a", 1), ("ca", 1), ("c", 4)):
            step(model, eids, scheme, n_trials=n_trials)
    assert counters["stats"]["unique_graphs"] == n_versions
    if backbone == "NDT1":
        assert n_versions == 2  # with causal attention and without


def test_a_pass_in_evaluation_is_not_compiled(by_tracing_alone):
    model = compiled(make_model(SESSIONS)).eval()
    step(model, "a", "neuron")
    with torch.no_grad():
        model.train()
        model.backbone.encoder(torch.zeros(2, 4, 12, dtype=torch.float64), None, None)
    assert counters["stats"]["unique_graphs"] == 0


def test_a_copy_and_the_saved_weights_know_nothing_of_it(by_tracing_alone):
    model = compiled(make_model(SESSIONS))
    names = list(model.state_dict())
    step(model, "a", "neuron")
    assert list(model.state_dict()) == names
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.backbone.encoder.parameters():
            parameter.zero_()
    assert step(other, "a", "neuron") != step(model, "a", "neuron")


@without_compiler
def test_compiled_passes_have_the_same_loss_and_gradients():
    options = {"dropout": 0.0, "embedding_dropout": 0.0, "n_layers": 1}
    plain, other = make_model(SESSIONS, **options).train(), compiled(make_model(SESSIONS, **options))
    for scheme in ("neuron", "causal"):
        torch.testing.assert_close(step(other, "ab", scheme), step(plain, "ab", scheme))
        for (name, mine), parameter in zip(other.named_parameters(), plain.parameters(), strict=True):
            assert (mine.grad is None) == (parameter.grad is None), name
            if mine.grad is not None:
                torch.testing.assert_close(mine.grad, parameter.grad)
    assert counters["stats"]["unique_graphs"] == 2


def test_without_a_compiler_the_training_goes_on_and_says_so_once(monkeypatch):
    def no_compiler(graph, inputs):
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=no_compiler))
    said = []
    options = {"dropout": 0.0, "embedding_dropout": 0.0}
    model = compiled(make_model(SESSIONS, **options), said.append)
    for _ in range(2):
        assert step(model, "a", "neuron") == step(make_model(SESSIONS, **options).train(), "a", "neuron")
    assert len(said) == 1

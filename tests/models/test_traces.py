"""Behaviour as channels of a model: hidden in every neural task, shown alone in encoding, predicted in decoding."""

from dataclasses import replace

import pytest
import torch
from small_models import N_BINS, every_pair, make_group, make_model, make_session
from torch import Tensor

from neuromtm.batch import SessionGroup, TraceStatistics
from neuromtm.errors import ConfigError
from neuromtm.evaluation.multimodal import decode_traces, encode_neurons
from neuromtm.evaluation.tasks import TASKS, features_of, predict_task
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import SCHEMES
from neuromtm.models.interface import Backbone, SessionInput
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from neuromtm.models.traces import StandardiseTraces

NAMES = ["whisker_motion_energy", "wheel_speed"]


def model_of(*, prompt: bool = True) -> StitchedModel:
    return make_model(backbone="NDT1", behaviors=NAMES, prompt=prompt)


def group_with(seed: int = 1, *, counts_seed: int = 0) -> SessionGroup:
    """Trials of session `a` with both traces, in which some entries are missing."""
    generator = torch.Generator().manual_seed(seed)
    traces = [torch.randn(3, N_BINS, generator=generator) for _ in NAMES]
    traces[0][1, 2:5] = torch.nan
    return replace(make_group(make_session("a"), seed=counts_seed), behavior=dict(zip(NAMES, traces, strict=True)))


def log_rates(model: StitchedModel, group: SessionGroup, traces: Tensor | None, scheme: str = "encoding") -> Tensor:
    return model([VisibleGroup("a", group.counts, traces=traces)], scheme).log_rates[0]


# ---- no leak at test


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("prompt", [None, "encoding"])
def test_no_neural_task_sees_behaviour(task, prompt):
    model, objective = model_of(), Objective(schemes=tuple(SCHEMES))
    predicted = [
        list(predict_task(task, model, objective, group, prompt=prompt))
        for group in (group_with(1), group_with(2), replace(group_with(), behavior={}))
    ]
    for others in predicted[1:]:
        for one, other in zip(predicted[0], others, strict=True):
            assert torch.equal(one.log_rates, other.log_rates)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_read_outs_and_predicted_rates_do_not_see_behaviour(scheme):
    one, other = (features_of(model_of(), scheme, group) for group in (group_with(1), group_with(2)))
    assert torch.equal(one.rates, other.rates)
    assert torch.equal(one.states, other.states)


def test_encoding_sees_behaviour_and_no_neuron():
    model = model_of()
    one, other = (encode_neurons(model, group_with(counts_seed=seed)).log_rates for seed in (0, 1))
    assert torch.equal(one, other)
    traces = group_with().traces(NAMES).double().requires_grad_()
    group = group_with()
    nothing = VisibleGroup("a", torch.zeros_like(group.counts), torch.ones_like(group.counts).bool(), traces=traces)
    weights = torch.randn(one.shape, generator=torch.Generator().manual_seed(0)).double()
    (moved,) = torch.autograd.grad((model([nothing], "encoding").log_rates[0] * weights).sum(), traces)
    assert torch.equal(moved != 0, ~traces.isnan())


def test_decoding_sees_neurons_and_no_behaviour():
    model = model_of()
    one, other = (decode_traces(model, group_with(seed)) for seed in (1, 2))
    assert torch.equal(one, other)
    counts = group_with().counts.clone().requires_grad_()
    decoded = decode_traces(model, replace(group_with(), counts=counts))
    assert decoded.shape == (3, N_BINS, 2)
    (moved,) = torch.autograd.grad(decoded[..., 1].sum(), counts)
    assert moved.abs().sum((0, 1)).min() > 0


# ---- hidden, missing and the mean are one


def test_missing_entries_add_nothing_and_hidden_ones_look_like_the_mean():
    model, group = model_of(), group_with()
    hidden = log_rates(model, group, None)
    assert torch.equal(log_rates(model, group, torch.full((3, N_BINS, 2), torch.nan)), hidden)
    mean = model.traces_of("a").center.expand(3, N_BINS, 2)
    torch.testing.assert_close(log_rates(model, group, mean), hidden, rtol=1e-12, atol=1e-12)
    shown = log_rates(model, group, group.traces(NAMES))
    assert not torch.allclose(shown, hidden)
    assert shown.isfinite().all()


def test_a_session_that_lacks_a_trace_has_it_missing_everywhere():
    group = group_with()
    some = replace(group, behavior={"wheel_speed": group.behavior["wheel_speed"]}).traces(NAMES)
    assert some[..., 0].isnan().all()
    assert torch.equal(some[..., 1], group.behavior["wheel_speed"])


def test_a_session_with_traces_and_one_without_give_together_what_each_gives_alone():
    model, traces = model_of(), group_with().traces(NAMES)
    groups = [
        VisibleGroup("a", make_group(model.sessions["a"]).counts, traces=traces),
        VisibleGroup("b", make_group(model.sessions["b"], n_trials=2).counts),
    ]
    together, alone = model(groups, "encoding"), [model([group], "encoding") for group in groups]
    for place, one in enumerate(alone):
        torch.testing.assert_close(together.log_rates[place], one.log_rates[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(together.traces[place], one.traces[0], rtol=1e-10, atol=1e-12)


def test_neurons_are_left_out_beside_traces_that_are_shown_as_in_a_pass_for_each():
    model, group = model_of(), group_with()
    session = SessionInput(
        model.stitchers["session:a"], group.counts, torch.zeros_like(group.counts).bool(), None, group.traces(NAMES)
    )
    rows = every_pair(3, [0, 4])
    plain = Backbone.left_out(model.backbone, session, "neuron", *rows)
    torch.testing.assert_close(model.backbone.left_out(session, "neuron", *rows), plain, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(plain, model.backbone.left_out(session._replace(traces=None), "neuron", *rows))


# ---- units and options


def test_traces_are_standardised_by_the_session_s_own_statistics_and_put_back():
    units = StandardiseTraces(2)
    units.measure(TraceStatistics(torch.tensor([2.0, -1.0]), torch.tensor([4.0, 0.5])))
    standardised = units(torch.tensor([[6.0, -2.0], [torch.nan, -1.0]]))
    assert standardised.tolist()[0] == [1.0, -2.0]
    assert standardised[1, 0].isnan()
    assert standardised[1, 1] == 0
    assert units.undo(torch.tensor([1.0, -2.0])).tolist() == [6.0, -2.0]


def test_before_training_the_mean_of_every_trace_is_predicted():
    torch.manual_seed(0)
    model = StitchedModel(NDT1(width=12, n_layers=1, n_heads=2, mlp_width=16, behaviors=NAMES)).eval()
    model.add_session(make_session("a"))
    model.traces_of("a").measure(TraceStatistics(torch.tensor([2.0, -1.0]), torch.tensor([4.0, 0.5])))
    decoded = decode_traces(model, group_with())
    assert torch.equal(decoded, torch.tensor([2.0, -1.0]).expand(3, N_BINS, 2))


@pytest.mark.parametrize("behaviors", ["whisker_motion_energy", ["a", "a"], [""]])
def test_names_that_are_no_list_of_different_ones_are_refused(behaviors):
    with pytest.raises(ConfigError, match=r"behaviors is .*, not a list of different names"):
        NDT1(behaviors=behaviors)

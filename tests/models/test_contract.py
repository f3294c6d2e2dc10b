"""What every architecture must hold; that nothing hidden leaks is in test_no_leak.py.

An architecture joins by a line in `small_models.BACKBONES`.
"""

import copy
import io
import json
from collections.abc import Iterable

import pytest
import torch
from small_models import BACKBONES, N_BINS, every_pair, make_group, make_model, make_session

from neuromtm.masking.masked import mask
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import BitsPerSpike, poisson_nll
from neuromtm.models import ndt2, spike_tokens
from neuromtm.models.interface import Backbone, Output, SessionInput
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from neuromtm.training.checkpoint import CheckpointRecord

architectures = pytest.mark.parametrize("backbone", BACKBONES)
SCHEMES = ("neuron", "causal", "inter_region")
SESSIONS = (make_session("a"), make_session("b"), make_session("c", ["CA1", "MOs"]))


def fresh_model(backbone: str, seed: int = 0) -> StitchedModel:
    """Untrained, in single precision and in training mode, without sessions."""
    torch.manual_seed(seed)
    return StitchedModel(BACKBONES[backbone]())


def shown(model: StitchedModel, eid: str, n_trials: int = 3) -> VisibleGroup:
    """Counts in the precision of the model, nothing hidden."""
    counts = make_group(model.sessions[eid], n_trials=n_trials).counts
    return VisibleGroup(eid, counts.to(next(model.parameters()).dtype))


def weights_of(model: StitchedModel, eid: str) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.stitchers[f"session:{eid}"].state_dict())


def train(model: StitchedModel, eid: str, *, n_steps: int, lr: float = 1e-2) -> list[float]:
    """Learn a session's counts behind fixed masks; the cost of the hidden entries, in evaluation mode, at each step."""
    group = make_group(model.sessions[eid], n_trials=4)
    counts = group.counts.float()
    masked = Objective().hide("neuron", counts, group.region, torch.Generator().manual_seed(0))
    visible, costs = VisibleGroup(eid, masked.visible, masked.hidden), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.1)
    for step in range(n_steps + 1):
        with torch.no_grad():
            log_rates = model.eval()([visible], "neuron").log_rates[0]
            costs.append(poisson_nll(log_rates, counts)[masked.target].mean().item())
        if step < n_steps:
            optimizer.zero_grad()
            output = model.train()([visible], "neuron")
            loss = poisson_nll(output.log_rates[0], counts)[masked.target].mean()
            (loss if output.own_loss is None else loss + output.own_loss).backward()
            optimizer.step()
    return costs


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_rates_have_the_shape_of_the_counts_and_states_one_size_for_all_sessions(backbone, scheme):
    model = make_model(SESSIONS, backbone=backbone)
    groups = [shown(model, eid, n_trials) for eid, n_trials in (("a", 2), ("c", 1))]
    output = model(groups, scheme)
    assert [rates.shape for rates in output.log_rates] == [group.visible.shape for group in groups]
    size = model.backbone.state_size
    assert [state.shape for state in output.states] == [(2, N_BINS, size), (1, N_BINS, size)]
    own_loss = model.train()(groups, scheme).own_loss
    assert own_loss is None or (own_loss.ndim == 0 and own_loss.isfinite())


@architectures
def test_states_tell_the_bins_and_the_trials_apart(backbone):
    model = make_model(backbone=backbone)
    states = model([shown(model, "a")], "neuron").states[0]
    assert states.std(dim=0).min() > 0
    assert states.std(dim=1).min() > 0


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_sessions_in_one_batch_give_what_each_gives_alone(backbone, scheme):
    model = make_model(SESSIONS, backbone=backbone)
    groups = [shown(model, session.eid, n) for n, session in enumerate(SESSIONS, start=1)]
    together = model(groups, scheme)
    for rates, states, group in zip(together.log_rates, together.states, groups, strict=True):
        alone = model([group], scheme)
        torch.testing.assert_close(rates, alone.log_rates[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(states, alone.states[0], rtol=1e-10, atol=1e-12)


def partly_hidden(model: StitchedModel, eid: str, n_trials: int) -> VisibleGroup:
    """Trials with a half of their entries hidden, and the number of neurons that have a spike."""
    group = make_group(model.sessions[eid], n_trials=n_trials, seed=n_trials)
    hidden = torch.rand(group.counts.shape, generator=torch.Generator().manual_seed(n_trials)) < 0.5
    return VisibleGroup(eid, group.counts.masked_fill(hidden, 0), hidden, group.n_active)


def gradients(model: StitchedModel, outputs: Iterable[Output]) -> dict[str, torch.Tensor]:
    """Of a sum of all log-rates and states with random weights, by all weights of the model that take part."""
    model.zero_grad()
    generator = torch.Generator().manual_seed(0)
    for output in outputs:
        for rates, states in zip(output.log_rates, output.states, strict=True):
            for values in (rates, states):
                weights = torch.randn(values.shape, generator=generator, dtype=values.dtype)
                (values * weights).sum().backward(retain_graph=True)
    return {name: weights.grad.clone() for name, weights in model.named_parameters() if weights.grad is not None}


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("mask_input", [False, True])
@pytest.mark.parametrize("least", [None, 0.0], ids=["passes", "one-pass"])
@pytest.mark.parametrize(
    "batch", [[("a", 3), ("c", 1), ("b", 2), ("a", 1)], [("c", 2), ("d", 2)], [("a", 2), ("b", 2)]], ids=str
)
def test_one_batch_of_sessions_gives_the_results_and_gradients_of_a_loop_over_them(
    batch, least, mask_input, scheme, backbone, monkeypatch
):
    if least is not None:  # as on another device, sessions of very different sizes go together
        monkeypatch.setattr(ndt2, "LEAST_FILLED", least)
        monkeypatch.setattr(spike_tokens, "LEAST_FILLED", least)
    options = {"mask_input": mask_input} if "mask_input" in BACKBONES[backbone]().options else {}
    model = make_model((*SESSIONS, make_session("d", ["CA1"] * 5)), backbone=backbone, **options)
    groups = [partly_hidden(model, eid, n_trials) for eid, n_trials in batch]
    together, alone = model(groups, scheme), [model([group._replace(n_active=None)], scheme) for group in groups]
    for rates, states, one in zip(together.log_rates, together.states, alone, strict=True):
        torch.testing.assert_close(rates, one.log_rates[0], rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(states, one.states[0], rtol=1e-10, atol=1e-12)
    found, expected = gradients(model, [together]), gradients(model, alone)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-9, msg=lambda text, n=name: f"{n}: {text}")


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_sessions_of_different_sizes_train_to_finite_gradients(scheme, backbone, monkeypatch):
    monkeypatch.setattr(ndt2, "LEAST_FILLED", 0.0)
    monkeypatch.setattr(spike_tokens, "LEAST_FILLED", 0.0)
    model = make_model(SESSIONS, backbone=backbone).train()
    output = model([partly_hidden(model, eid, n_trials) for eid, n_trials in (("a", 3), ("c", 1))], scheme)
    assert all(values.isfinite().all() for values in (*output.log_rates, *output.states))
    assert all(gradient.isfinite().all() for gradient in gradients(model, [output]).values())


@architectures
def test_a_new_session_leaves_what_the_others_get_as_it_was(backbone):
    model = make_model(backbone=backbone)
    before, weights = model([shown(model, "a")], "neuron").log_rates[0], weights_of(model, "a")
    model.add_session(make_session("c"))
    model.double()
    assert torch.equal(model([shown(model, "a")], "neuron").log_rates[0], before)
    assert all(torch.equal(own, weights[name]) for name, own in weights_of(model, "a").items())


@architectures
def test_two_sessions_with_equal_neuron_counts_do_not_share_weights(backbone):
    model = fresh_model(backbone)
    for eid in "ab":
        model.add_session(make_session(eid))
    before = weights_of(model, "b")
    assert any(not torch.equal(own, before[name]) for name, own in weights_of(model, "a").items())
    trained = weights_of(model, "a")
    train(model, "a", n_steps=2)
    assert all(torch.equal(own, before[name]) for name, own in weights_of(model, "b").items())
    assert any(not torch.equal(own, trained[name]) for name, own in weights_of(model, "a").items())


@architectures
def test_other_sessions_and_prompts_get_no_gradient(backbone):
    model = make_model(backbone=backbone).train()
    # not the causal scheme, in which a recurrent encoder has no use for its way back
    output = model([shown(model, "a")], "neuron")
    loss = output.log_rates[0].sum() + (0 if output.own_loss is None else output.own_loss)
    loss.backward()
    assert all(weights.grad is None for weights in model.stitchers["session:b"].parameters())
    # what no part of any batch uses would have no gradient either
    without = {name for name, weights in model.backbone.named_parameters() if weights.grad is None}
    occasional = {name for name, _ in model.backbone.named_parameters() if name.startswith(("prompts.", "channels."))}
    assert without == occasional - {"prompts.neuron"}


@architectures
def test_a_checkpoint_s_record_builds_the_same_model(backbone):
    model = make_model(backbone=backbone)
    record = CheckpointRecord.of(
        model,
        n_bins=N_BINS,
        bin_size_s=0.02,
        objective=Objective(),
        trials={"a": "", "b": ""},
        batches={},
        subjects={"a": "mouse-a", "b": "mouse-b"},
    )
    file = io.BytesIO()
    torch.save({"neuromtm": record.to_plain(), "state_dict": model.state_dict()}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    plain = CheckpointRecord.from_checkpoint(loaded, name="file")
    again = StitchedModel(plain.build_backbone(name="file"))
    plain.require_backbone(model.backbone, name="file")
    for session in plain.sessions:
        again.add_session(session)
    again.double().eval().load_state_dict(loaded["state_dict"])
    for scheme in SCHEMES:
        rates, rates_again = (m([shown(m, "a")], scheme).log_rates[0] for m in (model, again))
        assert torch.equal(rates, rates_again)


@architectures
def test_options_are_plain_and_complete(backbone):
    model = BACKBONES[backbone]()
    again = type(model)(**json.loads(json.dumps(model.options)))
    assert again.options == model.options
    assert repr(again) == repr(model)


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_before_training_it_predicts_the_mean_rates_and_scores_zero_bits_per_spike(backbone, scheme):
    model, session = fresh_model(backbone).eval(), make_session("a")
    counts = make_group(session, n_trials=6).counts
    mean_counts = counts.mean((0, 1))
    model.add_session(session, mean_counts)
    model.double()
    with torch.no_grad():
        log_rates = model([VisibleGroup("a", counts)], scheme).log_rates[0]
    torch.testing.assert_close(log_rates.exp(), mean_counts.expand_as(log_rates), rtol=1e-6, atol=0)
    bps = BitsPerSpike(session.n_neurons)
    bps.update(log_rates, counts)
    torch.testing.assert_close(bps.compute(), torch.zeros(session.n_neurons).double(), rtol=0, atol=1e-9)


@architectures
def test_a_few_steps_lower_the_loss(backbone):
    model, session = fresh_model(backbone), make_session("a")
    model.add_session(session, make_group(session, n_trials=4).counts.mean((0, 1)).float())
    costs = train(model, "a", n_steps=20)
    assert costs[-1] < costs[0] - 0.01


@architectures
@pytest.mark.parametrize("scheme", SCHEMES)
def test_leaving_neurons_out_together_equals_one_pass_for_each(backbone, scheme):
    model, rows = make_model(backbone=backbone), every_pair(3, [5, 0, 2, 3, 6])
    # some entries are hidden already, as those of other regions are
    masked = mask(shown(model, "a").visible, torch.arange(7) > 4)
    session = SessionInput(model.stitchers["session:a"], masked.visible, masked.hidden)
    plain = Backbone.left_out(model.backbone, session, scheme, *rows)
    quick = model.backbone.left_out(session, scheme, *rows)
    torch.testing.assert_close(quick, plain, rtol=1e-10, atol=1e-12)


@architectures
@pytest.mark.filterwarnings("error")
def test_half_precision_gives_finite_rates_and_gradients(backbone, monkeypatch):
    monkeypatch.setattr(ndt2, "LEAST_FILLED", 0.0)
    monkeypatch.setattr(spike_tokens, "LEAST_FILLED", 0.0)
    model = make_model(SESSIONS, backbone=backbone).float().train()
    with torch.autocast("cpu", torch.bfloat16):
        output = model([shown(model, eid) for eid in "abc"], "causal")
        cost = poisson_nll(output.log_rates[0], shown(model, "a").visible).mean()
        (cost if output.own_loss is None else cost + output.own_loss).backward()
        assert all(rates.isfinite().all() for rates in (*output.log_rates, *output.states))
    assert all(weights.grad.isfinite().all() for weights in model.parameters() if weights.grad is not None)


@architectures
def test_half_precision_tells_nothing_of_a_neuron_left_out(backbone):
    model = make_model(backbone=backbone).float()
    few = shown(model, "a").visible
    many = few.clone()
    many[..., 2] += 200
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        one, other = (model.left_out(VisibleGroup("a", c), "neuron", torch.tensor([2])) for c in (few, many))
    assert (one - other).abs().max() < 0.05 * one.std()


@architectures
def test_the_weights_of_a_neuron_are_those_by_which_it_is_read_and_predicted(backbone):
    """Gradients of one neuron's rates: by the weights that read any neuron, and by those that predict this one."""
    model = make_model(backbone=backbone)
    model([shown(model, "a")], "neuron").log_rates[0][..., 2].sum().backward()
    stitcher = model.stitchers["session:a"]
    for weights in stitcher.parameters():
        weights.data = torch.zeros_like(weights) if weights.grad is None else weights.grad
    gradient = stitcher.neuron_weights()
    assert len(gradient) == model.sessions["a"].n_neurons
    reads, predicts = gradient.ne(0).all(dim=0), gradient.ne(0).sum(dim=0).eq(1) & gradient[2].ne(0)
    assert reads.any()
    assert predicts.any()
    assert (reads | predicts).all()

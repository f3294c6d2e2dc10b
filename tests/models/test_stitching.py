"""Sessions and their stitchers: named by eid, independent of each other, silent before training."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import N_BINS, make_group, make_model, make_session, scatter

from neuromtm.metrics.spikes import BitsPerSpike, poisson_nll
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, VisibleGroup, module_key

ODD_EIDS = ["1.5", "train", "keys", "50%", "a.b", "a%2Eb", "a%252Eb", "forward", "a/b c", "session:a", "größe", "%"]


def fresh_model(seed: int = 0, **options: object) -> StitchedModel:
    torch.manual_seed(seed)
    sizes = {"width": 8, "n_layers": 1, "n_heads": 2, "mlp_width": 8, "max_bins": N_BINS}
    return StitchedModel(NDT1(**sizes | options))


def weights_of(model: StitchedModel, eid: str) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.stitchers[module_key(eid)].state_dict())


def are_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_before_training_the_model_predicts_the_mean_rates_and_scores_zero_bits_per_spike():
    session = make_session("a")
    group = make_group(session, n_trials=6)
    counts = group.counts.to(torch.uint8)
    mean_counts = counts.double().mean((0, 1))
    model = fresh_model().double()
    model.add_session(session, mean_counts)
    model.double()
    with torch.no_grad():
        log_rates = model([VisibleGroup("a", counts)], "neuron").log_rates[0]
    torch.testing.assert_close(log_rates.exp(), mean_counts.expand_as(log_rates), rtol=1e-6, atol=0)
    bps = BitsPerSpike(session.n_neurons)
    bps.update(log_rates, counts)
    torch.testing.assert_close(bps.compute(), torch.zeros(session.n_neurons).double(), rtol=0, atol=1e-9)


def test_training_on_one_session_leaves_another_of_equal_size_untouched_to_the_bit():
    model = make_model().float().train()
    before, shared = weights_of(model, "b"), copy.deepcopy(model.backbone.state_dict())
    trained = weights_of(model, "a")
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.5)
    group = make_group(model.sessions["a"])
    for _ in range(2):
        optimizer.zero_grad()
        log_rates = model([VisibleGroup("a", group.counts)], "neuron").log_rates[0]
        poisson_nll(log_rates, group.counts).mean().backward()
        optimizer.step()
    assert are_equal(weights_of(model, "b"), before)
    assert not are_equal(weights_of(model, "a"), trained)
    assert not are_equal(model.backbone.state_dict(), shared)


def test_two_sessions_of_equal_size_start_with_different_weights():
    model = fresh_model()
    for eid in ("a", "b"):
        model.add_session(make_session(eid))
    a, b = weights_of(model, "a"), weights_of(model, "b")
    assert not torch.equal(a["read_in.weight"], b["read_in.weight"])
    assert not torch.equal(a["token"], b["token"])


@given(st.permutations(["a", "b", "c", "d"]), st.integers(1, 4))
def test_a_session_starts_alike_whoever_else_is_there_and_in_whatever_order(order, n_sessions):
    alone, many = fresh_model(), fresh_model()
    eid = order[n_sessions - 1]
    alone.add_session(make_session(eid))
    for other in order[:n_sessions]:
        many.add_session(make_session(other, ["CA1"] * 7 if other == eid else ["CA1"] * 3))
        torch.rand(3)  # what is drawn between does not matter either
    assert are_equal(weights_of(many, eid), weights_of(alone, eid))


def test_the_seed_of_the_run_sets_a_session_s_weights_and_adding_it_draws_nothing_from_the_run():
    one, other = fresh_model(seed=1), fresh_model(seed=2)
    drawn = []
    for seed, model in ((1, one), (2, other), (1, None)):
        torch.manual_seed(seed)
        if model is not None:
            model.add_session(make_session("a"))
        drawn.append(torch.rand(4))
    assert not are_equal(weights_of(one, "a"), weights_of(other, "a"))
    assert torch.equal(drawn[0], drawn[2])


def test_adding_a_session_changes_no_weight_that_is_there():
    model = make_model()
    before = copy.deepcopy(model.state_dict())
    model.add_session(make_session("c"))
    assert are_equal({name: model.state_dict()[name] for name in before}, before)


@pytest.mark.parametrize("eid", ODD_EIDS)
def test_any_eid_can_name_a_session(eid):
    model = fresh_model()
    session = make_session(eid)
    model.add_session(session)
    log_rates = model([VisibleGroup(eid, make_group(session).counts)], "neuron").log_rates[0]
    assert log_rates.shape == (3, N_BINS, 7)
    again = fresh_model(seed=1)
    again.add_session(session)
    again.load_state_dict(model.state_dict())
    assert are_equal(weights_of(again, eid), weights_of(model, eid))


def test_odd_eids_do_not_collide():
    model = fresh_model()
    for eid in ODD_EIDS:
        model.add_session(make_session(eid))
    assert len(model.stitchers) == len(model.sessions) == len(ODD_EIDS)


@given(st.text(min_size=1), st.text(min_size=1))
def test_different_eids_have_different_module_names_without_dots(one, other):
    assert "." not in module_key(one)
    assert (module_key(one) == module_key(other)) == (one == other)


def test_weights_belong_to_the_backbone_or_to_a_session_named_by_its_eid():
    names = {name.split(".")[0] for name in make_model().state_dict()}
    owners = {name.split(".")[1] for name in make_model().state_dict() if name.startswith("stitchers")}
    assert names == {"backbone", "stitchers"}
    assert owners == {"session:a", "session:b"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("counts_dtype", [torch.uint8, torch.int32])
def test_counts_of_any_type_enter_in_the_precision_of_the_weights(dtype, counts_dtype):
    model = make_model().to(dtype)
    group = VisibleGroup("a", make_group(model.sessions["a"]).counts.to(counts_dtype))
    assert model([group], "neuron").log_rates[0].dtype == dtype
    assert model.left_out(group, "neuron", torch.arange(3)).dtype == dtype


def test_a_session_s_mean_counts_do_not_touch_what_is_drawn():
    low, high = fresh_model(), fresh_model()
    low.add_session(make_session("a"), torch.full((7,), 0.1))
    high.add_session(make_session("a"), torch.full((7,), 3.0))
    assert torch.equal(weights_of(low, "a")["read_in.weight"], weights_of(high, "a")["read_in.weight"])
    torch.testing.assert_close(weights_of(high, "a")["read_out.bias"].exp(), torch.full((7,), 3.0))


def test_scattering_is_what_shows_a_leak():
    """A fresh read-out is 0: without random weights the tests of leaks could not fail."""
    model = fresh_model()
    model.add_session(make_session("a"))
    assert not weights_of(model, "a")["read_out.weight"].any()
    scatter(model)
    assert weights_of(model, "a")["read_out.weight"].all()

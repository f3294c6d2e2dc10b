"""NDT2: groups of neurons and their padding, regions by name, positions, and its options."""

import pytest
import torch
from small_models import N_BINS, every_pair, make_group, make_model, make_session
from torch import Tensor

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError
from neuromtm.masking.masked import mask
from neuromtm.masking.objective import Objective
from neuromtm.models import blocks
from neuromtm.models.blocks import prefix_attention_mask
from neuromtm.models.group_stitching import in_groups, region_code
from neuromtm.models.interface import Backbone, SessionInput
from neuromtm.models.ndt2 import NDT2
from neuromtm.models.stitching import StitchedModel, VisibleGroup

SMALL = {"width": 12, "n_layers": 1, "n_heads": 2, "mlp_width": 16, "neurons_per_token": 3, "max_groups": 6}


def rates_of(model: StitchedModel, eid: str, counts: Tensor, scheme: Scheme = "neuron") -> Tensor:
    return model([VisibleGroup(eid, counts)], scheme).log_rates[0]


def padded_places(n_neurons: int, size: int) -> Tensor:
    """(group, member) bool, True where a group has no neuron."""
    return in_groups(torch.ones(n_neurons), size) == 0


def test_neighbours_are_grouped_and_the_last_group_is_filled_up_with_zeros():
    assert in_groups(torch.arange(1, 8), 3).tolist() == [[1, 2, 3], [4, 5, 6], [7, 0, 0]]
    assert in_groups(torch.arange(6), 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert in_groups(torch.ones(2, 5, 7), 3).shape == (2, 5, 3, 3)


def test_the_weights_of_padding_have_no_influence_and_get_no_gradient():
    model = make_model(backbone="NDT2", mask_input=True)
    counts, stitcher = make_group(model.sessions["a"]).counts, model.stitchers["session:a"]
    before = rates_of(model, "a", counts)
    before.sum().backward()
    padding = padded_places(7, 3)
    assert padding.sum() == 2
    weights = {name: weight for name, weight in stitcher.named_parameters() if weight.shape[:2] == padding.shape}
    assert set(weights) == {"weight_in", "mask_in", "weight_out"}
    hidden = torch.zeros_like(counts, dtype=torch.bool)
    hidden[:, ::2] = True
    for weight in weights.values():
        assert not weight.grad[padding].any()
    for name in ("weight_in", "weight_out"):
        assert (weights[name].grad[~padding] != 0).all()
    shown = VisibleGroup("a", counts.masked_fill(hidden, 0), hidden)
    partly_hidden, left_out = model([shown], "neuron").log_rates[0], model.left_out(shown, "neuron", torch.arange(7))
    with torch.no_grad():
        for weight in weights.values():
            weight[padding] += 1e6
    assert torch.equal(rates_of(model, "a", counts), before)
    assert torch.equal(model([shown], "neuron").log_rates[0], partly_hidden)
    assert torch.equal(model.left_out(shown, "neuron", torch.arange(7)), left_out)


def test_a_padded_neuron_is_one_that_is_silent():
    """A session that ends within a group gets what it would get with silent neurons in the empty places."""
    model = make_model(
        [make_session("a", ["CA1"] * 7), make_session("b", ["CA1"] * 9)], backbone="NDT2", standardise=False
    )
    short, full = (model.stitchers[f"session:{eid}"] for eid in "ab")
    full.load_state_dict(short.state_dict() | {"bias_out": full.bias_out})
    counts = make_group(model.sessions["a"]).counts
    silent = torch.cat((counts, torch.zeros(3, N_BINS, 2).double()), dim=-1)
    expected = rates_of(model, "b", silent)[..., :7] - full.bias_out[:7] + short.bias_out
    torch.testing.assert_close(rates_of(model, "a", counts), expected)


@pytest.mark.parametrize("n_neurons", [1, 2, 3, 4, 6])
def test_a_session_may_have_any_number_of_neurons(n_neurons):
    session = make_session("a", ["CA1"] * n_neurons)
    model = make_model([session], backbone="NDT2")
    counts = make_group(session).counts
    left_out = model.left_out(VisibleGroup("a", counts), "neuron", torch.arange(n_neurons))
    assert rates_of(model, "a", counts).shape == left_out.shape == counts.shape


def test_more_groups_than_positions_are_refused():
    model = make_model(backbone="NDT2")
    model.add_session(make_session("full", ["CA1"] * 18))
    with pytest.raises(ConfigError, match=r"19 neurons, 7 groups of 3, but max_groups is 6.*min_firing_rate_hz"):
        model.add_session(make_session("more", ["CA1"] * 19))


def test_under_causal_attention_a_token_sees_all_groups_of_its_bin_and_of_the_past():
    sees = prefix_attention_mask(1, 2, tokens_per_bin=2, causal=True, device=torch.device("cpu"))
    assert sees.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]


@pytest.mark.parametrize("rope", [False, True])
def test_causal_rates_of_a_group_depend_on_every_group_of_the_bin_and_of_the_past(rope):
    model = make_model(backbone="NDT2", rope=rope)
    counts = make_group(model.sessions["a"]).counts.requires_grad_()
    at = 4
    for neuron in (0, 3, 6):  # one of each group
        rate = rates_of(model, "a", counts, "causal")[0, at, neuron]
        moved = torch.autograd.grad(rate, counts)[0].abs()[0]
        assert (moved[: at + 1] > 0).all()
        assert not moved[at + 1 :].any()


def test_random_tokens_are_the_tokens_of_the_model():
    """The hidden entries of `random_token` leave each token whole or take all of it."""
    model = make_model(backbone="NDT2")
    counts, region = torch.ones(3, N_BINS, 7), make_group(model.sessions["a"]).region
    size = model.backbone.neurons_per_token
    masked = Objective(neurons_per_token=size).hide("random_token", counts, region, torch.Generator().manual_seed(0))
    tokens = in_groups(masked.hidden, size)
    there = ~padded_places(7, size)
    whole, hidden = (~tokens | ~there).all(-1), (tokens | ~there).all(-1)
    assert (whole ^ hidden).all()
    assert hidden.any()
    assert whole.any()


@pytest.mark.parametrize("options", [{}, {"rope": True}, {"prompt": False, "session_token": False}])
@pytest.mark.parametrize("tokens_per_pass", [1, 200])  # trials of 10 bins and 3 groups: 1 or 6 rows a pass
def test_leaving_neurons_out_in_passes_equals_one_for_each(tokens_per_pass, options, monkeypatch):
    monkeypatch.setattr(blocks, "TOKENS_PER_PASS", tokens_per_pass)
    n_rows, encode = [], NDT2.encode
    monkeypatch.setattr(NDT2, "encode", lambda self, x, *rest: n_rows.append(len(x)) or encode(self, x, *rest))
    model = make_model(backbone="NDT2", mask_input=True, **options)
    masked = mask(make_group(model.sessions["a"]).counts, torch.arange(7) > 4)
    session, rows = SessionInput(model.stitchers["session:a"], masked.visible, masked.hidden), every_pair(3, range(7))
    quick = model.backbone.left_out(session, "neuron", *rows)
    assert n_rows == ([1] * 21 if tokens_per_pass == 1 else [6, 5, 5, 5])
    torch.testing.assert_close(quick, Backbone.left_out(model.backbone, session, "neuron", *rows))


# ---- regions ----


def test_a_region_s_code_is_made_from_its_name_alone():
    assert torch.equal(region_code("CA1"), region_code("CA1"))
    codes = torch.stack([region_code(name) for name in ("CA1", "CA3", "VISp", "DG", "LP", "PO", "MOs", "SUB")])
    similarity = codes @ codes.T
    torch.testing.assert_close(similarity.diagonal(), torch.ones(8))
    assert (similarity - torch.eye(8)).abs().max() < 0.3
    assert not region_code("root").any()
    assert not region_code("void").any()
    # what a checkpoint was trained with must not move with a version of anything
    assert (region_code("CA1")[:8] > 0).int().tolist() == [1, 1, 0, 1, 0, 0, 0, 1]


def test_a_group_s_region_vector_is_the_mean_over_its_neurons_and_padding_does_not_count():
    session = make_session("a", ["CA1", "VISp", "root", "CA1", "CA1", "CA1", "MOs"])
    codes = make_model([session], backbone="NDT2", region_embedding=True).stitchers["session:a"].region_codes
    first, second, last = (region_code("CA1") + region_code("VISp")) / 3, region_code("CA1"), region_code("MOs")
    torch.testing.assert_close(codes, torch.stack((first, second, last)).double())


def test_region_vectors_are_shared_between_animals_by_name_whatever_the_order_of_the_regions():
    one, other = make_session("a", ["CA1"] * 3 + ["VISp"] * 3), make_session("b", ["VISp"] * 3 + ["CA1"] * 3)
    model = make_model([one, other], backbone="NDT2", region_embedding=True)
    vectors = [model.backbone.region(model.stitchers[f"session:{eid}"].region_codes) for eid in "ab"]
    torch.testing.assert_close(vectors[0], vectors[1].flip(0))
    assert not torch.allclose(vectors[0], vectors[1])


def test_with_region_embedding_the_same_counts_elsewhere_in_the_brain_give_other_rates():
    counts = make_group(make_session("a")).counts
    for region_embedding in (True, False):
        rates = [
            rates_of(
                make_model([make_session("a", regions)], backbone="NDT2", region_embedding=region_embedding),
                "a",
                counts,
            )
            for regions in (["CA1"] * 7, ["MOs"] * 7)
        ]
        assert torch.equal(*rates) != region_embedding


def test_a_region_that_pretraining_has_not_met_gets_a_vector_of_its_own_of_the_usual_size():
    torch.manual_seed(0)
    backbone = NDT2(**SMALL | {"width": 64}, region_embedding=True)
    met, new = (backbone.region(region_code(name)) for name in ("CA1", "a lab's own region"))
    assert not torch.allclose(met, new)
    assert 0.5 < new.norm() / met.norm() < 2


# ---- maps, positions and options ----


def test_positions_of_groups_tell_them_apart():
    model = make_model([make_session("a", ["CA1"] * 6)], backbone="NDT2")
    counts = make_group(model.sessions["a"]).counts
    stitcher = model.stitchers["session:a"]
    with torch.no_grad():
        for weight in (stitcher.weight_in, stitcher.weight_out):  # of two groups of 3, which are then alike
            weight[1] = weight[0]
        stitcher.bias_out.zero_()
        for values in stitcher.standardise.buffers():
            values[3:] = values[:3]
        swapped = counts.roll(3, dims=-1)
        assert not torch.allclose(rates_of(model, "a", swapped), rates_of(model, "a", counts).roll(3, dims=-1))
        model.backbone.space.weight.zero_()
        torch.testing.assert_close(rates_of(model, "a", swapped), rates_of(model, "a", counts).roll(3, dims=-1))


@pytest.mark.parametrize("rope", [False, True])
def test_positions_tell_the_order_of_bins(rope):
    model = make_model(backbone="NDT2", rope=rope)
    counts = make_group(model.sessions["a"]).counts
    assert not torch.allclose(rates_of(model, "a", counts), rates_of(model, "a", counts.flip(1)).flip(1))
    if not rope:
        with torch.no_grad():
            model.backbone.time.weight.zero_()
        torch.testing.assert_close(rates_of(model, "a", counts), rates_of(model, "a", counts.flip(1)).flip(1))


def test_the_prompt_and_the_session_token_change_what_is_predicted():
    counts = make_group(make_session("a")).counts
    for there in (True, False):
        model = make_model(backbone="NDT2", prompt=there, session_token=there)
        a, b = (model.stitchers[f"session:{eid}"] for eid in "ab")
        b.load_state_dict(a.state_dict() | {"token": b.token})
        rates = rates_of(model, "a", counts)
        assert torch.allclose(rates, rates_of(model, "b", counts)) != there
        assert torch.allclose(rates, rates_of(model, "a", counts, "intra_region")) != there


def test_with_mask_input_a_hidden_entry_differs_from_a_bin_without_a_spike():
    silent = torch.zeros(3, N_BINS, 7).double()
    hidden = mask(silent, torch.arange(7) == 3).hidden
    for mask_input in (True, False):
        model = make_model(backbone="NDT2", mask_input=mask_input, standardise=False)
        shown, masked = (model([VisibleGroup("a", silent, h)], "neuron").log_rates[0] for h in (None, hidden))
        assert torch.equal(shown, masked) != mask_input


def test_the_longest_trial_is_that_of_the_learned_positions():
    assert NDT2(**SMALL, max_bins=7).max_n_bins == 7
    assert NDT2(**SMALL, rope=True, max_bins=7).max_n_bins == 7
    assert NDT2(**SMALL, rope=True, bin_vectors=False, max_bins=7).max_n_bins is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 10, "n_heads": 3}, "10 in 3 heads"),
        ({"neurons_per_token": 0}, "neurons_per_token is 0"),
        ({"max_groups": 0, "max_bins": -1}, "max_bins is -1.*max_groups is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_a_bad_option_is_named(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        NDT2(**SMALL | options)

"""NDT1: quick paths against slow ones, its parts, and its options."""

import pytest
import torch
from small_models import N_BINS, every_pair, make_group, make_model, make_session

from neuromtm.errors import ConfigError
from neuromtm.masking.masked import mask
from neuromtm.models import blocks
from neuromtm.models.blocks import prefix_attention_mask, rotate
from neuromtm.models.interface import Backbone, SessionInput
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, VisibleGroup

SMALL = {"width": 12, "n_layers": 1, "n_heads": 2, "mlp_width": 16}


def plain_and_quick(model: StitchedModel, neurons: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    group = make_group(model.sessions["a"])
    # some entries are hidden already, as those of other regions are
    masked = mask(group.counts.to(next(model.parameters()).dtype), torch.arange(7) > 4)
    session = SessionInput(model.stitchers["session:a"], masked.visible, masked.hidden)
    rows = every_pair(3, neurons)
    return tuple(left_out(model.backbone, session, "neuron", *rows) for left_out in (Backbone.left_out, NDT1.left_out))


OPTIONS = [{}, {"rope": True}, {"prompt": False, "session_token": False}, {"mask_input": True}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("tokens_per_pass", [1, 70, 2**15])
def test_leaving_neurons_out_together_equals_one_pass_for_each(options, tokens_per_pass, monkeypatch):
    monkeypatch.setattr(blocks, "TOKENS_PER_PASS", tokens_per_pass)  # trials of 10 bins: 1, 7 or all 15 rows a pass
    plain, quick = plain_and_quick(make_model(**options), [5, 0, 2, 3, 6])
    torch.testing.assert_close(quick, plain, rtol=1e-10, atol=1e-12)


def test_leaving_out_passes_hold_no_more_tokens_than_allowed(monkeypatch):
    monkeypatch.setattr(blocks, "TOKENS_PER_PASS", 65)
    n_tokens = []
    encode = NDT1.encode
    monkeypatch.setattr(
        NDT1, "encode", lambda self, x, *rest: n_tokens.append(x[..., 0].numel()) or encode(self, x, *rest)
    )
    model = make_model()
    model.left_out(VisibleGroup("a", make_group(model.sessions["a"]).counts), "neuron", torch.arange(7))
    assert n_tokens == [60, 50, 50, 50]  # 21 rows of 10 bins, at most 6 a pass, about equally many in each


def test_the_session_token_and_the_stitcher_are_the_session_s_own():
    model, group = make_model(), make_group(make_session("a"))
    a, b = (model([VisibleGroup(eid, group.counts)], "neuron").log_rates[0] for eid in "ab")
    assert not torch.allclose(a, b)
    model.stitchers["session:b"].load_state_dict(
        model.stitchers["session:a"].state_dict() | {"token": model.stitchers["session:b"].token}
    )
    only_token_differs = model([VisibleGroup("b", group.counts)], "neuron").log_rates[0]
    assert not torch.allclose(a, only_token_differs)


def test_the_prompt_changes_what_is_predicted_and_without_one_only_attention_does():
    group = make_group(make_session("a"))
    for prompt in (True, False):
        model = make_model(prompt=prompt)
        neuron, region = (model([VisibleGroup("a", group.counts)], s).log_rates[0] for s in ("neuron", "intra_region"))
        assert torch.allclose(neuron, region) != prompt


def test_rotating_keeps_norms():
    x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0)).double()
    turned = rotate(x, torch.tensor([0, 3, 50, 7, 1]))
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1), rtol=1e-6, atol=0)
    torch.testing.assert_close(turned[:, :, 0], x[:, :, 0])
    assert not torch.allclose(turned[:, :, 1], x[:, :, 1])


def test_the_product_of_rotated_vectors_depends_on_their_distance_only():
    query, key = torch.randn(2, 1, 1, 1, 8, generator=torch.Generator().manual_seed(0)).double()

    def product(here: int, there: int) -> float:
        return (rotate(query, torch.tensor([here])) * rotate(key, torch.tensor([there]))).sum().item()

    for distance in (-3, 0, 1, 20):
        expected = product(distance, 0)
        assert [product(at + distance, at) for at in (3, 17, 60)] == pytest.approx([expected] * 3, abs=1e-5)
    assert abs(product(1, 0) - product(2, 0)) > 1e-3


def test_attention_with_rope_depends_on_the_distance_of_tokens_only():
    encoder = make_model(rope=True).backbone.encoder
    x = torch.randn(2, 6, 12, generator=torch.Generator().manual_seed(0)).double()
    position = torch.arange(6)
    here, later, stretched = (encoder(x, None, p) for p in (position, position + 9, 2 * position))
    torch.testing.assert_close(here, later, rtol=0, atol=1e-5)
    assert not torch.allclose(here, stretched, rtol=0, atol=1e-3)


def test_rope_tells_the_order_of_bins():
    model, group = make_model(rope=True), make_group(make_session("a"))
    forward, backward = (
        model([VisibleGroup("a", counts)], "neuron").log_rates[0] for counts in (group.counts, group.counts.flip(1))
    )
    assert not torch.allclose(forward, backward.flip(1))


def test_without_prefix_the_causal_mask_is_a_triangle_and_a_prefix_sees_no_bin():
    assert torch.equal(
        prefix_attention_mask(0, 4, causal=True, device=torch.device("cpu")), torch.ones(4, 4).tril().bool()
    )
    sees = prefix_attention_mask(2, 3, causal=True, device=torch.device("cpu"))
    assert sees.int().tolist() == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert prefix_attention_mask(2, 3, causal=False, device=torch.device("cpu")) is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"width": 24, "n_layers": 3, "n_heads": 3, "mlp_width": 20, "dropout": 0.1, "embedding_dropout": 0.3},
        {"rope": True, "prompt": False, "session_token": False, "max_bins": 7},
    ],
)
def test_a_class_made_again_from_its_options_is_the_same_architecture(options):
    backbone = NDT1(**SMALL | options)
    again = type(backbone)(**backbone.options)
    assert backbone.options.items() >= (SMALL | options).items()
    assert again.options == backbone.options
    assert repr(again) == repr(backbone)
    shapes, shapes_again = ({k: v.shape for k, v in b.state_dict().items()} for b in (backbone, again))
    assert shapes == shapes_again
    again.load_state_dict(backbone.state_dict())
    assert all(
        value is None or isinstance(value, bool | int | float | str | list | tuple)
        for value in backbone.options.values()
    )
    assert backbone.class_path == "neuromtm.models.ndt1.NDT1"


def test_the_longest_trial_is_that_of_the_learned_positions():
    assert NDT1(**SMALL, max_bins=7).max_n_bins == 7
    assert NDT1(**SMALL, rope=True, max_bins=7).max_n_bins == 7
    assert NDT1(**SMALL, rope=True, bin_vectors=False, max_bins=7).max_n_bins is None
    model, group = make_model(rope=True, bin_vectors=False, max_bins=2), make_group(make_session("a"))
    assert model([VisibleGroup("a", group.counts)], "neuron").log_rates[0].shape[1] == N_BINS


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 10, "n_heads": 3}, "10 in 3 heads"),
        ({"width": 6, "n_heads": 2, "rope": True}, "even"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"width": 0}, "width is 0"),
        ({"n_layers": 0}, "n_layers is 0"),
        ({"mlp_width": -1}, "mlp_width is -1"),
        ({"max_bins": 0}, "max_bins is 0"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"embedding_dropout": -0.1}, "embedding_dropout is -0.1"),
    ],
)
def test_a_bad_option_is_named(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        NDT1(**SMALL | options)


def test_with_mask_input_a_hidden_entry_differs_from_a_bin_without_a_spike():
    silent = torch.zeros_like(make_group(make_session("a")).counts)
    hidden = torch.zeros_like(silent, dtype=torch.bool)
    hidden[..., 3] = True
    for mask_input in (True, False):
        model = make_model(mask_input=mask_input, standardise=False)
        shown, masked = (model([VisibleGroup("a", silent, h)], "neuron").log_rates[0] for h in (None, hidden))
        assert torch.equal(shown, masked) != mask_input


def test_states_are_what_the_read_out_reads():
    model = make_model()
    output = model([VisibleGroup("a", make_group(model.sessions["a"]).counts)], "neuron")
    assert output.states[0].shape == (3, N_BINS, model.backbone.state_size)
    torch.testing.assert_close(model.stitchers["session:a"].read_out(output.states[0]), output.log_rates[0])


def test_a_later_scheme_s_token_changes_no_other_first_weight_of_a_seed(monkeypatch):
    def weights():
        torch.manual_seed(0)
        return NDT1(**SMALL).state_dict()

    with_token = weights()
    monkeypatch.setattr(blocks, "SCHEMES", {name: None for name in blocks.SCHEMES if name not in blocks.LATER_SCHEMES})
    monkeypatch.setattr(blocks, "LATER_SCHEMES", ())
    without = weights()
    assert with_token.keys() - without.keys() == {"prompts.heldout"}
    assert all(torch.equal(with_token[name], value) for name, value in without.items())

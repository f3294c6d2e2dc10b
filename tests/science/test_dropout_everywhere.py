"""Every dropout of every architecture is there, has its own option's probability, and changes what is predicted."""

from collections import Counter
from functools import partial

import pytest
import torch

from neuromtm.models import dropout as dropout_module
from neuromtm.models import lfads as lfads_module
from neuromtm.models.dropout import Kept, draw_kept
from neuromtm.models.lfads import LFADS
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.models.spike_tokens import SpikeTokens
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from tests.models.small_models import N_BINS, make_group, make_session, scatter

P, EMBEDDING_P, INNER_P, COORDINATED_P = 0.25, 0.5, 0.375, 0.125
N_LAYERS = 2
IN_A_BLOCK = 4
"""on the attention weights, on what attention adds, within the perceptron, and on what the perceptron adds"""

_TRANSFORMER = {"width": 12, "n_layers": N_LAYERS, "n_heads": 2, "mlp_width": 16, "dropout": P}
_TOKENS = {"embedding_dropout": EMBEDDING_P, "max_bins": 16}
_RECURRENT = {
    **{"width": 6, "initial_encoder_size": 8, "input_encoder_size": 8, "initial_size": 4, "n_inputs": 3},
    **{"controller_size": 8, "generator_size": 8, "n_factors": 5, "dropout": P, "coordinated_dropout": COORDINATED_P},
}
ARCHITECTURES = {
    # the embedding of bins, and the blocks
    "NDT1": (partial(NDT1, **_TRANSFORMER, **_TOKENS), {EMBEDDING_P: 1, P: IN_A_BLOCK * N_LAYERS}),
    # half of the places in a block are inner ones: the attention weights, and within the perceptron
    "NDT1 with another inner dropout": (
        partial(NDT1, **_TRANSFORMER, **_TOKENS, inner_dropout=INNER_P),
        {EMBEDDING_P: 1, P: 2 * N_LAYERS, INNER_P: 2 * N_LAYERS},
    ),
    # the embedding of groups, and the blocks
    "NDT2": (
        partial(NDT2, **_TRANSFORMER, **_TOKENS, neurons_per_token=3, max_groups=6),
        {EMBEDDING_P: 1, P: IN_A_BLOCK * N_LAYERS},
    ),
    # the blocks; attention to spikes and to latents, each on its weights and on what is read; the last perceptron
    "SpikeTokens": (
        partial(SpikeTokens, **_TRANSFORMER, step_bins=3, n_latents=2),
        {P: IN_A_BLOCK * N_LAYERS + 2 * 2 + 1},
    ),
    # what is read, the two encoders, and in each bin the controller and the generator; coordinated dropout
    "LFADS": (partial(LFADS, **_RECURRENT), {COORDINATED_P: 1, P: 3 + 2 * N_BINS}),
    # without inputs there is neither their encoder nor a controller
    "LFADS without inputs": (
        partial(LFADS, **_RECURRENT | {"n_inputs": 0}),
        {COORDINATED_P: 1, P: 2 + N_BINS},
    ),
}


class Draws:
    """Writes down every draw of a dropout; one of them can be told to keep everything."""

    def __init__(self, monkeypatch):
        self.probabilities, self.kept_whole = [], None
        for module in (dropout_module, lfads_module):
            monkeypatch.setattr(module, "draw_kept", self.draw)

    def draw(self, like, p):
        kept = draw_kept(like, p)
        place = len(self.probabilities)
        self.probabilities.append(p)
        return Kept(torch.ones_like(kept.mask), 1.0) if place == self.kept_whole else kept


@pytest.fixture
def draws(monkeypatch):
    return Draws(monkeypatch)


def predicted(model, draws):
    """What a model in training predicts, always from the same seed."""
    draws.probabilities.clear()
    torch.manual_seed(0)
    group = make_group(model.sessions["a"])
    visible = group.counts.clone()
    visible[..., 0] = 0
    with torch.no_grad():
        return model([VisibleGroup("a", visible, visible == 0)], "neuron").log_rates[0]


def built(name):
    """A scattered model in training."""
    model = StitchedModel(ARCHITECTURES[name][0]())
    model.add_session(make_session("a"))
    scatter(model)
    return model.double().train()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_place_draws_once_with_the_probability_of_its_option(name, draws):
    predicted(built(name), draws)
    assert Counter(draws.probabilities) == ARCHITECTURES[name][1]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_draw_changes_what_is_predicted(name, draws):
    model = built(name)
    dropped = predicted(model, draws)
    for place in range(len(draws.probabilities)):
        draws.kept_whole = place
        assert not torch.equal(predicted(model, draws), dropped), f"draw {place} is without effect"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nothing_is_drawn_in_evaluation(name, draws):
    predicted(built(name).eval(), draws)
    assert not draws.probabilities


def test_a_dropout_of_almost_1_keeps_a_share():
    assert draw_kept(torch.empty(8), 1 - 1e-9).share > 0

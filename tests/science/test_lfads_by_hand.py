"""LFADS from its published equations, in plain loops: Pandarinath et al. 2018; the GRU of Cho et al. 2014."""

import numpy as np
import pytest
import torch

from neuromtm.masking.schemes import attends_causally
from neuromtm.models.lfads import LFADS
from neuromtm.models.stitching import StitchedModel, VisibleGroup, module_key
from tests.models.small_models import make_group, make_session, scatter

N_INITIAL, N_INPUTS = 4, 3
OPTIONS = {
    **{"width": 6, "initial_encoder_size": 8, "input_encoder_size": 7, "initial_size": N_INITIAL},
    **{"n_inputs": N_INPUTS, "controller_size": 8, "generator_size": 9, "n_factors": 5, "n_samples": 0},
    **{"standardise": False, "principal_axes": False},
}


def linear(x, weights, name):
    return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gru(x, state, weights, name, layer=""):
    """One step: the reset gate, the update gate, and the proposal."""
    given = np.split(weights[f"{name}.weight_ih{layer}"] @ x + weights[f"{name}.bias_ih{layer}"], 3)
    own = np.split(weights[f"{name}.weight_hh{layer}"] @ state + weights[f"{name}.bias_hh{layer}"], 3)
    reset, update = sigmoid(given[0] + own[0]), sigmoid(given[1] + own[1])
    proposal = np.tanh(given[2] + reset * own[2])
    return (1 - update) * proposal + update * state


def read(drive, weights, name, *, direction):
    """(bin, state) of one direction; the order is that of the bins."""
    state, states = weights[f"{name}.start"][0 if direction == "forward" else 1], []
    for x in drive if direction == "forward" else drive[::-1]:
        state = gru(x, state, weights, f"{name}.{direction}_gru", "_l0")
        states.append(state)
    return np.array(states if direction == "forward" else states[::-1])


def lfads_by_hand(weights, stitcher, counts, *, scheme):
    """(bin, neuron) log-rates of one trial at the mean of the posteriors."""
    causal = attends_causally(scheme)
    drive = np.array([linear(spikes, stitcher, "read_in") + weights[f"prompts.{scheme}"] for spikes in counts])
    start = np.zeros(N_INITIAL)
    if not causal:
        ahead = read(drive, weights, "initial_encoder", direction="forward")
        back = read(drive, weights, "initial_encoder", direction="backward")
        start = linear(np.concatenate((ahead[-1], back[0])), weights, "to_initial")[:N_INITIAL]
    ahead = read(drive, weights, "input_encoder", direction="forward")
    back = np.zeros_like(ahead) if causal else read(drive, weights, "input_encoder", direction="backward")
    state, control, rates = linear(start, weights, "to_generator"), weights["controller_start"], []
    for t in range(len(counts)):
        factors = linear(state, weights, "to_factors")
        control = gru(np.concatenate((ahead[t], back[t], factors)), control, weights, "controller")
        given = linear(control, weights, "to_input")[:N_INPUTS]
        state = gru(given, state, weights, "generator")
        rates.append(linear(linear(state, weights, "to_factors"), stitcher, "read_out"))
    return np.array(rates)


@pytest.mark.parametrize("scheme", ["neuron", "causal", "inter_region"])
def test_lfads_is_its_equations(scheme):
    session, backbone = make_session("a"), LFADS(**OPTIONS)
    model = StitchedModel(backbone)
    model.add_session(session)
    scatter(model)
    model.double().eval()
    group = make_group(session, n_trials=2)
    with torch.no_grad():
        found = model([VisibleGroup("a", group.counts)], scheme).log_rates[0].numpy()
    weights = {name: value.detach().numpy() for name, value in backbone.named_parameters()}
    own = {name: v.detach().numpy() for name, v in model.stitchers[module_key("a")].named_parameters()}
    for trial in range(2):
        by_hand = lfads_by_hand(weights, own, group.counts[trial].numpy(), scheme=scheme)
        np.testing.assert_allclose(found[trial], by_hand, rtol=1e-9, atol=1e-9)

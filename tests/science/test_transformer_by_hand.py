"""The transformers over bins and over groups of neurons, from their published equations in plain loops.

Ye & Pandarinath 2021 (NDT); Ye et al. 2023 (NDT2); Vaswani et al. 2017, section 3.2 (attention), in the pre-norm order
of Xiong et al. 2020; Su et al. 2021, equation 34 (rotary positions).
"""

import cmath
import math
from functools import partial

import numpy as np
import pytest
import torch

from neuromtm.batch import NeuronStatistics
from neuromtm.masking.schemes import attends_causally
from neuromtm.models.blocks import rotate
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.models.stitching import StitchedModel, VisibleGroup, module_key
from tests.models.small_models import N_BINS, make_group, make_session, scatter

WIDTH, N_LAYERS, N_HEADS, MLP_WIDTH = 12, 2, 2, 16
GROUP = 3
"""neurons in a token of NDT2; the last group of a session has fewer"""
ROTARY_BASE = 10_000.0
MEAN, VARIANCE = np.linspace(0.5, 3.5, 7), np.linspace(2.0, 0.1, 7)
"""of each neuron of a session"""
EXTRA_VARIANCE = 0.02
EPSILON = 1e-5
"""of a LayerNorm"""


def turned(vector, position):
    """A query or key at a position: the pairs (i, i + dim / 2) as complex numbers, each turned by its own angle."""
    half = len(vector) // 2
    pairs = [complex(vector[i], vector[i + half]) for i in range(half)]
    pairs = [pair * cmath.exp(1j * position * ROTARY_BASE ** (-i / half)) for i, pair in enumerate(pairs)]
    return np.array([pair.real for pair in pairs] + [pair.imag for pair in pairs])


def normed(x, weights, name):
    x = (x - x.mean()) / math.sqrt(x.var() + EPSILON)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def gelu(x):
    return np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x])


def attended(tokens, weights, name, *, position, sees):
    """What attention adds to each token."""
    parts = [np.split(linear(token, weights, f"{name}.to_qkv"), 3) for token in tokens]
    dim, added = WIDTH // N_HEADS, []
    for row in range(len(tokens)):
        heads = []
        for head in range(N_HEADS):
            own = slice(head * dim, (head + 1) * dim)
            query, scores, values = parts[row][0][own], [], []
            for column in range(len(tokens)):
                if not sees(row, column):
                    continue
                key = parts[column][1][own]
                if position is not None:
                    score = turned(query, position[row]) @ turned(key, position[column])
                else:
                    score = query @ key
                scores.append(score / math.sqrt(dim))
                values.append(parts[column][2][own])
            shares = np.exp(np.array(scores) - max(scores))
            heads.append((shares / shares.sum()) @ np.array(values))
        added.append(linear(np.concatenate(heads), weights, f"{name}.to_out"))
    return added


def encoded(tokens, weights, *, bin_of, causal, rope):
    """The tokens after all blocks and the last norm. `bin_of` gives the bin of each token, -1 of the prefix."""
    position = [max(0, t) for t in bin_of] if rope else None
    for layer in range(N_LAYERS):
        block = f"encoder.blocks.{layer}"
        before = [normed(token, weights, f"{block}.attention_norm") for token in tokens]
        added = attended(
            before,
            weights,
            f"{block}.attention",
            position=position,
            sees=lambda row, column: not causal or bin_of[column] <= bin_of[row],
        )
        tokens = [token + more for token, more in zip(tokens, added, strict=True)]
        for i, token in enumerate(tokens):
            inner = gelu(linear(normed(token, weights, f"{block}.mlp_norm"), weights, f"{block}.mlp.0"))
            tokens[i] = token + linear(inner, weights, f"{block}.mlp.3")
    return [normed(token, weights, "encoder.norm") for token in tokens]


def embedded(drive, weights, options):
    """What was read in becomes a token: a linear map beside it, or of its softsign, scaled to the length of a token."""
    if options["embedding"] == "skip":
        return linear(drive, weights, "embed") + drive
    return linear(drive / (1 + np.abs(drive)) * math.sqrt(WIDTH), weights, "embed")


def has_positions(options):
    return options["bin_vectors"] or not options["rope"]


def shown_by_hand(counts, hidden, options):
    """(bin, neuron) what is read in: counts with zeros for what is hidden; or standardised, and hidden is the mean."""
    if not options["standardise"]:
        return np.where(hidden, 0.0, counts)
    return np.where(hidden, 0.0, (counts - MEAN) / np.sqrt(VARIANCE + EXTRA_VARIANCE))


def ndt1_by_hand(weights, stitcher, shown, scheme, options):
    """(bin, neuron) log-rates of one trial: a token for each bin."""
    tokens = [weights[f"prompts.{scheme}"], stitcher["token"]]
    for t, values in enumerate(shown):
        token = embedded(linear(values, stitcher, "read_in"), weights, options)
        tokens.append(token + weights["position.weight"][t] if has_positions(options) else token)
    bin_of = [-1, -1, *range(len(shown))]
    states = encoded(tokens, weights, bin_of=bin_of, causal=attends_causally(scheme), rope=options["rope"])
    return np.array([linear(state, stitcher, "read_out") for state in states[2:]])


def ndt2_by_hand(weights, stitcher, shown, scheme, options):
    """(bin, neuron) log-rates of one trial: a token for each bin and group of neighbouring neurons."""
    groups = [range(first, min(first + GROUP, shown.shape[1])) for first in range(0, shown.shape[1], GROUP)]
    tokens, bin_of = [weights[f"prompts.{scheme}"], stitcher["token"]], [-1, -1]
    for t, values in enumerate(shown):
        for group, neurons in enumerate(groups):
            drive = stitcher["bias_in"].copy()
            for member, neuron in enumerate(neurons):
                drive += values[neuron] * stitcher["weight_in"][group, member]
            token = embedded(drive, weights, options) + weights["space.weight"][group]
            tokens.append(token + weights["time.weight"][t] if has_positions(options) else token)
            bin_of.append(t)
    states = encoded(tokens, weights, bin_of=bin_of, causal=attends_causally(scheme), rope=options["rope"])[2:]
    rates = np.zeros(shown.shape)
    for t in range(len(shown)):
        for group, neurons in enumerate(groups):
            for member, neuron in enumerate(neurons):
                state = states[t * len(groups) + group]
                rates[t, neuron] = stitcher["weight_out"][group, member] @ state + stitcher["bias_out"][neuron]
    return rates


SIZES = {"width": WIDTH, "n_layers": N_LAYERS, "n_heads": N_HEADS, "mlp_width": MLP_WIDTH, "max_bins": 16}
TWINS = {
    "NDT1": (partial(NDT1, **SIZES), ndt1_by_hand),
    "NDT2": (partial(NDT2, **SIZES, neurons_per_token=GROUP, max_groups=4), ndt2_by_hand),
}
WAYS = {
    "the paper's": {"embedding": "softsign", "standardise": False, "bin_vectors": False, "rope": False},
    "rotary": {"embedding": "softsign", "standardise": False, "bin_vectors": False, "rope": True},
    "the recipe's": {"embedding": "skip", "standardise": True, "bin_vectors": True, "rope": True},
}


@pytest.mark.parametrize("scheme", ["neuron", "causal"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TWINS)
def test_an_architecture_is_its_equations(name, way, scheme):
    session, (make, by_hand), options = make_session("a"), TWINS[name], WAYS[way]
    backbone = make(**options, principal_axes=False)
    model = StitchedModel(backbone)
    model.add_session(session)
    scatter(model)
    model.double()
    statistics = (torch.from_numpy(values) for values in (MEAN, VARIANCE, np.zeros((0, len(MEAN)))))
    model.start_from_statistics({"a": NeuronStatistics(*statistics)})
    model.eval()
    group = make_group(session, n_trials=2)
    hidden = torch.zeros_like(group.counts, dtype=torch.bool)
    hidden[0, :, 2] = hidden[1, 3:5] = True
    with torch.no_grad():
        shown = VisibleGroup("a", group.counts.masked_fill(hidden, 0), hidden)
        found = model([shown], scheme).log_rates[0].numpy()
    weights = {name: value.detach().numpy() for name, value in backbone.named_parameters()}
    own = {name: v.detach().numpy() for name, v in model.stitchers[module_key("a")].named_parameters()}
    assert found.shape == (2, N_BINS, session.n_neurons)
    for trial in range(2):
        shown = shown_by_hand(group.counts[trial].numpy(), hidden[trial].numpy(), options)
        slow = by_hand(weights, own, shown, scheme, options)
        np.testing.assert_allclose(found[trial], slow, rtol=1e-5, atol=1e-5)


def test_rotary_positions_turn_each_pair_by_its_own_angle():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 8, generator=generator, dtype=torch.float64)
    position = torch.tensor([0.0, 1.0, 7.0, 30.0, -4.5])
    found = rotate(x, position)
    for token, place in enumerate(position.tolist()):
        for trial in range(2):
            for head in range(3):
                by_hand = turned(x[trial, head, token].numpy(), place)
                np.testing.assert_allclose(found[trial, head, token].numpy(), by_hand, rtol=1e-5, atol=1e-5)


def test_what_attention_sees_of_two_positions_is_their_distance():
    generator = torch.Generator().manual_seed(1)
    query, key = torch.randn(2, 1, 1, 1, 8, generator=generator, dtype=torch.float64)
    products = [
        (rotate(query, torch.tensor([a])) * rotate(key, torch.tensor([b]))).sum().item()
        for a, b in ((5.0, 2.0), (13.0, 10.0), (3.0, 0.0))
    ]
    assert products == pytest.approx([products[0]] * 3, rel=1e-5)

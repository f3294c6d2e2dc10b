"""AdamW step by step (Loshchilov & Hutter 2019, algorithm 2): decay apart from the moments, by the schedule's rate."""

import math

import pytest
import torch

from neuromtm.models.ndt1 import NDT1
from neuromtm.models.stitching import StitchedModel, module_key
from neuromtm.training.optim import learning_rate_factor, make_optimizer
from tests.models.small_models import make_session, scatter

LR, DECAY, STITCHER_DECAY = 0.01, 0.3, 0.7
FIRST, SECOND, EPSILON = 0.9, 0.999, 1e-8
N_STEPS = 4


def test_steps_are_those_of_the_algorithm():
    model = StitchedModel(NDT1(width=4, n_layers=1, n_heads=2, mlp_width=4, max_bins=4))
    model.add_session(make_session("a"))
    scatter(model)
    model.double()
    made = make_optimizer(
        model,
        lr=LR,
        weight_decay=DECAY,
        stitcher_weight_decay=STITCHER_DECAY,
        schedule="constant",
        n_steps=N_STEPS,
        warmup_fraction=0.5,
        fused=False,
    )
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    stitcher = model.stitchers[module_key("a")]
    watched = {
        "a shared matrix": (model.backbone.embed.weight, DECAY),
        "a stitcher's matrix": (stitcher.read_in.weight, STITCHER_DECAY),
        "a bias": (model.backbone.embed.bias, 0.0),
        "a session's token": (stitcher.token, 0.0),
    }
    expected = {name: weights.detach().flatten()[0].item() for name, (weights, _) in watched.items()}
    moments = dict.fromkeys(watched, (0.0, 0.0))
    for step in range(N_STEPS):
        slope = math.sin(1.0 + step)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, slope)
        optimizer.step()
        scheduler.step()
        rate = LR * min(1.0, (step + 1) / 2)  # the warm-up has two steps
        for name, (_, decay) in watched.items():
            first, second = moments[name]
            first, second = FIRST * first + (1 - FIRST) * slope, SECOND * second + (1 - SECOND) * slope**2
            moments[name] = first, second
            mean, square = first / (1 - FIRST ** (step + 1)), second / (1 - SECOND ** (step + 1))
            expected[name] -= rate * (decay * expected[name] + mean / (math.sqrt(square) + EPSILON))
    for name, (weights, _) in watched.items():
        assert weights.detach().flatten()[0].item() == pytest.approx(expected[name], rel=1e-9), name


def test_the_warm_up_is_the_nearest_whole_number_of_steps():
    factor = learning_rate_factor("constant", n_steps=11, warmup_fraction=0.25)  # 2.75 steps
    assert [factor(step) for step in range(4)] == pytest.approx([1 / 3, 2 / 3, 1.0, 1.0])

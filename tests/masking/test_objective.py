"""The draw of a scheme for each batch, and the checks of an objective's options."""

import math
from collections import Counter

import numpy as np
import pytest
import torch

from neuromtm.batch import RegionIndex
from neuromtm.errors import ConfigError, DataError
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import MTM

TWO_REGIONS = RegionIndex.of(torch.tensor([0, 0, 1, 1]))
ONE_REGION = RegionIndex.of(torch.tensor([0, 0, 0]))


def drawn(objective: Objective, regions: list[RegionIndex], n_draws: int = 800) -> Counter:
    generator = np.random.default_rng(0)
    return Counter(objective.draw_scheme(regions, generator) for _ in range(n_draws))


def test_multi_task_masking_draws_its_four_schemes_alike():
    times = drawn(Objective(), [TWO_REGIONS])
    assert times.keys() == set(MTM)
    spread = 5 * math.sqrt(800 * 1 / 4 * 3 / 4)
    assert all(abs(n - 200) < spread for n in times.values())


def test_a_session_of_one_region_takes_part_in_the_other_schemes():
    assert drawn(Objective(), [TWO_REGIONS, ONE_REGION]).keys() == {"neuron", "causal", "intra_region"}


def test_the_same_generator_draws_the_same_schemes():
    objective = Objective()
    first, second = (
        [objective.draw_scheme([TWO_REGIONS], generator) for _ in range(20)]
        for generator in (np.random.default_rng(1), np.random.default_rng(1))
    )
    assert first == second


def test_sessions_that_allow_none_of_the_schemes_are_an_error_in_one_sentence_that_says_the_mend():
    with pytest.raises(DataError, match=r"inter_region can be used.*leave that session out") as error:
        drawn(Objective(schemes=["inter_region"]), [TWO_REGIONS, ONE_REGION])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"schemes": []}, "schemes is empty"),
        ({"schemes": ["neurons"]}, "'neurons' is no scheme"),
        ({"schemes": ["neuron", "neuron"]}, "twice"),
        ({"neuron_ratio": 0.0}, "neuron_ratio is 0.0"),
        ({"causal_ratio": 1.0}, "causal_ratio is 1.0"),
        ({"temporal_ratio": -0.1}, "temporal_ratio is -0.1"),
        ({"intra_region_ratio": math.nan}, "intra_region_ratio is nan"),
        ({"token_ratio": 2.0}, "token_ratio is 2.0"),
        ({"behavior_weight": 0.0}, "behavior_weight is 0.0"),
        ({"behavior_weight": math.inf}, "behavior_weight is inf"),
        ({"region_dropout": 1.1}, "region_dropout is 1.1"),
        ({"region_dropout": math.nan}, "region_dropout is nan"),
        ({"neurons_per_token": 0}, "neurons_per_token is 0"),
    ],
)
def test_a_bad_option_is_named(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Objective(**options)


def test_all_bad_options_are_named_at_once():
    with pytest.raises(ConfigError, match=r"'x' is no scheme.*neuron_ratio is 3.*neurons_per_token is 0"):
        Objective(schemes=["x"], neuron_ratio=3, neurons_per_token=0)


def test_a_task_is_asked_with_a_prompt_that_was_trained():
    assert Objective().stand_in("causal") == "causal"
    assert Objective(schemes=["temporal"]).stand_in("causal") == "temporal"
    assert Objective(schemes=["temporal", "neuron"]).stand_in("inter_region") == "temporal"


def test_random_tokens_are_those_of_the_model_unless_another_size_is_given():
    assert Objective().for_tokens(16).neurons_per_token == 16
    assert Objective().for_tokens(None).neurons_per_token == 128
    assert Objective(neurons_per_token=5).for_tokens(16).neurons_per_token == 5


def targets(objective, region, *, n_trials=400, scheme="inter_region"):
    """(trial, neuron) bool, what the loss scores."""
    counts = torch.ones(n_trials, 2, region.n_neurons, dtype=torch.uint8)
    return objective.hide(scheme, counts, region, torch.Generator().manual_seed(0)).target[:, 0]


@pytest.mark.parametrize("scheme", ["intra_region", "inter_region"])
def test_a_region_for_each_trial_is_drawn_only_if_the_objective_says_so(scheme):
    region = RegionIndex.of(torch.tensor([0, 0, 1, 1, 1]))
    one, each = (targets(Objective(region_per_trial=per_trial), region, scheme=scheme) for per_trial in (False, True))
    assert not (one[:, :2].any() and one[:, 2:].any())
    assert each[:, :2].any()
    assert each[:, 2:].any()


@pytest.mark.parametrize("scheme", ["intra_region", "inter_region"])
def test_neurons_of_unknown_region_are_drawn_like_one_more_region_only_if_the_objective_says_so(scheme):
    region = RegionIndex.of(torch.tensor([0, 0, 1, 1, -1, -1, -1]))
    without, drawn = (
        targets(Objective(region_per_trial=True, draw_unknown=unknown), region, scheme=scheme)
        for unknown in (False, True)
    )
    assert not without[:, 4:].any()
    share = drawn[:, 4:].any(dim=1).double().mean().item()
    at_least = 1 / 3 if scheme == "inter_region" else (1 - 0.7**3) / 3
    assert share == pytest.approx(at_least, abs=5 * (0.25 / 400) ** 0.5)
    assert region.sizes == (2, 2)  # the session's own regions stay as they are: a test asks for these


def test_a_session_of_unknown_neurons_alone_and_one_region_allows_more_schemes_with_them():
    region = RegionIndex.of(torch.tensor([-1, -1, -1]))
    assert Objective(draw_unknown=False).applicable([region]) == ["neuron", "causal"]
    assert Objective().applicable([region]) == ["neuron", "causal", "intra_region"]
    every = RegionIndex.of(torch.tensor([0, 1]))
    assert every.with_unknown() is every

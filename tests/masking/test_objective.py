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

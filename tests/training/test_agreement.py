"""Options that would change nothing are refused, in one sentence, when a training begins."""

import pytest

from neuromtm.errors import ConfigError
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import MTM
from neuromtm.models.ndt1 import NDT1
from neuromtm.models.ndt2 import NDT2
from neuromtm.training.agreement import require_effects
from tests.running import pretrain, refusal

SMALL = {"width": 16, "n_layers": 1, "n_heads": 2, "mlp_width": 16, "max_bins": 64}
OPTIONS = {"behavior_weight": 2.0, "trailing_blocks": 0.5, "region_dropout": 0.5, "neurons_per_token": 7}
READ_BY = {
    "behavior_weight": "decoding",
    "trailing_blocks": "causal or heldout",
    "region_dropout": "inter_region",
    "neurons_per_token": "random_token",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_a_scheme_that_is_not_drawn_is_refused(option):
    value, scheme = OPTIONS[option], READ_BY[option]
    readers = scheme.split(" or ")
    others = [one for one in (*MTM, "temporal") if one not in readers]
    backbone = NDT1(**SMALL)
    with pytest.raises(ConfigError, match=rf"{option} is {value}, which only the scheme {scheme} reads\. Add"):
        require_effects(backbone, Objective(schemes=others, **{option: value}), new=True)
    for reader in readers:
        require_effects(backbone, Objective(schemes=[*others, reader], **{option: value}), new=True)


def test_the_weight_of_behaviour_without_decoding_has_no_effect():
    reading = NDT1(**SMALL, behaviors=["wheel"])
    with pytest.raises(ConfigError, match=r"behavior_weight is 2\.0, which only the scheme decoding reads"):
        require_effects(reading, Objective(schemes=["neuron", "encoding"], behavior_weight=2.0), new=True)


@pytest.mark.parametrize("scheme", ["encoding", "decoding"])
def test_behaviour_that_no_scheme_shows_or_scores_is_refused(scheme):
    reading = NDT1(**SMALL, behaviors=["wheel", "pupil"])
    with pytest.raises(ConfigError, match=r"reads behaviour \(wheel, pupil\), but no scheme shows or scores it"):
        require_effects(reading, Objective(), new=True)
    require_effects(reading, Objective(schemes=["neuron", scheme]), new=True)
    require_effects(reading, Objective(), new=False)  # a checkpoint's architecture cannot be changed


@pytest.mark.parametrize("backbone", [NDT1(**SMALL), NDT2(neurons_per_token=16, **SMALL)])
def test_what_is_on_by_default_and_the_ratios_of_other_schemes_are_allowed(backbone):
    ratios = {"temporal_ratio": 0.4, "token_ratio": 0.4, "intra_region_ratio": 0.4, "causal_ratio": 0.4}
    given = Objective(schemes=["neuron"], region_per_trial=False, draw_unknown=False, **ratios)
    for objective in (Objective(), given):
        require_effects(backbone, objective.for_tokens(backbone.neurons_per_token), new=True)


def test_a_training_refuses_such_an_option_before_it_begins(root, sessions_dir, tmp_path, capsys):
    command = pretrain(root, sessions_dir, "--run_dir", tmp_path / "run")
    assert "trailing_blocks is 0.5, which only the scheme causal or heldout reads" in refusal(
        capsys, *command, "--model.objective.schemes=[neuron]", "--model.objective.trailing_blocks=0.5"
    )
    assert "no scheme shows or scores it" in refusal(
        capsys, *command, "--model.backbone.behaviors=[whisker_motion_energy]"
    )
    assert not list((tmp_path / "run").rglob("*.ckpt"))

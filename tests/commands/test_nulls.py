"""null is refused where a class cannot take it, and kept where it can."""

import pytest

from neuromtm.commands.nulls import require_no_nulls
from neuromtm.errors import ConfigError
from tests.running import refusal

NDT1 = "neuromtm.models.ndt1.NDT1"


def test_an_argument_whose_type_has_no_none_is_named_with_its_place():
    backbone = {"class_path": NDT1, "init_args": {"width": None, "prompt": None, "inner_dropout": None}}
    with pytest.raises(ConfigError) as error:
        require_no_nulls({"model": {"backbone": backbone}})
    assert str(error.value) == (
        "model.backbone.init_args.width is null, which it cannot be. "
        "model.backbone.init_args.prompt is null, which it cannot be."
    )


def test_what_may_be_null_or_is_no_class_of_ours_is_kept():
    stop = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"stopping_threshold": None}}
    other = {"class_path": "no.such.Class", "init_args": {"anything": None}}
    objective = {"class_path": "neuromtm.masking.objective.Objective", "init_args": {"neurons_per_token": None}}
    require_no_nulls({"model": {"objective": objective, "pretrained": None}, "trainer": {"callbacks": [stop, other]}})


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("model.backbone.width", "model.backbone.init_args.width is null"),
        ("model.objective.neuron_ratio", "model.objective: neuron_ratio must not be null"),
        ("model.objective.schemes", "model.objective: schemes must not be null"),
    ],
)
def test_a_training_says_so(option, said, root, capsys):
    recipe = ("fit", "--config", root / "conf" / "pretrain.yaml", "--data.root", "nowhere")
    assert said in refusal(capsys, *recipe, f"--{option}", "null")

"""What the parser says of a command line is one plain line: which option, which value, what is allowed."""

import pytest

from neuromtm.commands.failures import in_plain_words
from tests.running import refusal


@pytest.mark.parametrize(
    ("recipe", "arguments", "said"),
    [
        (
            "small_finetune",
            ("--model.pretrained", "x.ckpt", "--model.backbone.init_args.standardise", "false"),
            "neuromtm: model.backbone: options of an architecture are given, but no class_path. In fine-tuning the "
            "architecture is that of the checkpoint (model.pretrained): leave model.backbone out. For a new model name "
            "its class_path.",
        ),
        ("small", ("--model.lr", "nan"), "neuromtm: model.lr is nan, not a number."),
        ("small", ("--data.batch_size", "nan"), "neuromtm: data.batch_size is nan, not a whole number."),
        (
            "small",
            ("--model.backbone.init_args.width", "nan"),
            "neuromtm: model.backbone.init_args.width is nan, not a whole number.",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_named(root, tmp_path, capsys, recipe, arguments, said):
    command = ("fit", "--config", root / "conf" / f"{recipe}.yaml", "--data.root", tmp_path)
    assert refusal(capsys, *command, *arguments) == said


def test_other_words_of_the_parser_stay_as_they_are():
    said = 'Parser key "model.schedule": Expected one of a, b. Got value: c'
    assert in_plain_words(said) == said

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
        ("small", ("--data.n_sessions", "x"), "neuromtm: data.n_sessions is x, not a whole number or null."),
        ("small", ("--data.regions", "5"), "neuromtm: data.regions is 5, not a list of texts or null."),
        (
            "small",
            ("--activity.prompt", "x"),
            "neuromtm: activity.prompt is x, not one of 'temporal', 'neuron', 'causal', 'intra_region', "
            "'inter_region', 'random_token', 'encoding', 'decoding', 'heldout' or null.",
        ),
        (
            "small",
            ("--model.backbone.init_args.inner_dropout", ""),
            "neuromtm: model.backbone.init_args.inner_dropout is empty, not a number or null.",
        ),
        ("small", ("--trainer.logger", "x"), "neuromtm: trainer.logger is x, which it cannot be; --help says more."),
        (
            "small",
            ("--model.backbone", '{"depth": 1}'),
            "neuromtm: model.backbone: neuromtm.models.ndt1.NDT1: Option 'depth' is not accepted.",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_named(root, tmp_path, capsys, recipe, arguments, said):
    command = ("fit", "--config", root / "conf" / f"{recipe}.yaml", "--data.root", tmp_path)
    assert refusal(capsys, *command, *arguments) == said


def test_other_words_of_the_parser_stay_as_they_are():
    said = 'Parser key "model.schedule": Expected one of a, b. Got value: c'
    assert in_plain_words(said) == said

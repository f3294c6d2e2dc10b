"""Values of the Trainer's options that Lightning takes, or ends by a trace of its own code."""

import pytest

from neuromtm.commands.trainer_options import require_trainer_options
from neuromtm.errors import ConfigError
from tests.running import refusal


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"accumulate_grad_batches": 0}, "trainer.accumulate_grad_batches is 0, less than 1"),
        ({"check_val_every_n_epoch": 0}, "trainer.check_val_every_n_epoch is 0, less than 1"),
        ({"gradient_clip_val": -0.1}, "trainer.gradient_clip_val is -0.1, less than 0"),
        ({"num_sanity_val_steps": -2}, "trainer.num_sanity_val_steps is -2"),
        ({"min_steps": -1, "min_epochs": 0}, "trainer.min_epochs is 0, less than 1. trainer.min_steps is -1"),
        ({"max_epochs": 0}, "trainer.max_epochs is 0, so that nothing is trained"),
        ({"val_check_interval": 0}, "trainer.val_check_interval is 0"),
        ({"num_nodes": 10**12}, "trainer.num_nodes is 1000000000000, more than 65536"),
        ({"devices": "1000000000000"}, "trainer.devices is 1000000000000, more than 65536"),
        ({"max_time": {"quatsch": 1}}, "trainer.max_time is {'quatsch': 1}, no time"),
        ({"max_time": {"hours": -1}}, "trainer.max_time"),
    ],
)
def test_what_cannot_mean_anything_is_named(options, words):
    with pytest.raises(ConfigError) as error:
        require_trainer_options(options)
    assert words in str(error.value)


def test_what_means_something_is_left_to_lightning():
    require_trainer_options(
        {
            "max_epochs": -1,
            "max_steps": 10**9,
            "min_steps": None,
            "check_val_every_n_epoch": None,
            "gradient_clip_val": 0.0,
            "num_sanity_val_steps": -1,
            "log_every_n_steps": 0,
            "devices": "auto",
            "num_nodes": 4,
            "max_time": {"hours": 1},
            "val_check_interval": 0.5,
        }
    )
    require_trainer_options({"devices": "0,1", "max_time": "00:12:00:00"})


def test_a_training_says_so_before_it_builds_anything(root, capsys):
    recipe = ("fit", "--config", root / "conf" / "pretrain.yaml", "--data.root", "nowhere")
    assert "trainer.accumulate_grad_batches is 0" in refusal(capsys, *recipe, "--trainer.accumulate_grad_batches=0")

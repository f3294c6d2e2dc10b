"""What a decoder does with the model beneath it: the prompt that it asks with, and how a frozen one stays."""

import pytest

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training.decoding import BehaviorDecoding
from tests.running import EIDS
from tests.trainers import quiet_trainer


@pytest.fixture
def watched(pretrained, sessions_dir, tmp_path):
    """A function that trains a decoder for a step, and gives it, its data, and what each pass asked its model."""

    def train(**options):
        module = BehaviorDecoding("choice", pretrained=str(pretrained / "checkpoints" / "last.ckpt"), **options)
        data, asked, begin = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]]), [], module.begin

        def watch(data):
            begin(data)
            module.built_model.register_forward_pre_hook(lambda model, given: asked.append((given[1], model.training)))

        module.begin = watch
        trainer = quiet_trainer(tmp_path, max_steps=1, limit_val_batches=1)
        trainer.fit(module, data)
        return module, data, asked

    return train


@pytest.mark.parametrize("prompt", ["neuron", "causal", "inter_region"])
def test_the_model_is_asked_with_the_prompt_of_the_option(watched, prompt):
    module, data, asked = watched(prompt=prompt)
    module.decode(next(data.groups(EIDS[0], "test")))
    assert len(asked) >= 2
    assert {scheme for scheme, _ in asked} == {prompt}


@pytest.mark.parametrize("frozen", [False, True])
def test_a_frozen_model_drops_nothing_while_its_head_learns(watched, frozen):
    _, _, asked = watched(frozen=frozen)
    assert asked[0][1] is not frozen

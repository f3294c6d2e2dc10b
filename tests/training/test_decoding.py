"""Decoding behaviour with a head on the model: what is learned, what is held fixed, and what is refused."""

from dataclasses import replace

import lightning
import numpy as np
import pytest
import torch

from neuromtm.callbacks.checkpoints import LastCheckpoint
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import read_shard, write_shard
from neuromtm.errors import CheckpointError, ConfigError, DataError
from neuromtm.models.heads import BinHead, TrialHead
from neuromtm.models.ndt1 import NDT1
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.decoding import BehaviorDecoding
from neuromtm.training.masked_modeling import MaskedModeling
from tests.running import EIDS, HELDOUT
from tests.trainers import quiet_trainer

SMALL = {"width": 16, "n_layers": 1, "n_heads": 2, "mlp_width": 32, "max_bins": 32}


class Stopped(Exception):
    """Stands for whatever ends a run."""


def trainer_for(folder, **options):
    return quiet_trainer(
        folder,
        enable_checkpointing=True,
        log_every_n_steps=1,
        plugins=[WholeFileCheckpointIO()],
        callbacks=[LastCheckpoint(folder, every_s=0.0)],
        **{"max_epochs": 1} | options,
    )


def fit(folder, module, root, *, eid=EIDS[0], epochs=1):
    """Train; the checkpoint is `folder / "last.ckpt"`."""
    lightning.seed_everything(0)
    data = SessionDataModule(root=str(root), sessions=[eid])
    trainer_for(folder, max_epochs=epochs).fit(module, data)
    return data


def decoder(target="choice", backbone=True, **options):
    return BehaviorDecoding(target, NDT1(**SMALL) if backbone else None, **{"lr": 1e-2} | options)


@pytest.fixture(scope="module")
def masked_model(sessions_dir, tmp_path_factory):
    """A checkpoint that knows the first session only."""
    folder = tmp_path_factory.mktemp("masked")
    fit(folder, MaskedModeling(NDT1(**SMALL), lr=1e-2), sessions_dir)
    return folder / "last.ckpt"


@pytest.fixture
def driven(sessions_dir, tmp_path):
    """A session in which the count of one neuron is the behaviour; makes it from a function of the shard."""

    def make(change):
        shard = read_shard(next(path for path in sessions_dir.glob("*.h5") if EIDS[0] in path.name))
        path = tmp_path / "data" / f"{EIDS[0]}.h5"
        path.parent.mkdir(exist_ok=True)
        write_shard(path, change(shard))
        add_shard(path, "pretrain")
        return path.parent

    return make


def weights_of(module):
    return {name: value.clone() for name, value in module.model.state_dict().items()}


def test_a_choice_that_spikes_tell_is_learned(driven, tmp_path):
    def told(shard):
        choice = np.where(np.arange(shard.header.n_trials) % 2, 1, -1).astype(np.int8)
        counts = shard.counts.copy()
        counts[:, :, 0] = (choice == 1)[:, None] * 3
        return replace(
            shard, counts=counts, header=replace(shard.header, trials=replace(shard.header.trials, choice=choice))
        )

    module = decoder()
    data = fit(tmp_path / "run", module, driven(told), epochs=12)
    group = next(data.groups(EIDS[0], "test"))
    module.eval()
    assert torch.equal(module.decode(group), group.choice.float())


def test_a_trace_comes_back_in_its_own_units(driven, tmp_path):
    def told(shard):
        trace = 100 + 20 * shard.counts[:, :, 0].clip(max=2).astype(np.float32)
        trace[3, 2:] = np.nan  # a stretch that is not known
        return replace(shard, behavior={"whisker_motion_energy": trace})

    module = decoder("whisker_motion_energy")
    data = fit(tmp_path / "run", module, driven(told), epochs=30)
    group = next(data.groups(EIDS[0], "test"))
    module.eval()
    true = group.behavior["whisker_motion_energy"]
    assert (module.decode(group) - true).square().mean() < 0.5 * true.var()


def test_a_trace_begins_at_the_average_of_the_training_trials(sessions_dir, tmp_path):
    module = decoder("whisker_motion_energy", lr=1e-30)
    data = fit(tmp_path, module, sessions_dir)
    average = data.behavior(EIDS[0], "whisker_motion_energy")[data.headers[EIDS[0]].splits["train"]].mean(axis=0)
    decoded = module.decode(next(data.groups(EIDS[0], "test")))
    torch.testing.assert_close(decoded, torch.from_numpy(average).expand_as(decoded))


def test_a_number_of_a_trial_is_decoded_from_the_whole_trial(sessions_dir, tmp_path):
    module = decoder("reaction_time_s")
    data = fit(tmp_path, module, sessions_dir)
    assert isinstance(module.heads["shared"], TrialHead)
    group = next(data.groups(EIDS[0], "test"))
    assert module.decode(group).shape == (len(group.trial), 1)


def test_heads_begin_at_chance_and_look_at_what_they_should():
    states = torch.randn(3, 4, 5, requires_grad=True)
    for head in (TrialHead(n_bins=4, state_size=5, n_outputs=2), BinHead(state_size=5)):
        assert not head(states).any()
        torch.nn.init.ones_(head.linear.weight)
    trial, trace = TrialHead(n_bins=4, state_size=5, n_outputs=2), BinHead(state_size=5)
    for head in (trial, trace):
        torch.nn.init.ones_(head.linear.weight)
    (seen,) = torch.autograd.grad(trace(states)[0, 1], states)
    assert torch.equal(seen.any(dim=2), torch.tensor([[False, True, False, False], [False] * 4, [False] * 4]))
    (seen,) = torch.autograd.grad(trial(states)[0, 1], states)
    assert seen[0].all()
    assert not seen[1:].any()


def test_a_frozen_model_stays_as_it_was_and_its_head_learns(sessions_dir, masked_model, tmp_path):
    module = decoder(backbone=False, pretrained=str(masked_model), frozen=True)
    fit(tmp_path, module, sessions_dir)
    before = torch.load(masked_model, weights_only=True)["state_dict"]
    assert all(torch.equal(value, before[f"model.{name}"]) for name, value in weights_of(module).items())
    assert module.heads["shared"].linear.weight.any()


def test_a_fine_tuned_model_begins_with_the_weights_of_the_session_and_moves(sessions_dir, masked_model, tmp_path):
    before = torch.load(masked_model, weights_only=True)["state_dict"]
    name = f"stitchers.session:{EIDS[0]}.read_in.weight"

    class Begin(lightning.Callback):
        def on_train_start(self, trainer, pl_module):
            assert torch.equal(pl_module.model.state_dict()[name], before[f"model.{name}"])

    module = decoder(backbone=False, pretrained=str(masked_model))
    trainer = trainer_for(tmp_path)
    trainer.callbacks.append(Begin())
    trainer.fit(module, SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]]))
    assert not torch.equal(module.model.state_dict()[name], before[f"model.{name}"])


def test_each_session_can_have_a_head_of_its_own(sessions_dir, tmp_path):
    module = decoder(own_heads=True)
    lightning.seed_everything(0)
    data = SessionDataModule(root=str(sessions_dir), sessions=list(EIDS[:2]), batch_size=8)
    trainer_for(tmp_path).fit(module, data)
    first, second = (module.heads[f"session:{eid}"].linear.weight for eid in EIDS[:2])
    assert not torch.equal(first, second)
    before = module.decode(next(data.groups(EIDS[1], "test")))
    torch.nn.init.constant_(first, 9.0)
    assert torch.equal(module.decode(next(data.groups(EIDS[1], "test"))), before)


def test_a_frozen_model_must_know_the_session(sessions_dir, masked_model, tmp_path):
    module = decoder(backbone=False, pretrained=str(masked_model), frozen=True)
    with pytest.raises(ConfigError, match=f"does not know the session {HELDOUT}"):
        fit(tmp_path, module, sessions_dir, eid=HELDOUT)


def test_an_untrained_model_is_not_held_fixed():
    with pytest.raises(ConfigError, match="an untrained model would be held fixed"):
        decoder(frozen=True)


def test_a_decoder_goes_on_where_it_stopped(sessions_dir, tmp_path):
    lightning.seed_everything(0)
    whole = decoder()
    fit(tmp_path / "whole", whole, sessions_dir, epochs=3)
    lightning.seed_everything(0)
    first = decoder()
    data = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]])

    class Stop(lightning.Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            if trainer.current_epoch == 1:
                raise Stopped

    trainer = trainer_for(tmp_path / "stopped", max_epochs=3)
    trainer.callbacks.append(Stop())
    with pytest.raises(Stopped):
        trainer.fit(first, data)
    rest = BehaviorDecoding("choice", NDT1(**SMALL), lr=1e-2)
    again = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]])
    trainer_for(tmp_path / "stopped", max_epochs=3).fit(rest, again, ckpt_path=tmp_path / "stopped" / "last.ckpt")
    assert rest.state_dict().keys() == whole.state_dict().keys()
    assert all(torch.equal(value, whole.state_dict()[name]) for name, value in rest.state_dict().items())


def test_a_masked_model_is_no_decoder_and_a_decoder_no_masked_model(sessions_dir, masked_model, tmp_path):
    data = SessionDataModule(root=str(sessions_dir), sessions=[EIDS[0]])
    with pytest.raises(CheckpointError, match="a masked model, not a decoder of 'choice'"):
        trainer_for(tmp_path).test(decoder(backbone=False), data, ckpt_path=masked_model)
    fit(tmp_path / "choice", decoder(), sessions_dir)
    choice = tmp_path / "choice" / "last.ckpt"
    with pytest.raises(CheckpointError, match="a decoder of 'choice', not a masked model"):
        trainer_for(tmp_path).test(MaskedModeling(), data, ckpt_path=choice)
    with pytest.raises(CheckpointError, match="another decoder: target 'choice' there and 'reward' here"):
        trainer_for(tmp_path).test(decoder("reward", backbone=False), data, ckpt_path=choice)


def test_one_class_in_train_is_refused(driven, tmp_path):
    def same(shard):
        trials = replace(shard.header.trials, choice=np.ones(shard.header.n_trials, np.int8))
        return replace(shard, header=replace(shard.header, trials=trials))

    with pytest.raises(DataError, match=r"have only the value 1 of 'choice', so there are no classes"):
        fit(tmp_path / "run", decoder(), driven(same))


def test_no_known_value_is_refused(driven, tmp_path):
    def unknown(shard):
        trials = replace(shard.header.trials, choice=np.zeros(shard.header.n_trials, np.int8))
        return replace(shard, header=replace(shard.header, trials=trials))

    with pytest.raises(DataError, match="no known value of 'choice' in any session"):
        fit(tmp_path / "run", decoder(), driven(unknown))


def test_unknown_values_teach_nothing(driven, tmp_path):
    def some(shard):
        choice = np.resize([-1, 1, 0], shard.header.n_trials).astype(np.int8)
        return replace(shard, header=replace(shard.header, trials=replace(shard.header.trials, choice=choice)))

    module = decoder()
    data = fit(tmp_path / "run", module, driven(some))
    group = next(data.groups(EIDS[0], "train"))
    values = module.values(group)
    assert values.tolist() == [{0: -1, -1: 0, 1: 1}[choice] for choice in group.choice.tolist()]
    nothing = values < 0
    total, n_known = module._cost((replace(group, **_only(group, nothing)),))
    assert (float(total), int(n_known)) == (0.0, 0)


def _only(group, chosen):
    return {
        "counts": group.counts[chosen],
        "trial": group.trial[chosen],
        "choice": group.choice[chosen],
        "behavior": {name: trace[chosen] for name, trace in group.behavior.items()},
    }

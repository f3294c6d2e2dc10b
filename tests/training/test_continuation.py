"""A stopped run goes on with the options it began with, or is refused by the name of what differs."""

import shutil

import lightning
import pytest
import torch

from neuromtm.callbacks.checkpoints import LastCheckpoint
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError
from neuromtm.training.checkpoint import KEY
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.continuation import changes, jump_of_rate
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.optim import learning_rate_factor
from tests.models.small_models import BACKBONES
from tests.running import EIDS, HELDOUT, pretrain, refusal
from tests.trainers import quiet_trainer

BEGUN = {
    "seed_everything": 0,
    "data.seed": 0,
    "data.batch_size": 16,
    "ranks": 2,
    "trainer.max_epochs": 10,
    "trainer.max_steps": -1,
    "model.schedule": "one_cycle",
    "schedule_steps": 100,
}
N_BATCHES = 6
"""three sessions of 28 training trials, 16 a batch"""


# ---- what differs


def test_the_same_options_do_not_differ():
    assert changes(BEGUN, BEGUN) == []


def test_options_that_an_older_checkpoint_lacks_are_not_compared():
    assert changes({"data.batch_size": 16}, BEGUN) == []
    assert changes({"data.batch_size": 8, "of a newer version": 3}, BEGUN) == ["data.batch_size was 8 and is now 16"]


@pytest.mark.parametrize(
    ("change", "phrases"),
    [
        ({"ranks": 1}, ["the number of ranks (trainer.devices x trainer.num_nodes) was 2 and is now 1"]),
        ({"ranks": 1, "schedule_steps": 200}, ["the number of ranks (trainer.devices x trainer.num_nodes) was 2"]),
        ({"seed_everything": 1, "data.seed": 1}, ["seed_everything was 0 and is now 1"]),
        ({"data.seed": 1}, ["data.seed was 0 and is now 1"]),
        ({"trainer.max_epochs": 20, "schedule_steps": 200}, ["trainer.max_epochs was 10 and is now 20"]),
        ({"trainer.max_steps": 80, "schedule_steps": 80}, ["trainer.max_steps was -1 and is now 80"]),
        ({"trainer.max_epochs": 20}, []),  # max_steps ends it as before
        ({"schedule_steps": 80}, ["the number of steps in the whole training was 100 and is now 80"]),
        ({"model.schedule": "constant", "schedule_steps": 80}, ["model.schedule was one_cycle and is now constant"]),
    ],
    ids=str,
)
def test_a_changed_option_is_named_and_not_what_follows_from_it(change, phrases):
    found = changes(BEGUN, BEGUN | change)
    assert len(found) == len(phrases)
    assert all(text.startswith(phrase) for text, phrase in zip(found, phrases, strict=True))


def test_a_constant_learning_rate_may_end_later():
    begun = BEGUN | {"model.schedule": "constant"}
    assert changes(begun, begun | {"trainer.max_epochs": 20, "schedule_steps": 200}) == []


def test_a_few_of_the_sessions_that_are_left_out_are_named():
    assert changes(BEGUN, BEGUN, sessions_before=["b", "a"], sessions_now=["a", "b"]) == []
    fewer = changes(BEGUN, BEGUN | {"schedule_steps": 20}, sessions_before="abcde", sessions_now="b")
    assert fewer == ["the data had the sessions a, c, d and 1 more and now have not"]


# ---- a run that goes on


@pytest.fixture(scope="module")
def epoch(sessions_dir, tmp_path_factory):
    """A folder with the checkpoint of one epoch of two."""
    folder = tmp_path_factory.mktemp("begun")
    train(sessions_dir, folder, max_epochs=2, limit_epochs=1)
    return folder


class Rates(lightning.Callback):
    """Keeps the learning rate of every step."""

    def __init__(self):
        self.rates = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


class StopBehind(lightning.Callback):
    """Stops as a time limit would, at the end of an epoch."""

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_train_epoch_end(self, trainer, pl_module):
        trainer.should_stop = trainer.current_epoch + 1 == self.n_epochs


def train(sessions_dir, folder, *, from_last=False, limit_epochs=None, module=None, data=None, **options):
    """Train a small model; gives the learning rates of its steps."""
    rates = Rates()
    trainer = quiet_trainer(
        folder,
        enable_checkpointing=True,
        limit_val_batches=0,
        log_every_n_steps=1,
        plugins=[WholeFileCheckpointIO()],
        callbacks=[rates, StopBehind(limit_epochs), LastCheckpoint(folder, every_s=1e9)],
        **options,
    )
    model = MaskedModeling(BACKBONES["NDT1"](), **({"lr": 1e-2} | (module or {})))
    given = SessionDataModule(root=str(sessions_dir), **(data or {}))
    trainer.fit(model, given, ckpt_path=folder / "last.ckpt" if from_last else None)
    return rates.rates


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_epochs": 3}, "trainer.max_epochs was 2 and is now 3"),
        ({"max_steps": 9}, "trainer.max_steps was -1 and is now 9"),
        ({"accumulate_grad_batches": 2}, "trainer.accumulate_grad_batches was 1 and is now 2"),
        ({"limit_train_batches": 1}, "trainer.limit_train_batches was 1.0 and is now 1"),
        ({"limit_train_batches": 0.5}, "trainer.limit_train_batches was 1.0 and is now 0.5"),
        ({"data": {"batch_size": 8}}, "data.batch_size was 16 and is now 8"),
        ({"data": {"sessions_per_batch": 2}}, "data.sessions_per_batch was 1 and is now 2"),
        ({"data": {"seed": 3}}, "data.seed was 0 and is now 3"),
        ({"data": {"sessions": list(EIDS[:2])}}, f"the data had the sessions {EIDS[2]} and now have not"),
        ({"module": {"seed": 3}}, "seed_everything was 0 and is now 3"),
        ({"module": {"schedule": "cosine"}}, "model.schedule was one_cycle and is now cosine"),
        ({"module": {"warmup_fraction": 0.3}}, "model.warmup_fraction was 0.15 and is now 0.3"),
    ],
    ids=str,
)
def test_a_run_with_other_steps_is_refused_by_name(sessions_dir, epoch, changes, message):
    with pytest.raises(ConfigError) as refused:
        train(sessions_dir, epoch, from_last=True, **({"max_epochs": 2} | changes))
    text = str(refused.value)
    assert f"must continue with the options it began with, but {message}. Use the same values" in text
    assert text.endswith("or start a new run with model.pretrained.")


def test_a_new_session_in_the_data_is_refused(sessions_dir, epoch):
    with pytest.raises(Exception, match=f"does not know the session {HELDOUT}"):
        train(sessions_dir, epoch, from_last=True, max_epochs=2, data={"role": "all"})


def test_a_run_of_a_constant_rate_goes_on_longer_with_the_warm_up_it_began_with(sessions_dir, tmp_path):
    module = {"schedule": "constant", "warmup_fraction": 0.75}
    whole = train(sessions_dir, tmp_path / "whole", max_epochs=2, module=module)
    assert whole.index(1e-2) == 7  # the warm-up ends in the second epoch: behind 8 steps the ninth has the full rate
    begun = train(sessions_dir, tmp_path / "begun", max_epochs=2, limit_epochs=1, module=module)
    # twice: what it was made for must outlive a second stop
    second = train(sessions_dir, tmp_path / "begun", from_last=True, max_epochs=3, limit_epochs=2, module=module)
    third = train(sessions_dir, tmp_path / "begun", from_last=True, max_epochs=4, limit_epochs=3, module=module)
    assert [len(rates) for rates in (begun, second, third)] == [N_BATCHES] * 3
    assert begun + second == whole
    assert third == [1e-2] * N_BATCHES


def test_a_checkpoint_from_before_these_options_were_kept_goes_on(sessions_dir, epoch, tmp_path):
    checkpoint = torch.load(epoch / "last.ckpt", weights_only=True)
    options = ("seed_everything", "data.batch_size", "data.sessions_per_batch")
    batches = checkpoint[KEY]["batches"]
    assert set(options) < set(batches)
    checkpoint[KEY]["batches"] = {option: batches[option] for option in options}
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert len(train(sessions_dir, tmp_path, from_last=True, max_epochs=2)) == N_BATCHES


def test_the_command_line_names_its_own_seed_alone(capsys, root, sessions_dir, pretrained, tmp_path):
    run_dir = shutil.copytree(pretrained, tmp_path / "run")
    more = ("--run_dir", run_dir, "--ckpt_path", "last", "--seed_everything", "8")
    line = refusal(capsys, *pretrain(root, sessions_dir, *more))
    assert "but seed_everything was 0 and is now 8. Use" in line


def test_the_rate_of_a_checkpoint_that_knows_no_schedule_tells_another_one():
    factor = learning_rate_factor("one_cycle", n_steps=100, warmup_fraction=0.15)
    state = {"last_epoch": 40, "_last_lr": [0.01 * factor(40)]}
    assert jump_of_rate(state, 0.01, factor) == []
    for other in (
        learning_rate_factor("one_cycle", n_steps=200, warmup_fraction=0.15),
        learning_rate_factor("cosine", n_steps=100, warmup_fraction=0.3),
        learning_rate_factor("constant", n_steps=100, warmup_fraction=0.15),
    ):
        assert "learning rate after 40 steps was" in jump_of_rate(state, 0.01, other)[0]


def test_an_older_checkpoint_is_not_trained_longer_under_a_falling_rate(sessions_dir, epoch, tmp_path):
    older = torch.load(epoch / "last.ckpt", weights_only=True)
    kept = ("seed_everything", "data.batch_size", "data.sessions_per_batch")
    older[KEY]["batches"] = {name: older[KEY]["batches"][name] for name in kept}
    torch.save(older, tmp_path / "last.ckpt")
    train(sessions_dir, tmp_path, from_last=True, max_epochs=2)
    torch.save(older, tmp_path / "last.ckpt")
    with pytest.raises(ConfigError, match=r"the learning rate after .* steps was .* and is now"):
        train(sessions_dir, tmp_path, from_last=True, max_epochs=5)

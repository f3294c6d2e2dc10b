"""The best and the last checkpoint of a run."""

import shutil

import pytest

from neuromtm.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training.checkpoint import load_checkpoint
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES
from tests.running import neuromtm, pretrain, scalars
from tests.trainers import quiet_trainer

QUICK = ("--behavior.validate", "false", "--figures.n_val_sessions", "0", "--activity.n_val_neurons", "1")


@pytest.fixture(scope="module")
def diverging(root, sessions_dir, tmp_path_factory):
    """A run whose second epoch is worse than its first: the learning rate is far too high."""
    run_dir = tmp_path_factory.mktemp("diverging") / "run"
    options = ("--model.lr", "0.5", "--model.schedule", "constant", "--trainer.max_epochs", "3", *QUICK)
    options += ("--model.backbone.standardise=false", "--model.backbone.embedding=softsign")
    options += ("--model.backbone.principal_axes=false", "--model.backbone.bin_vectors=false")
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", run_dir, *options))
    return run_dir


def test_the_last_checkpoint_is_the_last_although_an_earlier_one_is_better(diverging):
    best, last = (load_checkpoint(diverging / "checkpoints" / f"{name}.ckpt") for name in ("best", "last"))
    assert last["global_step"] == 18
    assert best["global_step"] < 18


def test_the_last_checkpoint_knows_the_best_so_far(pretrained):
    last = load_checkpoint(pretrained / "checkpoints" / "last.ckpt")
    (state,) = (state for name, state in last["callbacks"].items() if name.startswith("BestCheckpoint"))
    assert float(state["best_model_score"]) == pytest.approx(min(scalars(pretrained)["val/loss"]))


def test_a_run_without_any_validation_leaves_its_last_checkpoint(root, sessions_dir, tmp_path):
    options = ("--trainer.limit_val_batches", "0", *QUICK)
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", *options))
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 6


def test_a_moved_run_remembers_its_best(diverging, tmp_path):
    state = next(
        state
        for name, state in load_checkpoint(diverging / "checkpoints" / "last.ckpt")["callbacks"].items()
        if name.startswith("BestCheckpoint")
    )
    moved = shutil.copytree(diverging, tmp_path / "moved") / "checkpoints"
    best = BestCheckpoint(moved)
    best.load_state_dict(state)
    assert best.best_model_score == state["best_model_score"]
    assert list(best.best_k_models) == [str(moved / "best.ckpt")]
    assert best.kth_best_model_path == best.best_model_path == str(moved / "best.ckpt")


def test_a_run_elsewhere_starts_without_the_best_of_another(diverging, tmp_path):
    state = load_checkpoint(diverging / "checkpoints" / "last.ckpt")["callbacks"]
    best = BestCheckpoint(tmp_path)
    best.load_state_dict(next(iter(s for name, s in state.items() if name.startswith("BestCheckpoint"))))
    assert best.best_model_score is None


@pytest.mark.parametrize(
    ("options", "validated"),
    [
        (("--trainer.max_epochs", "3", "--trainer.check_val_every_n_epoch", "2"), [12, 18]),
        (("--trainer.max_epochs", "1", "--trainer.check_val_every_n_epoch", "10"), [6]),
        (("--trainer.max_epochs", "-1", "--trainer.max_steps", "9"), [6, 9]),
        (("--trainer.max_epochs", "-1", "--trainer.max_steps", "12"), [6, 12]),
    ],
    ids=["no multiple", "less than one", "in mid-epoch", "at the end of an epoch"],
)
def test_the_end_of_a_training_is_always_validated(root, sessions_dir, tmp_path, options, validated):
    diary = tmp_path / "diary.yaml"
    diary.write_text(
        f"trainer: {{callbacks: [{{class_path: tests.interrupted.Diary, init_args: {{folder: {tmp_path}}}}}]}}"
    )
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", tmp_path / "run", "--config", diary, *QUICK, *options))
    lines = (tmp_path / "steps-0.txt").read_text().splitlines()
    assert [int(line.split()[1]) for line in lines if line.startswith("validation")] == validated
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == validated[-1]


def test_the_best_checkpoint_by_loss_has_the_least(root, sessions_dir, tmp_path):
    neuromtm(*pretrain(root, sessions_dir, "--run_dir", tmp_path, "--trainer.max_epochs=6", "--model.lr=0.02"))
    scores = scalars(tmp_path)["val/loss"]
    assert len(set(scores)) == 6
    assert chosen_by(tmp_path) == (scores.index(min(scores)), pytest.approx(min(scores)))


def chosen_by(run_dir):
    """Epoch and score of the best checkpoint."""
    best = load_checkpoint(run_dir / "checkpoints" / "best.ckpt")
    (state,) = (state for name, state in best["callbacks"].items() if name.startswith("BestCheckpoint"))
    return best["epoch"], float(state["best_model_score"])


SCORES = (0.1, 0.2, 0.2500, 0.2490, 0.2485, 0.2475, 0.2481, 0.24)
"""bits per spike of validations, which the seventh reaches within 0.002 for the last time"""


class Scored(MaskedModeling):
    """Its validations have these scores, whatever its weights are."""

    def on_validation_epoch_end(self):
        self.log("val/bits_per_spike", SCORES[self.current_epoch])


@pytest.mark.parametrize("stops_after", [None, 4])
def test_the_best_checkpoint_by_bits_is_the_last_that_nearly_has_the_most(sessions_dir, tmp_path, stops_after):
    def fit(n_epochs, ckpt_path=None):
        module = Scored(BACKBONES["NDT1"](), lr=1e-3, schedule="constant")
        trainer = quiet_trainer(
            enable_checkpointing=True,
            max_epochs=n_epochs,
            callbacks=[BestCheckpoint(tmp_path, by="val/bits_per_spike"), LastCheckpoint(tmp_path)],
        )
        trainer.fit(module, SessionDataModule(root=str(sessions_dir)), ckpt_path=ckpt_path)

    if stops_after is not None:
        fit(stops_after)
    fit(len(SCORES), None if stops_after is None else tmp_path / "last.ckpt")
    assert load_checkpoint(tmp_path / "best.ckpt")["epoch"] == 6

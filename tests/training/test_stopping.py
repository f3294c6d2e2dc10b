"""A training that is asked to end does so between two steps, whatever it was doing, and goes on as if it had not."""

import os
import random
import signal
import subprocess
import sys
import time

import lightning
import pytest
import torch

from neuromtm.callbacks.averaging import AveragedWeights
from neuromtm.callbacks.checkpoints import BestCheckpoint, LastCheckpoint, ValidatesLastEpoch
from neuromtm.callbacks.stopping import StopBetweenSteps
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training.checkpoint import load_checkpoint
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.lightning_habits import end_epochs_once, leave_signals_alone
from neuromtm.training.masked_modeling import MaskedModeling
from neuromtm.training.stopping import TOGETHER_S, Stopped, StopSignals
from tests.interrupted import Diary, SignalAt
from tests.models.small_models import BACKBONES
from tests.trainers import quiet_trainer

N_BATCHES = 6
"""three sessions of 28 training trials, 16 a batch"""


class ValidationEnds(lightning.Callback):
    """Sends a signal when a validation ends, before anything is kept."""

    def __init__(self, step):
        self.step = step

    def on_validation_epoch_end(self, trainer, pl_module):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def train(data_dir, folder, *callbacks, goes_on=False, max_epochs=2, **options):
    """Train a small model; gives what it wrote down, the weights, and whether a signal ended it."""
    folder.mkdir(exist_ok=True)
    lightning.seed_everything(0)
    module = MaskedModeling(BACKBONES["NDT1"](), lr=1e-2)
    signals, last = StopSignals(), LastCheckpoint(folder)
    trainer = quiet_trainer(
        folder,
        enable_checkpointing=True,
        max_epochs=max_epochs,
        plugins=[WholeFileCheckpointIO()],
        callbacks=[
            AveragedWeights(0.9),
            Diary(folder=str(folder)),
            *callbacks,
            ValidatesLastEpoch(),
            BestCheckpoint(folder),
            last,
            StopBetweenSteps(signals, last),
        ],
        **options,
    )
    leave_signals_alone(trainer)
    end_epochs_once(trainer)
    stopped, data = False, SessionDataModule(root=str(data_dir), eval_batch_size=4)
    with signals:
        try:
            trainer.fit(module, data, ckpt_path=last.path if goes_on else None)
        except Stopped:
            stopped = True
    diary = (folder / "steps-0.txt").read_text().splitlines()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    kept = load_checkpoint(last.path)["state_dict"] if last.path.exists() else {}
    return diary, weights | {f"average of {name}": value for name, value in kept.items()}, stopped


OPTIONS = {
    "validated each epoch": {},
    "validated every other epoch": {"check_val_every_n_epoch": 2},
    "validated in mid-epoch": {"val_check_interval": 2},
    "gradients of two batches": {"accumulate_grad_batches": 2},
    "cut epochs": {"limit_train_batches": 4},
    "steps": {"max_epochs": -1, "max_steps": 9},
}


@pytest.fixture(scope="module", params=OPTIONS)
def whole(request, sessions_dir, tmp_path_factory):
    """Options and an uninterrupted training with them."""
    options = OPTIONS[request.param]
    diary, weights, stopped = train(sessions_dir, tmp_path_factory.mktemp("whole"), **options)
    assert not stopped
    return options, diary, weights


def moments(diary):
    """Moments of an uninterrupted training at which a signal may come: around every validation, and at random."""
    steps = sorted({int(line.split()[1]) for line in diary if line.startswith("step")})
    validated = [int(line.split()[1]) for line in diary if line.startswith("validation")]
    chosen = {*validated[-1:], N_BATCHES, *random.sample(steps, 3)} & set(steps)
    yield from (SignalAt(signal="SIGTERM", step=step - 1) for step in chosen)
    yield SignalAt(signal="SIGTERM", step=random.choice(validated), during="validation")
    yield ValidationEnds(random.choice(validated))


def test_a_training_that_is_asked_to_end_at_any_moment_goes_on_as_if_it_had_not(sessions_dir, tmp_path, whole):
    options, diary, weights = whole
    n_steps = max(int(line.split()[1]) for line in diary)
    for number, moment in enumerate(moments(diary)):
        folder = tmp_path / str(number)
        first, _, stopped = train(sessions_dir, folder, moment, **options)
        done = max(int(line.split()[1]) for line in first)
        asked_in = moment.step + (isinstance(moment, SignalAt) and moment.during == "step")
        assert done == asked_in  # the step is finished, and no other one is begun
        assert stopped or done == n_steps
        rest, resumed, _ = train(sessions_dir, folder, goes_on=True, **options)
        assert rest == diary, (type(moment), vars(moment))
        assert all(torch.equal(weights[name], resumed[name]) for name in weights)


class Always(lightning.Callback):
    """Sends a signal in every step, or at the end of every validation."""

    def __init__(self, during):
        self.during = during

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if self.during == "step":
            os.kill(os.getpid(), signal.SIGTERM)

    def on_validation_epoch_end(self, trainer, pl_module):
        if self.during == "validation" and not trainer.sanity_checking:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("during", ["step", "validation"])
def test_a_training_that_is_asked_to_end_again_and_again_comes_to_the_same_end(sessions_dir, tmp_path, whole, during):
    options, diary, weights = whole
    begun, stopped = False, True
    while stopped:
        found, resumed, stopped = train(sessions_dir, tmp_path, Always(during), goes_on=begun, **options)
        begun = True
    assert found == diary
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)


# ---- the signals alone


HEEDS = """
import os, signal, sys, time
from neuromtm.training.stopping import StopSignals
with StopSignals() as signals:
    signals.waits = True
    print("ready", flush=True)
    while True:
        time.sleep(0.01)
        if signals.received:
            print(signals.received.name, flush=True)
            sys.stdin.readline()
"""


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM", "SIGINT"])
def test_the_second_signal_ends_the_process_at_once(name):
    number = signal.Signals[name]
    process = subprocess.Popen([sys.executable, "-c", HEEDS], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.stdout.readline() == f"{name}\n"
    time.sleep(TOGETHER_S * 1.2)  # signals that come together are one
    process.send_signal(number)
    assert process.wait() == -number


def test_signals_that_come_together_are_one():
    with StopSignals() as signals:
        signals.waits = True
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert signals.received is signal.SIGTERM


def test_a_signal_before_the_training_ends_the_command_where_it_is():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="SIGTERM"), StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_signals_are_heeded_before_anything_heavy_is_imported():
    code = "import sys, neuromtm.training.stopping, neuromtm.commands.stopping; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""What is logged of a training's speed, by a clock of the test's own."""

from itertools import chain, repeat
from types import SimpleNamespace

import lightning
import pytest
import torch

from neuromtm.callbacks.throughput import Throughput
from neuromtm.data import datamodule, loader
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.training import flops
from neuromtm.training.flops import TrialFlops, count_flops, matrix_rate, precision_of
from neuromtm.training.masked_modeling import MaskedModeling
from tests.models.small_models import BACKBONES, make_session
from tests.trainers import quiet_trainer

RATE = 1e6
COUNTED = {"NDT1", "NDT1-as-published", "NDT1-behavior", "NDT2", "NDT2-rope-regions-masks"}


class Clock:
    """Goes on when it is told to."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s

    def perf_counter(self) -> float:
        return self.now_s


class Course(lightning.Callback):
    """Lets time pass: a second for reading each batch, three for each step, a thousand for a validation."""

    def __init__(self, clock: Clock):
        self.clock, self.logged = clock, []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.clock.now_s += 3.0

    def on_validation_end(self, trainer, pl_module):
        self.clock.now_s += 1000.0

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        new = {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("throughput")}
        self.logged.append((trainer.global_step, [(g.eid, len(g.trial)) for g in batch.groups], new))


def train(data_dir, *callbacks, seed=0, backbone="NDT1", max_epochs=2, **options):
    lightning.seed_everything(seed)
    module = MaskedModeling(BACKBONES[backbone](), lr=1e-2)
    trainer = quiet_trainer(max_epochs=max_epochs, callbacks=list(callbacks), **options)
    trainer.fit(module, SessionDataModule(root=str(data_dir)))
    return module


@pytest.fixture
def clock(monkeypatch):
    """One clock for all; the reading of a batch takes a second."""
    clock = Clock()
    read = datamodule.SessionDataset.__getitem__

    def slow_read(self, plan):
        clock.now_s += 1.0
        return read(self, plan)

    monkeypatch.setattr(loader, "time", clock)
    monkeypatch.setattr(datamodule.SessionDataset, "__getitem__", slow_read)
    monkeypatch.setattr("neuromtm.callbacks.throughput.matrix_rate", lambda device, dtype: RATE)
    return clock


@pytest.mark.parametrize("accumulate", [1, 2])
def test_speed_waiting_and_utilization_of_a_window(sessions_dir, clock, accumulate):
    course = Course(clock)
    # the throughput's hooks come first at a batch's start, so that the step's three seconds are inside of its window
    module = train(
        sessions_dir,
        Throughput(clock=clock),
        course,
        log_every_n_steps=1,
        accumulate_grad_batches=accumulate,
        check_val_every_n_epoch=1,
    )
    n_batches, n_windows = len(course.logged), 0
    assert n_batches == 12
    model = module.built_model
    flops_of = {
        eid: count_flops(model.backbone, session, n_bins=20, scheme="neuron") for eid, session in model.sessions.items()
    }
    window = []
    for place, (step, groups, logged) in enumerate(course.logged, start=1):
        window += groups
        if place % accumulate:
            continue
        n_windows += 1
        assert step == n_windows
        # the first batch of an epoch comes at the start, or after a validation: neither is waited for in a window
        n_read = accumulate - (1 if (place - accumulate) % 6 == 0 else 0)
        elapsed_s = 3.0 * accumulate + n_read
        assert logged["throughput/trials_per_s"] == pytest.approx(sum(n for _, n in window) / elapsed_s)
        assert logged["throughput/data_wait_share"] == pytest.approx(n_read / elapsed_s)
        expected = sum(n * flops_of[eid] for eid, n in window) / elapsed_s / RATE
        assert logged["throughput/model_flops_utilization"] == pytest.approx(expected)
        window = []
    assert n_windows == 12 // accumulate


def test_nothing_is_logged_between(sessions_dir, clock):
    course = Course(clock)
    train(sessions_dir, Throughput(clock=clock), course, log_every_n_steps=5)
    speeds = [logged.get("throughput/trials_per_s") for _, _, logged in course.logged]
    assert speeds[:4] == [None] * 4
    assert speeds[4] is not None


def test_all_ranks_count_and_the_gpu_is_waited_for_at_a_logging_only(monkeypatch):
    waits, logged = [], {}
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    clock, trainer = Clock(), SimpleNamespace(log_every_n_steps=3, global_step=0, world_size=4, train_dataloader=None)
    module = SimpleNamespace(
        device=torch.device("cuda", 0), log=lambda name, value, prog_bar: logged.update({name: (value, prog_bar)})
    )
    batch = SimpleNamespace(groups=[SimpleNamespace(eid="a", trial=range(5)), SimpleNamespace(eid="b", trial=range(3))])
    throughput = Throughput(clock=clock)
    throughput.on_train_start(trainer, module)
    for step in range(1, 6):
        throughput.on_train_batch_start(trainer, module, batch, step)
        clock.now_s += 2.0
        trainer.global_step = step
        throughput.on_train_batch_end(trainer, module, None, batch, step)
    assert waits == [module.device]
    assert logged.keys() == {"throughput/trials_per_s"}  # another module, and another loader
    value, on_bar = logged["throughput/trials_per_s"]
    assert on_bar
    assert value == pytest.approx(8 * 4 / 2.0)
    assert value.device.type == "cpu"


def test_training_is_the_same_with_it_and_without(sessions_dir):
    with_it = train(sessions_dir, Throughput(), log_every_n_steps=1, max_epochs=1).state_dict()
    drawn_with_it = torch.rand(3)
    without = train(sessions_dir, log_every_n_steps=1, max_epochs=1).state_dict()
    assert torch.equal(drawn_with_it, torch.rand(3))
    assert with_it.keys() == without.keys()
    assert all(torch.equal(with_it[name], without[name]) for name in without)


def test_no_logging_at_all_divides_by_nothing(sessions_dir, clock):
    course = Course(clock)
    throughput = Throughput(clock=clock)
    trainer = SimpleNamespace(log_every_n_steps=0, global_step=1, world_size=1, train_dataloader=None)
    module = SimpleNamespace(device=torch.device("cpu"))
    throughput.on_train_start(trainer, module)
    throughput.on_train_batch_end(trainer, module, None, SimpleNamespace(groups=[]), 0)
    assert not course.logged


# ---- FLOPs


def test_flops_of_ndt1_are_those_of_its_formula():
    width, layers, mlp, n_bins, n_neurons = 12, 2, 16, 10, 7
    tokens = n_bins + 2
    stitching = 2 * n_bins * n_neurons * width
    embedding = 2 * n_bins * width**2
    layer = tokens * 2 * (4 * width**2 + 2 * width * mlp) + 2 * 2 * tokens**2 * width
    forward = 2 * stitching + embedding + layers * layer
    # each product has two in the backward pass, but nobody needs the gradient by the counts
    expected = 3 * forward - stitching
    backbone = BACKBONES["NDT1"]()
    for scheme in ("neuron", "causal"):
        assert count_flops(backbone, make_session("a"), n_bins=n_bins, scheme=scheme) == expected


@pytest.mark.parametrize("name", BACKBONES)
def test_which_architectures_are_counted(name):
    backbone, state = BACKBONES[name](), torch.get_rng_state()
    counted = count_flops(backbone, make_session("a"), n_bins=10, scheme="neuron")
    assert (counted is not None) == (name in COUNTED)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", ["NDT1", "NDT2"])
def test_flops_between_counted_sizes_are_interpolated_exactly(name):
    backbone = BACKBONES[name]()
    sessions = [make_session(f"s{n}", ["CA1"] * n) for n in range(3, 15)]
    flops_of = TrialFlops(backbone, sessions, n_bins=10, scheme="neuron")
    assert flops_of.known
    each = {s.eid: count_flops(backbone, s, n_bins=10, scheme="neuron") for s in sessions}
    assert {eid: flops_of.of({eid: 1}) for eid in each} == pytest.approx(each)
    assert flops_of.of({"s5": 2, "s9": 3}) == pytest.approx(2 * each["s5"] + 3 * each["s9"])


@pytest.mark.parametrize("name", ["LFADS", "SpikeTokens"])
def test_an_unknown_number_gives_no_utilization(name, sessions_dir, clock):
    course = Course(clock)
    train(sessions_dir, Throughput(clock=clock), course, log_every_n_steps=1, backbone=name, max_epochs=1)
    assert course.logged[-1][2].keys() == {"throughput/trials_per_s", "throughput/data_wait_share"}


def test_precision_of_the_trainer():
    names = ("32-true", "bf16-mixed", "bf16-true", "16-mixed", "64-true")
    types = (torch.float32, torch.bfloat16, torch.bfloat16, torch.float16, torch.float64)
    assert tuple(map(precision_of, names)) == types


def test_matrix_rate_is_that_of_the_best_product(monkeypatch):
    clock, took_s = Clock(), chain([1.0], repeat(0.02))

    def product(a, b, out):
        clock.now_s += next(took_s)

    monkeypatch.setattr(flops.torch, "mm", product)
    state = torch.get_rng_state()
    assert matrix_rate(torch.device("cpu"), torch.float32, clock=clock) == pytest.approx(2 * 256**3 / 0.02)
    assert torch.equal(torch.get_rng_state(), state)

"""Ranks exchange the gradients of the sessions and schemes that a step uses, and train as one would."""

from functools import partial

import lightning
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from neuromtm.callbacks.checkpoints import LastCheckpoint
from neuromtm.commands.cli import NeuromtmCLI
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import ConfigError
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import SCHEMES
from neuromtm.models.stitching import module_key
from neuromtm.training.checkpoint_io import WholeFileCheckpointIO
from neuromtm.training.decoding import BehaviorDecoding
from neuromtm.training.distributed import StitchedDDP, strategy_for
from neuromtm.training.masked_modeling import MaskedModeling
from tests.conftest import ROOT
from tests.models.small_models import BACKBONES
from tests.running import EIDS, HELDOUT, TINY, neuromtm, neuromtm_process
from tests.trainers import quiet_trainer

# forked processes exchange as those of the programs do, and start at once
STRATEGIES = {
    "one process": lambda: SingleDeviceStrategy("cpu"),
    "plain": partial(DDPStrategy, start_method="fork", find_unused_parameters=True),
    "stitched": partial(StitchedDDP, start_method="fork"),
}


class Diary(lightning.Callback):
    """Writes down what a rank does: losses, sessions, weights, moments, and the bytes that it sends."""

    def __init__(self, folder):
        self.folder = folder
        self.n_bytes = {"shared": 0, "occasional": 0, "question": 0}
        self.steps, self.eids = [], set()

    def on_train_start(self, trainer, pl_module):
        if trainer.is_global_zero:
            torch.save(dict(pl_module.named_parameters()), self.folder / "begun.pt")
        model = trainer.strategy.model
        if isinstance(model, torch.nn.parallel.DistributedDataParallel):
            model.register_comm_hook(None, self.count_shared)
        self.all_reduce = torch.distributed.all_reduce  # this process alone has the counting one
        torch.distributed.all_reduce = self.count_all_reduce

    def count_shared(self, state, bucket):
        self.n_bytes["shared"] += bucket.buffer().nbytes
        return allreduce_hook(state, bucket)

    def count_all_reduce(self, tensor, *arguments, **options):
        if not options.get("async_op"):  # else it comes from the hook above
            self.n_bytes["question" if tensor.dtype == torch.uint8 else "occasional"] += tensor.nbytes
        return self.all_reduce(tensor, *arguments, **options)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.eids |= {group.eid for group in batch.groups}
        if (batch_idx + 1) % trainer.accumulate_grad_batches:
            return
        moments = trainer.optimizers[0].state
        self.steps.append(
            {
                "loss": float(outputs["loss"]),
                "eids": self.eids,
                "n_bytes": self.n_bytes,
                "weights": {name: value.clone() for name, value in pl_module.named_parameters()},
                "moments": {
                    name: {key: value.clone() for key, value in moments[parameter].items()}
                    for name, parameter in pl_module.named_parameters()
                    if parameter in moments
                },
            }
        )
        self.n_bytes, self.eids = dict.fromkeys(self.n_bytes, 0), set()

    def on_train_end(self, trainer, pl_module):
        torch.save(self.steps, self.folder / f"rank-{trainer.global_rank}.pt")


# one rank may draw a scheme that uses the maps of behaviour in a step in which the other one does not
WITH_BEHAVIOR = Objective(schemes=["neuron", "encoding", "decoding"])


def masked(backbone="NDT1", **options):
    objective = WITH_BEHAVIOR if backbone == "NDT1-behavior" else None
    return MaskedModeling(BACKBONES[backbone](), objective=objective, lr=1e-2, weight_decay=0.1, **options)


def train(folder, sessions_dir, strategy, *, n_ranks=2, make=masked, from_last=False, data=None, more=(), **options):
    """Train, with more callbacks; gives the steps that each rank has written down."""
    folder.mkdir(exist_ok=True)
    lightning.seed_everything(0)
    trainer = quiet_trainer(
        folder,
        enable_checkpointing=True,
        devices=1 if strategy == "one process" else n_ranks,
        strategy=STRATEGIES[strategy](),
        **{"max_steps": 9, "gradient_clip_val": 1.0} | options,
        log_every_n_steps=100,
        limit_val_batches=0,
        plugins=[WholeFileCheckpointIO()],
        callbacks=[*more, Diary(folder), LastCheckpoint(folder, every_s=1e9)],
    )
    given = {"root": str(sessions_dir), "role": "all", "batch_size": 8} | (data or {})
    trainer.fit(make(), SessionDataModule(**given), ckpt_path=folder / "last.ckpt" if from_last else None)
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(trainer.world_size)]


def assert_same(plain, stitched, **tolerance):
    for ours, theirs in zip(stitched, plain, strict=True):
        assert len(ours) == len(theirs) > 1
        assert [step["eids"] for step in ours] == [step["eids"] for step in theirs]
        assert [step["loss"] for step in ours] == pytest.approx([step["loss"] for step in theirs], rel=1e-5)
        for key in ("weights", "moments"):
            torch.testing.assert_close(ours[-1][key], theirs[-1][key], **({"rtol": 0, "atol": 0} | tolerance))


# ---- the same as DistributedDataParallel


@pytest.mark.parametrize(
    ("backbone", "options"),
    [
        ("NDT1", {}),
        ("NDT1", {"accumulate_grad_batches": 2, "max_steps": 6}),
        ("NDT1", {"precision": "bf16-mixed"}),
        ("NDT2", {}),
        ("SpikeTokens", {}),
        ("NDT1-behavior", {}),
        ("LFADS", {}),  # does not use all its weights under the causal scheme, which one rank draws and one does not
    ],
    ids=str,
)
def test_two_ranks_train_as_under_plain_ddp(sessions_dir, tmp_path, backbone, options):
    plain, stitched = (
        train(tmp_path / name, sessions_dir, name, make=partial(masked, backbone), **options)
        for name in ("plain", "stitched")
    )
    assert_same(plain, stitched)


def test_four_ranks_train_as_under_plain_ddp(sessions_dir, tmp_path):
    plain, stitched = (
        train(tmp_path / name, sessions_dir, name, n_ranks=4, make=partial(masked, "LFADS"))
        for name in ("plain", "stitched")
    )
    # sums of four terms in another order
    assert_same(plain, stitched, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def masked_model(sessions_dir, tmp_path_factory):
    """A checkpoint that knows all sessions."""
    folder = tmp_path_factory.mktemp("masked")
    train(folder, sessions_dir, "one process", max_steps=2)
    return folder / "last.ckpt"


@pytest.mark.parametrize("own_heads", [False, True], ids=["shared head", "own heads"])
@pytest.mark.parametrize("frozen", [False, True], ids=["fine-tuned", "frozen"])
def test_a_decoder_trains_as_under_plain_ddp(sessions_dir, masked_model, tmp_path, own_heads, frozen):
    options = {"pretrained": str(masked_model), "own_heads": own_heads, "frozen": frozen, "lr": 1e-2}
    plain, stitched = (
        train(tmp_path / name, sessions_dir, name, make=partial(BehaviorDecoding, "choice", **options))
        for name in ("plain", "stitched")
    )
    assert_same(plain, stitched)


def test_two_ranks_go_on_as_if_they_had_not_been_stopped(sessions_dir, tmp_path):
    constant = partial(masked, schedule="constant")
    whole = train(tmp_path / "whole", sessions_dir, "stitched", make=constant)
    train(tmp_path / "stopped", sessions_dir, "stitched", make=constant, max_steps=5)
    rest = train(tmp_path / "stopped", sessions_dir, "stitched", make=constant, from_last=True)
    assert_same([steps[5:] for steps in whole], rest)


class FirstWeightsByRank(MaskedModeling):
    """Has other stitchers on the second rank until training begins."""

    def setup(self, stage):
        super().setup(stage)
        for parameter in self.built_model.stitchers.parameters():
            parameter.data += self.global_rank


def test_all_ranks_begin_with_the_weights_of_the_first(sessions_dir, tmp_path):
    first, second = train(tmp_path, sessions_dir, "stitched", make=lambda: FirstWeightsByRank(BACKBONES["NDT1"]()))
    torch.testing.assert_close(first[-1]["weights"], second[-1]["weights"], rtol=0, atol=0)


# ---- what a step does not use does not move


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_weights_and_moments_of_sessions_that_a_step_leaves_out_do_not_move(
    sessions_dir, tmp_path, strategy, accumulate
):
    ranks = train(tmp_path, sessions_dir, strategy, accumulate_grad_batches=accumulate)
    seen, n_left_out = set(), 0
    for i in range(1, len(ranks[0])):
        seen |= set.union(*(steps[i - 1]["eids"] for steps in ranks))
        used = set.union(*(steps[i]["eids"] for steps in ranks))
        for steps in ranks:
            for eid in seen:
                prefix = f"model.stitchers.{module_key(eid)}."
                for key in ("weights", "moments"):
                    before, after = (
                        {name: value for name, value in steps[j][key].items() if name.startswith(prefix)}
                        for j in (i - 1, i)
                    )
                    assert before
                    same = _equal(before, after)
                    assert same == (eid not in used), (i, eid, key)
                    n_left_out += same
    assert n_left_out


def _equal(before, after):
    if isinstance(before, torch.Tensor):
        return torch.equal(before, after)
    return before.keys() == after.keys() and all(_equal(before[name], after[name]) for name in before)


# ---- what a step sends


@pytest.mark.parametrize("n_sessions", [2, 4])
def test_a_step_sends_the_shared_weights_and_those_of_its_own_sessions_and_schemes(sessions_dir, tmp_path, n_sessions):
    plain, stitched = (
        train(tmp_path / name, sessions_dir, name, data={"n_sessions": n_sessions}) for name in ("plain", "stitched")
    )
    n_bytes = {name: weight.nbytes for name, weight in stitched[0][0]["weights"].items()}
    everything = sum(n_bytes.values())
    of_sessions = {eid: _sum(n_bytes, module_key(eid)) for eid in (*EIDS, HELDOUT)}
    prompts = _sum(n_bytes, ".prompts.")
    shared = everything - sum(of_sessions.values()) - prompts
    one_prompt = prompts // len(SCHEMES)
    # the first step, and the last one of an epoch, also ask whether all ranks have finite losses
    asked = torch.tensor(0).nbytes
    for first, second in zip(*(steps[1:] for steps in stitched), strict=True):
        used = first["eids"] | second["eids"]
        assert first["n_bytes"]["shared"] == shared
        sent = first["n_bytes"]["occasional"] - sum(of_sessions[eid] for eid in used)
        assert sent in (one_prompt, 2 * one_prompt, one_prompt + asked, 2 * one_prompt + asked)
        assert first["n_bytes"]["question"] <= len(n_bytes)
    assert all(step["n_bytes"]["shared"] == everything for step in plain[0])


def _sum(n_bytes, part):
    return sum(size for name, size in n_bytes.items() if part in name)


def test_gradients_that_add_up_are_exchanged_once(sessions_dir, tmp_path):
    each, every_third = (
        train(tmp_path / str(n), sessions_dir, "stitched", accumulate_grad_batches=n, max_steps=3)[0] for n in (1, 3)
    )
    shared = [{step["n_bytes"]["shared"] for step in steps} for steps in (each, every_third)]
    assert shared[0] == shared[1] != {0}
    assert {step["n_bytes"]["question"] for step in every_third} == {step["n_bytes"]["question"] for step in each}


# ---- which strategy a command uses


def test_ranks_are_trained_by_the_strategy_unless_another_is_named(sessions_dir, tmp_path, monkeypatch):
    used = []
    monkeypatch.setattr(NeuromtmCLI, "fit", lambda command, **_: used.append(command.trainer.strategy))
    for devices, *more in ((2,), (1,), (2, "--trainer.strategy=ddp")):
        options = ("--trainer.accelerator=cpu", f"--trainer.devices={devices}", "--run_dir", tmp_path / "run")
        recipe = ("fit", "--config", ROOT / "conf" / "pretrain.yaml", *TINY)
        neuromtm(*recipe, "--data.root", sessions_dir, *options, *more)
    assert [type(strategy) for strategy in used] == [StitchedDDP, SingleDeviceStrategy, DDPStrategy]
    assert used[2]._ddp_kwargs["find_unused_parameters"]


def test_a_notebook_forks_its_ranks(monkeypatch):
    place = "lightning.pytorch.trainer.connectors.accelerator_connector._IS_INTERACTIVE"
    for interactive, start_method in ((False, "popen"), (True, "fork")):
        monkeypatch.setattr(place, interactive)
        chosen = strategy_for(accelerator="cpu", devices=2, num_nodes=1, plugins=None)
        assert chosen._start_method == start_method


def test_another_module_is_refused():
    strategy = StitchedDDP()
    strategy._lightning_module = lightning.LightningModule()
    with pytest.raises(ConfigError, match="not a LightningModule: use strategy ddp"):
        strategy.configure_ddp()


def test_a_run_does_not_go_on_with_another_number_of_ranks(root, sessions_dir, pretrained):
    command = ("fit", "--config", pretrained / "config.yaml", "--ckpt_path", "last", "--trainer.devices", "2")
    result = neuromtm_process(*command, check=False)
    assert result.returncode == 2
    assert "the number of ranks (trainer.devices x trainer.num_nodes) was 1 and is now 2" in result.stderr

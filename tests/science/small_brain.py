"""A small simulated brain whose activity nothing but its own neurons tells, and a training on it that takes seconds."""

from pathlib import Path

import numpy as np
import torch

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import Neurons, Shard, ShardHeader, Trials, write_shard
from neuromtm.evaluation.tasks import Task, predict_task
from neuromtm.metrics.spikes import BitsPerSpike, mean_over_neurons
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from neuromtm.training.masked_modeling import MaskedModeling
from tests.trainers import quiet_trainer

EID = "small-brain"
N_TRIALS, N_BINS = 320, 20
REGIONS = ("CA1",) * 8 + ("VISp",) * 8 + ("MOs",) * 8
N_LATENTS, MEMORY_BINS, MEAN_COUNT = 2, 8.0, 0.5


def true_log_rates(seed: int = 0) -> np.ndarray:
    """(trial, bin, neuron) log of the expected counts.

    Two latents drift at random in each trial, so that the average trial is flat: what a neuron does can be told from
    the others, or from its own past and future, and from nothing else.
    """
    generator = np.random.default_rng(seed)
    memory = np.exp(-1 / MEMORY_BINS)
    latents = generator.normal(size=(N_TRIALS, N_BINS, N_LATENTS))
    for t in range(1, N_BINS):
        latents[:, t] = memory * latents[:, t - 1] + np.sqrt(1 - memory**2) * latents[:, t]
    weights = generator.normal(scale=0.8, size=(N_LATENTS, len(REGIONS)))
    return np.log(MEAN_COUNT) + latents @ weights


def small_brain(folder: Path, seed: int = 0, eid: str = EID) -> SessionDataModule:
    """Write the session, and give the data of all that are in the folder."""
    counts = np.random.default_rng([seed, 1]).poisson(np.exp(true_log_rates(seed)))
    n, unknown = len(REGIONS), np.full(len(REGIONS), np.nan)
    order = np.random.default_rng([seed, 2]).permutation(N_TRIALS)
    parts = np.split(order, [int(0.7 * N_TRIALS), int(0.8 * N_TRIALS)])
    header = ShardHeader(
        eid=eid,
        subject="mouse",
        lab="lab",
        source="test",
        bin_size_s=0.02,
        window_s=(0.0, 0.02 * N_BINS),
        align_event="stimOn_times",
        created_by="test",
        neurons=Neurons(
            uuid=np.array([f"neuron-{i}" for i in range(n)]),
            region=np.array(REGIONS),
            probe=np.repeat("probe00", n),
            firing_rate_hz=unknown,
            label=unknown,
            depth_um=unknown,
        ),
        trials=Trials(np.zeros(N_TRIALS, int), *np.zeros((5, N_TRIALS)), index=np.arange(N_TRIALS)),
        splits={name: np.sort(part) for name, part in zip(("train", "val", "test"), parts, strict=True)},
        behaviors=(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{eid}.h5"
    write_shard(path, Shard(header, np.minimum(counts, 255).astype(np.uint8), {}))
    add_shard(path, "pretrain")
    return SessionDataModule(root=str(folder), batch_size=32)


def trained(module: MaskedModeling, data: SessionDataModule, folder: Path, *, n_steps: int) -> StitchedModel:
    """Train a module, and give its model in evaluation mode."""
    trainer = quiet_trainer(folder, max_steps=n_steps, max_epochs=-1, gradient_clip_val=1.0, limit_val_batches=0)
    trainer.fit(module, data)
    return module.built_model.eval()


@torch.no_grad()
def task_bps(task: Task, module: MaskedModeling, data: SessionDataModule) -> float:
    """Mean bits per spike of a task on the test trials."""
    metric = BitsPerSpike(len(REGIONS))
    for group in data.groups(EID, "test"):
        for held_out in predict_task(task, module.built_model, module.known_objective, group):
            metric.update(held_out.log_rates, held_out.counts, neurons=held_out.neurons)
    return mean_over_neurons(metric.compute())


@torch.no_grad()
def temporal_bps(module: MaskedModeling, data: SessionDataModule) -> float:
    """Mean bits per spike of bins that are hidden at random in the test trials."""
    metric, generator = BitsPerSpike(len(REGIONS)), torch.Generator().manual_seed(0)
    for group in data.groups(EID, "test"):
        masked = module.known_objective.hide("temporal", group.counts, group.region, generator)
        shown = VisibleGroup(EID, masked.visible, masked.hidden)
        metric.update(module.built_model([shown], "temporal").log_rates[0], group.counts, scored=masked.target)
    return mean_over_neurons(metric.compute())


def ceiling_bps(data: SessionDataModule, seed: int = 0) -> float:
    """Mean bits per spike of the true rates on the test trials."""
    metric, truth = BitsPerSpike(len(REGIONS)), torch.from_numpy(true_log_rates(seed))
    for group in data.groups(EID, "test"):
        metric.update(truth[group.trial], group.counts)
    return mean_over_neurons(metric.compute())

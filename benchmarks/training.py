"""Time the training of architectures: multi-task masking on a folder of shards.

    python benchmarks/training.py data/sim conf/model/tiny.yaml conf/model/ndt2_tiny.yaml

The program prints the number of shared weights and the trials per second of processor time. Other work on the machine
changes this speed little: with one thread it is the speed of an idle core. The time covers forward pass, backward pass
and optimiser step, but not reading the data.
"""

import argparse
import importlib
import time
from pathlib import Path

import torch
import yaml

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import StitchedModel, VisibleGroup


def backbone_of(overlay: Path, changes: list[str]) -> Backbone:
    """The architecture that an overlay names, with some options changed."""
    given = yaml.safe_load(overlay.read_text(encoding="utf-8"))["model"]["backbone"]
    module, _, name = given["class_path"].rpartition(".")
    options = given["init_args"] | {name: yaml.safe_load(value) for name, value in (c.split("=") for c in changes)}
    return getattr(importlib.import_module(module), name)(**options)


def main() -> None:
    """Time each architecture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("overlays", type=Path, nargs="+")
    parser.add_argument("--min-firing-rate-hz", type=float, default=0.0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--set", nargs="*", default=[], metavar="OPTION=VALUE", help="options of the architectures")
    given = parser.parse_args()
    data = SessionDataModule(
        root=str(given.data),
        role="all",
        n_sessions=2,
        batch_size=32,
        sessions_per_batch=2,
        cache="memory",
        min_firing_rate_hz=given.min_firing_rate_hz,
    )
    data.setup()
    batches = [next(iter(data.train_dataloader()))]
    for overlay in given.overlays:
        backbone = backbone_of(overlay, given.set)
        model, objective = StitchedModel(backbone), Objective()
        for eid, session in data.sessions.items():
            model.add_session(session, data.mean_counts(eid))
        optimizer = torch.optim.AdamW(model.parameters())
        generator, n_trials, started_s = torch.Generator().manual_seed(0), 0, 0.0
        for step in range(given.steps + 3):
            if step == 3:  # warmed up
                n_trials, started_s = 0, time.process_time()
            groups = batches[0].groups
            scheme = objective.draw_scheme([group.region for group in groups], generator)
            masked = [objective.hide(scheme, g.counts, g.region, generator) for g in groups]
            shown = [VisibleGroup(g.eid, m.visible, m.hidden) for g, m in zip(groups, masked, strict=True)]
            output = model(shown, scheme)
            costs = [
                poisson_nll(r, g.counts)[m.target] for r, g, m in zip(output.log_rates, groups, masked, strict=True)
            ]
            loss = torch.cat(costs).mean() + (output.own_loss or 0.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            n_trials += batches[0].n_trials
        speed = n_trials / (time.process_time() - started_s)
        n_weights = sum(p.numel() for p in backbone.parameters())
        print(f"{overlay.stem}: {n_weights:,} shared weights, {speed:.0f} trials/s")


if __name__ == "__main__":
    main()

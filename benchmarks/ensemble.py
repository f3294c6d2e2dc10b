"""Is there room above a model? The average of its rates and those of a baseline of one session, on test trials.

    python benchmarks/ensemble.py --run runs/small_finetune --data data/steinmetz --role heldout
    python benchmarks/ensemble.py --run runs/few-0 runs/few-1 runs/few-2 --data data/steinmetz --n_train_trials 60

Where the average scores more than both, each knows something that the other does not: the difference is a practical
lower bound of what a better model could gain. Nothing is fitted to the test trials. Of several runs, seeds of one
model, the rates are averaged first; then the runs together and the baseline have the same weight.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from neuromtm.api.loading import load
from neuromtm.api.model import Model
from neuromtm.baselines.choice import KINDS, fit_baseline
from neuromtm.baselines.kind import SessionCounts
from neuromtm.baselines.prediction import Predictor
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.evaluation.tasks import TASKS, Task, hidden_rates, n_forward_bins
from neuromtm.metrics.spikes import BitsPerSpike


def score(rates: torch.Tensor, counts: np.ndarray) -> float:
    """Mean bits per spike over the neurons that are predicted, from (trial, bin', neuron) rates, NaN elsewhere."""
    predicted = (~rates.isnan().any(dim=1).any(dim=0)).nonzero()[:, 0]
    metric = BitsPerSpike(rates.shape[2])
    observed = torch.from_numpy(counts)[..., predicted]
    metric.update(rates[..., predicted].log(), observed, neurons=predicted)
    return metric.compute().nanmean().item()


@torch.no_grad()
def rates_of_test(model: Model, data: SessionDataModule, eid: str, task: Task) -> torch.Tensor:
    """(trial, bin, neuron) expected spikes of the neurons that a task predicts, NaN elsewhere."""
    groups = data.groups(eid, "test")
    return torch.cat([hidden_rates(task, model.stitched, model.record.objective, group) for group in groups]).double()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, nargs="+", required=True, help="runs of models that know the sessions")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards")
    parser.add_argument("--role", default="heldout", help="of the sessions (default: heldout)")
    parser.add_argument("--kind", choices=tuple(KINDS), default="factor_analysis", help="which baseline")
    parser.add_argument("--n_train_trials", type=int, help="of the baseline, as the model had them (default: all)")
    options = parser.parse_args()
    models = [load(run) for run in options.run]
    data = SessionDataModule(root=str(options.data), role=options.role, n_train_trials=options.n_train_trials)
    data.setup()
    rows: dict[str, list[tuple[float, ...]]] = {task: [] for task in TASKS}
    for eid, info in data.sessions.items():
        train, val, test = (data.counts(eid, split).astype(np.float32) for split in ("train", "val", "test"))
        fitted = fit_baseline(options.kind, SessionCounts(info, train, val, data.bin_size_s))
        for task in TASKS:
            bins = slice(test.shape[1] - n_forward_bins(test.shape[1]) if task == "forward_prediction" else 0, None)
            of_runs = [rates_of_test(model, data, eid, task)[:, bins] for model in models]
            together = torch.stack(of_runs).mean(dim=0)
            baseline = torch.full_like(together, torch.nan)
            predictor = fitted[task]
            assert isinstance(predictor, Predictor), f"{options.kind} does not predict {task}"
            for held_out in predictor.predict(test):
                baseline[..., held_out.neurons] = held_out.log_rates.double().exp()
            observed = test[:, bins]
            one = np.mean([score(rates, observed) for rates in of_runs])
            all_runs, other, both = (score(r, observed) for r in (together, baseline, (together + baseline) / 2))
            rows[task].append((one, all_runs, other, both, both - max(all_runs, other)))
            print(eid, task, *(f"{value:.3f}" for value in rows[task][-1]), flush=True)
    columns = ["one run", f"average of {len(models)}", options.kind, "average of both", "gain over the better one"]
    print(f"\n| task | {' | '.join(columns)} |\n|{' --- |' * (len(columns) + 1)}")
    for task, found in rows.items():
        print(f"| {task} |", " | ".join(f"{value:.3f}" for value in np.mean(found, axis=0)), "|")


if __name__ == "__main__":
    main()

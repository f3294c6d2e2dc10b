"""How much of a simulation's ceiling can a task be answered with at all? From the latents of what it shows.

    python benchmarks/reachable.py --data data/sim22

The ceiling of a simulation is the score of the true rates. Two tasks do not show what decides these rates: between
regions, the part of a region's latents that no other region follows is not to be seen; in forward prediction, the noise
of the last bins is still to come. This program simulates the held-out sessions once more, takes the signals that
neurons respond to, and predicts each neuron's true rate from the signals that the task shows: those of all other
regions in the bins around, or those of all regions in the bins before. A rate is the exponential of a weighted sum of
Gaussian signals, so the regression is one of log-rates, by least squares; half the variance that it leaves is added.

No neuron is observed here, so a model, which has to infer the signals from spikes, cannot be expected to come so far.
The regression is fitted to the true rates of the training trials and scored on the spikes of the test trials.
"""

import argparse
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from data_prep.options import PrepareOptions
from data_prep.sources.simulation.recording import SimulationOptions, live_session
from neuromtm.data.manifest import choose_sessions
from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import ShardHeader, open_shard, read_header
from neuromtm.errors import DataError
from neuromtm.evaluation.tasks import n_forward_bins
from neuromtm.evaluation.truth import SMALLEST_RATE
from neuromtm.metrics.spikes import BitsPerSpike

REACH_BINS = 6
"""signals of so many bins before and after a bin are shown between regions, and before the hidden ones in forward"""


def score(rates: torch.Tensor, counts: np.ndarray) -> float:
    """Mean bits per spike over the neurons that are predicted, from (trial, bin', neuron) rates, NaN elsewhere."""
    predicted = (~rates.isnan().any(dim=1).any(dim=0)).nonzero()[:, 0]
    metric = BitsPerSpike(rates.shape[2])
    observed = torch.from_numpy(counts)[..., predicted]
    metric.update(rates[..., predicted].log(), observed, neurons=predicted)
    return metric.compute().nanmean().item()


def signals_of(header: ShardHeader, number: int) -> dict[str, np.ndarray]:
    """Region -> (trial, bin, signal) signals of the session's trials that its neurons respond to."""
    made = header.preparation
    sizes = {name: made[name] for name in ("n_neurons", "n_trials", "n_regions", "seed")}
    simulation = SimulationOptions(n_sessions=number + 1, n_heldout=0, **sizes)
    options = PrepareOptions(window_s=header.window_s, bin_size_s=header.bin_size_s)
    life = live_session(number, simulation=simulation, options=options)
    return {region: values[header.trials.index] for region, values in life.activity.features.items()}


def shifted(signals: Iterable[np.ndarray], bins: Iterable[int]) -> np.ndarray:
    """(trial, bin, signal of any shift): the signals so many bins later, 0 outside of the trial."""
    found = []
    together = np.concatenate(list(signals), axis=-1)
    n_bins = together.shape[1]
    for shift in bins:
        moved = np.zeros_like(together)
        moved[:, max(0, -shift) : n_bins - max(0, shift)] = together[:, max(0, shift) : n_bins + min(0, shift)]
        found.append(moved)
    return np.concatenate(found, axis=-1)


def regress(shown: np.ndarray, rates: np.ndarray, train: np.ndarray) -> np.ndarray:
    """(trial, bin, neuron) rates of all trials, from a regression for each bin's mean and all bins' weights.

    Args:
        shown: (trial, bin, signal) what the task shows.
        rates: (trial, bin, neuron) true rates.
        train: numbers of the trials to fit.
    """
    logs = np.log(np.maximum(rates, SMALLEST_RATE))
    of_bin, mean = shown[train].mean(0), logs[train].mean(0)
    x, y = (shown[train] - of_bin).reshape(-1, shown.shape[2]), (logs[train] - mean).reshape(-1, logs.shape[2])
    weights = np.linalg.lstsq(x, y, rcond=None)[0]
    predicted = mean + (shown - of_bin) @ weights
    left = np.square(logs[train] - predicted[train]).mean(0)
    return np.exp(predicted + left / 2)


def reachable(path: Path, number: int) -> dict[str, tuple[float, float]]:
    """Task -> bits per spike of the regression and of the true rates, on the test trials of a session."""
    header = read_header(path)
    signals = signals_of(header, number)
    train, test = header.splits["train"], header.splits["test"]
    everything = np.arange(header.n_trials)
    with open_shard(path) as file:
        rates = read_trials(file["truth/rates"], everything).astype(np.float64)
        counts = read_trials(file["spikes/counts"], test)
    between = np.full_like(rates, np.nan)
    for region in signals:
        others = (values for name, values in signals.items() if name != region)
        here = header.neurons.region == region
        between[..., here] = regress(shifted(others, range(-REACH_BINS, REACH_BINS + 1)), rates[..., here], train)
    n_hidden = n_forward_bins(rates.shape[1])
    first = rates.shape[1] - n_hidden
    ahead = np.empty_like(rates[:, first:])
    for step in range(n_hidden):
        # from the same bins before for each hidden one; the last half of the trial has the same noise and much data
        shown = shifted(signals.values(), range(-step - REACH_BINS, -step))[:, rates.shape[1] // 2 :]
        found = regress(shown, rates[:, rates.shape[1] // 2 :], train)
        ahead[:, step] = found[:, first - rates.shape[1] // 2 + step]
    answers = {"forward_prediction": (ahead[test], first), "inter_region": (between[test], 0)}
    return {
        task: (
            score(torch.from_numpy(predicted), counts[:, start:]),
            score(torch.from_numpy(rates[test][:, start:]).clamp(min=SMALLEST_RATE), counts[:, start:]),
        )
        for task, (predicted, start) in answers.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of simulated shards")
    options = parser.parse_args()
    rows: dict[str, list[tuple[float, float]]] = {}
    for entry in choose_sessions(options.data, eids=None, role="heldout"):
        if "connections" not in read_header(options.data / entry.file).preparation:
            raise DataError(f"{options.data / entry.file}: is not of `python -m data_prep simulate`.")
        for task, found in reachable(options.data / entry.file, int(entry.eid.split("-")[-1])).items():
            rows.setdefault(task, []).append(found)
    print("| task | from the signals shown | true rates | share |\n| --- | --- | --- | --- |")
    for task, found in rows.items():
        mine, truth = np.mean(found, axis=0)
        print(f"| {task} | {mine:.3f} | {truth:.3f} | {mine / truth if truth else math.nan:.0%} |")


if __name__ == "__main__":
    main()

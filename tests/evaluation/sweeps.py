"""Sweeps as the tests of their runs leave them, with known truths."""

import math

import numpy as np
import torch

from neuromtm.evaluation.results import write_results
from neuromtm.evaluation.scores import NeuronScores, SessionScores, activity_means
from neuromtm.evaluation.sweep import GRID_COLUMNS
from neuromtm.evaluation.trials import TaskTrials, TrialScores
from neuromtm.files import table_text, write_whole
from neuromtm.metrics.intervals import mean_bits_per_spike, trial_null_nll
from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.neurons import NUMBER_COLUMNS

N_BINS, N_NEURONS = 20, 6


def as_tested(folder, bits, *, eid, subject, n_trials=30, behavior=None, seed=0):
    """A run directory of one session, whose neurons gain so many bits per spike on average.

    Args:
        bits: key of an activity task -> bits per spike gained over the mean rate.
    """
    generator = np.random.default_rng(0)  # the same spikes in every run
    spikes = generator.poisson(8.0, (n_trials, N_NEURONS))
    noise = np.random.default_rng([1, seed])
    tasks, columns = {}, dict.fromkeys(NUMBER_COLUMNS, torch.full((N_NEURONS,), torch.nan).double())
    for key, gained in bits.items():
        per_spike = gained + 0.02 * noise.standard_normal((n_trials, N_NEURONS))
        nll = trial_null_nll(spikes, N_BINS) - math.log(2) * per_spike * spikes
        task = TaskTrials(N_BINS, nll.astype(np.float32), spikes, np.full(N_NEURONS, True))
        tasks[key] = task
        gains = task.null_gains
        values = [mean_bits_per_spike(gains.nats[:, [i]].sum(0), gains.spikes[:, [i]].sum(0)) for i in range(N_NEURONS)]
        columns[key] = torch.tensor(np.array(values))
    uuid = tuple(f"u{i}" for i in range(N_NEURONS))
    table = NeuronScores(
        eid=eid,
        uuid=uuid,
        region=("LP",) * N_NEURONS,
        columns=columns,
        trials=TrialScores(subject, uuid, np.arange(n_trials), tasks),
    )
    write_results(folder, [SessionScores(eid=eid, behavior=behavior or {}, **activity_means(table))], [table])


def true_score(n_sessions):
    """A power law of the sessions."""
    return 0.5 - 0.3 * n_sessions**-0.7


def write_sweep(
    folder, *, counts=(1, 2, 4, 8), objectives=("mtm",), seeds=(0, 1), animals=("Ann", "Bob"), keys=BPS_KEYS[:2], sd=0.0
):
    """A sweep of finished runs, one session an animal; gives the rows of its grid."""
    rows = []
    for place, objective in enumerate(objectives):
        for seed in seeds:
            shift = sd * (seed - np.mean(seeds))
            for n in counts:
                name = f"{objective}-n{n}-s{seed}"
                rows.append([f"pretrain/{name}", "pretrain", objective, n, seed, "", ""])
                (folder / "pretrain" / name / "checkpoints").mkdir(parents=True)
                (folder / "pretrain" / name / "checkpoints" / "best.ckpt").touch()
                for animal in animals:
                    row = [f"finetune/{name}-{animal}", "finetune", objective, n, seed, animal, f"pretrain/{name}"]
                    bits = {key: true_score(n) - 0.1 * place + shift for key in keys}
                    tested(folder, row, bits, seed=[place, seed, n])
                    rows.append(row)
            for animal in animals:
                row = [f"scratch/{objective}-s{seed}-{animal}", "scratch", objective, 0, seed, animal, ""]
                tested(folder, row, dict.fromkeys(keys, 0.15 + shift), seed=[place, seed, 99])
                rows.append(row)
    for animal in animals:
        row = [f"baseline/psth-{animal}", "baseline", "psth", 0, "", animal, ""]
        tested(folder, row, dict.fromkeys(keys, 0.1), seed=[9])
        rows.append(row)
    write_grid(folder, rows)
    return rows


def write_grid(folder, rows):
    write_whole(folder / "grid.csv", table_text(GRID_COLUMNS, rows))


def tested(folder, row, bits, *, seed):
    animal = row[5]
    behavior = {"choice_accuracy": 0.7, "choice_chance": 0.5}
    numbers = abs(hash(tuple(seed))) % 2**32
    as_tested(folder / row[0], bits, eid=f"session-of-{animal}", subject=animal, behavior=behavior, seed=numbers)

"""`neuromtm export nlb`: a submission to the Neural Latents Benchmark, in the layout that its `nlb_tools` evaluates.

Source: Pei et al. 2021, Neural Latents Benchmark; rates are expected spikes per bin (trial, bin, neuron).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from rich.table import Table

from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.shards import ShardHeader
from neuromtm.data.withheld import withheld
from neuromtm.errors import ConfigError, DataError
from neuromtm.export.trained import require_same_sessions
from neuromtm.files import require_file, whole_file
from neuromtm.hdf5_files import new_hdf5
from neuromtm.masking.heldout import hide_heldout
from neuromtm.metrics.spikes import bits_per_spike, mean_over_neurons, poisson_nll, pooled_bits_per_spike
from neuromtm.models.stitching import VisibleGroup
from neuromtm.regular_files import require_regular
from neuromtm.report.tables import print_tables
from neuromtm.training.trained import Trained, open_trained

BIN_SIZES_S = {"": 0.005, "_20": 0.02}
"""suffix of a group's name -> width of its bins"""
TASK_START = {"dmfc_rsg": "set_time"}
"""data set -> the event before which the benchmark scores nothing"""
LEAST_RATE = 1e-9
"""a rate of 0 counts as this much, as in nlb_tools"""


class Scores(NamedTuple):
    """Bits per spike of entries that the model did not see."""

    pooled: float
    """over all neurons' spikes, as nlb_tools counts co-bps and fp-bps"""
    mean: float | None
    """mean over neurons, as a test of neuromtm counts; None if all are silent"""


def run(arguments: Sequence[str], parser: argparse.ArgumentParser) -> None:
    """Predict the trials of a data set and write them.

    Args:
        arguments: the command line after the kind of export.
        parser: an empty parser with the command's name.
    """
    add = parser.add_argument
    add("run", metavar="RUN", type=Path, help="run directory of the training (its best checkpoint), or a checkpoint")
    add("--data", metavar="DIR", type=Path, required=True, help="folder that `python -m data_prep nlb` filled")
    add(
        "--out",
        metavar="FILE",
        type=Path,
        required=True,
        help="file to write, .h5; a group is added to one that is there",
    )
    add(
        "--split",
        choices=("test", "val"),
        default="test",
        help="trials to predict: those of the test file, with train and val as training trials, for a submission; or "
        "val, with train, to evaluate it oneself (default: test)",
    )
    add("--device", default="cpu", help="where to compute, e.g. cuda (default: cpu)")
    options = parser.parse_args(arguments)
    require_file("--out", options.out, suffix=".h5")
    trained = open_trained(options.run, device=options.device)
    data = _data_of(trained, options.data)
    header = data.headers[next(iter(data.sessions))]
    group = group_name(header)
    _require_new(options.out, group)
    parts = {name: np.sort(header.splits[name]) for name in ("train", "val", "test")}
    train = parts["train"] if options.split == "val" else np.sort(np.concatenate([parts["train"], parts["val"]]))
    rates = {
        "train": predict(trained, data, header, train),
        "eval": predict(trained, data, header, parts[options.split]),
    }
    add_group(options.out, group, submission(rates, header))
    val = rates["eval"] if options.split == "val" else rates["train"][np.isin(train, parts["val"])]
    _print_scores(group, options.split, val, data, header)
    print(f"{options.out}: {group}, {len(rates['train'])} training and {len(rates['eval'])} {options.split} trials")


def group_name(header: ShardHeader) -> str:
    """The name of a data set's group: with _20 for bins of 20 ms.

    Raises:
        DataError: if the benchmark has no such bins.
    """
    for suffix, bin_size_s in BIN_SIZES_S.items():
        if np.isclose(header.bin_size_s, bin_size_s, rtol=1e-6):
            return f"{header.attributes['dataset']}{suffix}"
    raise DataError(f"{header.eid}: has bins of {header.bin_size_s:g} s, but the benchmark takes 0.005 or 0.02 s.")


def n_benchmark_forward_bins(header: ShardHeader) -> int:
    """The last bins of a window that are of forward prediction."""
    return round(float(header.attributes["forward_s"]) / header.bin_size_s)


def predict(trained: Trained, data: SessionDataModule, header: ShardHeader, trials: np.ndarray) -> np.ndarray:
    """(trial, bin, neuron) float32 expected spikes per bin, from the held-in neurons and without the forward bins.

    Args:
        trained: the model.
        data: set up, with this session.
        header: of the session.
        trials: (trial,) numbers in the shard.

    Raises:
        DataError: if a rate is not finite.
    """
    prompt, parts = trained.record.objective.stand_in("heldout"), []
    device = next(trained.model.parameters()).device
    heldout = torch.from_numpy(np.asarray(header.neurons.heldout, bool)).to(device)
    with torch.no_grad():
        for group in data.groups_of(header.eid, trials):
            masked = hide_heldout(group.counts.to(device), heldout, n_last_bins=n_benchmark_forward_bins(header))
            shown = VisibleGroup(header.eid, masked.visible, masked.hidden)
            parts.append(trained.model([shown], prompt).log_rates[0].float().exp().cpu())
    rates = torch.cat(parts).numpy()
    if not np.isfinite(rates).all():
        raise DataError(f"{trained.name}: some rates are not finite. The training diverged; take another checkpoint.")
    return rates


def submission(rates: dict[str, np.ndarray], header: ShardHeader) -> dict[str, np.ndarray]:
    """The arrays of a group, by name.

    Args:
        rates: `train` and `eval` -> (trial, bin, neuron) expected spikes per bin, forward bins last.
        header: of the session.
    """
    heldout, n_forward = np.asarray(header.neurons.heldout, bool), n_benchmark_forward_bins(header)
    arrays = {}
    for name, values in rates.items():
        n_bins = values.shape[1] - n_forward
        for which, neurons in (("heldin", ~heldout), ("heldout", heldout)):
            arrays[f"{name}_rates_{which}"] = values[:, :n_bins, neurons]
            if n_forward and name == "eval":
                arrays[f"{name}_rates_{which}_forward"] = values[:, n_bins:, neurons]
    return arrays


def add_group(path: Path, group: str, arrays: dict[str, np.ndarray]) -> None:
    """Write a group into a new file, or add it to one. At every moment the file is whole."""
    with whole_file(path) as temporary, new_hdf5(temporary) as file:
        if path.exists():
            with h5py.File(require_regular(path), "r", locking=False) as earlier:
                for name in earlier:
                    earlier.copy(name, file)
        for name, values in arrays.items():
            file.create_dataset(f"{group}/{name}", data=values, compression="gzip")


def scores(rates: np.ndarray, counts: np.ndarray, scored: np.ndarray) -> Scores:
    """Bits per spike over each neuron's mean count on the same entries.

    Args:
        rates: (trial, bin, neuron) expected spikes per bin.
        counts: (trial, bin, neuron) spikes per bin.
        scored: (trial, bin) bool, the entries that count.
    """
    own = torch.from_numpy(counts[scored].astype(np.float64))
    log_rates = torch.from_numpy(np.log(np.maximum(rates[scored].astype(np.float64), LEAST_RATE)))
    nll, spikes = poisson_nll(log_rates, own).sum(0), own.sum(0)
    entries = torch.full_like(spikes, float(scored.sum()))
    pooled = float(pooled_bits_per_spike(nll, spikes, entries))
    return Scores(pooled, mean_over_neurons(bits_per_spike(nll, spikes, entries)))


def scored_bins(header: ShardHeader, trials: np.ndarray) -> np.ndarray:
    """(trial, bin) bool: the bins of some trials that co-smoothing scores; for dmfc_rsg those from set to go."""
    n_bins = header.n_bins - n_benchmark_forward_bins(header)
    event = TASK_START.get(header.attributes["dataset"])
    if event is None:
        return np.ones((len(trials), n_bins), bool)
    start_s = header.trials.start_s
    columns = header.trials.columns
    if start_s is None or event not in columns:
        raise DataError(f"{header.eid}: has no trials/{event}, from which on the benchmark scores. Prepare it again.")
    begins_s = start_s[trials, None] + np.arange(n_bins) * header.bin_size_s
    return begins_s >= columns[event][trials, None] - 1e-6


def _data_of(trained: Trained, root: Path) -> SessionDataModule:
    """The one session of the benchmark that the model knows."""
    every = SessionDataModule(root=str(root), role="all", sessions=list(trained.model.sessions))
    every.setup()
    found = [eid for eid, header in every.headers.items() if header.attributes.get("benchmark") == "nlb"]
    if len(found) != 1 or len(every.headers) != 1:
        raise DataError(
            f"{trained.name}: knows {len(every.headers)} sessions, {len(found)} of them of the benchmark. A submission "
            "is of a model of one data set, prepared by python -m data_prep nlb."
        )
    require_same_sessions(trained, every)
    eid, header = found[0], every.headers[found[0]]
    if trained.record.trials.get(eid) != every.fingerprint(eid):
        raise DataError(f"{every.path(eid)}: has other trials than {trained.name} was trained with. Take its own data.")
    if header.neurons.heldout is None or len(every.sessions[eid].neurons) != header.n_neurons:
        raise DataError(
            f"{trained.name}: was trained without some neurons, but a submission needs all. Train with all."
        )
    for name in ("train", "val", "test"):
        n_trials, wanted = len(header.splits[name]), header.attributes[f"n_{name}"]
        if str(n_trials) != wanted:
            raise DataError(
                f"{every.path(eid)}: has {n_trials} {name} trials, but its source has {wanted}, and a submission needs "
                "all of them in their order. The others were removed when it was prepared, which says why."
            )
    return every


def _require_new(path: Path, group: str) -> None:
    if not path.exists():
        return
    try:
        with h5py.File(require_regular(path), "r", locking=False) as file:
            taken = group in file
    except OSError as error:
        raise ConfigError(f"--out {path}: is no HDF5 file ({error}). Name another one.") from error
    if taken:
        raise ConfigError(
            f"--out {path}: has the group {group} already, and nothing is overwritten. Name another file."
        )


def _print_scores(group: str, split: str, val: np.ndarray, data: SessionDataModule, header: ShardHeader) -> None:
    """Print how well the validation trials are predicted: those of a test file have no counts to score."""
    trials = np.sort(header.splits["val"])
    if withheld(header.trials.columns, trials).any():
        return
    counts = np.concatenate([part.counts.numpy() for part in data.groups_of(header.eid, trials)])
    heldout, n_bins = np.asarray(header.neurons.heldout, bool), header.n_bins - n_benchmark_forward_bins(header)
    table = Table(title=f"{group}, val trials" + ("" if split == "val" else " (those of the test file have no counts)"))
    for name in ("of", "bits per spike, pooled over neurons (co-bps, fp-bps)", "mean over neurons"):
        table.add_column(name, justify="left" if name == "of" else "right")
    found = {
        "held-out neurons": scores(
            val[:, :n_bins][..., heldout], counts[:, :n_bins][..., heldout], scored_bins(header, trials)
        )
    }
    if n_bins < header.n_bins:
        every = np.ones((len(trials), header.n_bins - n_bins), bool)
        found["forward bins of all neurons"] = scores(val[:, n_bins:], counts[:, n_bins:], every)
    for name, score in found.items():
        table.add_row(name, f"{score.pooled:.6f}", "" if score.mean is None else f"{score.mean:.6f}")
    print_tables([table])

"""How near a model's predicted rates are to the true rates of a simulation."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from neuromtm.data.manifest import SessionEntry, read_manifest
from neuromtm.data.shard_datasets import read_trials
from neuromtm.data.shards import open_shard, read_header
from neuromtm.errors import DataError
from neuromtm.hdf5_files import require_plain
from neuromtm.regular_files import require_regular
from neuromtm.smoothing import smooth

SMOOTHING_S = 0.04
"""standard deviation of the Gaussian that smooths counts, for comparison with a model"""


class Rates(NamedTuple):
    """Predicted and true rates of a session, in expected spikes per bin."""

    eid: str
    predicted: np.ndarray
    """(trial, bin, neuron), with nothing hidden from the model"""
    true: np.ndarray
    """(trial, bin, neuron)"""
    counts: np.ndarray
    """(trial, bin, neuron)"""
    latents: np.ndarray | None
    """(trial, bin, latent) true values of the variables behind the rates"""
    bin_size_s: float


class RateScores(NamedTuple):
    """How near predicted rates are to the true ones."""

    r2: float
    """over trials, bins and neurons, against each neuron's mean true rate"""
    neuron_r2: np.ndarray
    """(neuron,) R2 of each neuron alone; NaN where its true rate never varies"""
    smoothed_r2: float
    """`r2` of counts smoothed with a Gaussian, for comparison"""
    latents_r2: np.ndarray | None
    """(latent,) R2 of a linear read-out of the predicted log-rates; half of the trials fit it, the other half score
    it"""


def rate_scores(rates: Rates) -> RateScores:
    """Score predicted rates against the true rates."""
    smoothed = np.stack(
        [smooth(trial.astype(float), width_s=SMOOTHING_S, bin_size_s=rates.bin_size_s) for trial in rates.counts]
    )
    left, total = _squares(rates.true, rates.predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        neuron_r2 = np.where(total > 0, 1 - left / total, np.nan)
    latents_r2 = None
    if rates.latents is not None:
        later = rates.latents[1::2]
        unexplained, variation = _squares(later, decoded_latents(rates)[1::2])
        latents_r2 = 1 - unexplained / variation
    return RateScores(
        r2=float(1 - left.sum() / total.sum()),
        neuron_r2=neuron_r2,
        smoothed_r2=float(1 - _squares(rates.true, smoothed)[0].sum() / total.sum()),
        latents_r2=latents_r2,
    )


def decoded_latents(rates: Rates) -> np.ndarray:
    """(trial, bin, latent) least-squares read-out of the predicted log-rates, fitted to every second trial."""
    features = np.log(np.maximum(rates.predicted, 1e-6))
    features = np.concatenate([features, np.ones_like(features[..., :1])], axis=-1)
    fitted = slice(0, None, 2)
    flat = features[fitted].reshape(-1, features.shape[-1])
    assert rates.latents is not None  # every caller checks this first
    weights, *_ = np.linalg.lstsq(flat, rates.latents[fitted].reshape(len(flat), -1), rcond=None)
    return features @ weights


def _squares(true: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(last axis,) squared errors of a prediction, and squares about the mean, summed over trials and bins."""
    return np.square(true - predicted).sum((0, 1)), np.square(true - true.mean((0, 1))).sum((0, 1))


def read_rates(run: Path, data: Path, latents: Sequence[str] = ()) -> list[Rates]:
    """Read what `neuromtm predict` wrote, and the true rates of the same trials and neurons.

    Args:
        run: run directory with predictions.
        data: folder of the simulated shards.
        latents: names of behaviours that are the true variables behind the rates.

    Raises:
        DataError: if there are no predictions, or they and the shards do not belong together, or there is no truth.
        ManifestError: if the folder is not a data folder.
        ShardError: if a shard cannot be read.
    """
    files = sorted((run / "predictions").glob("*.h5"))
    if not files:
        raise DataError(
            f"{run}: no predictions. Write them: neuromtm predict --config {run / 'config.yaml'} "
            f"--ckpt_path {run / 'checkpoints' / 'best.ckpt'}"
        )
    entries = {entry.eid: entry for entry in read_manifest(data)}
    found = {path: _predictions(path) for path in files}
    return [_read(path, one, data, entries, latents) for path, one in found.items() if not _is_earlier(path, one.eid)]


def _is_earlier(path: Path, eid: str) -> bool:
    """Whether it is an earlier result that was renamed: its name is then not the eid that it holds."""
    if path.stem == eid:
        return False
    if not path.stem.startswith(f"{eid}."):
        raise DataError(f"{path}: holds the rates of {eid}, not of the session in its name. Predict again.")
    return True


class _Predictions(NamedTuple):
    eid: str
    rates: np.ndarray
    """(trial, bin, neuron)"""
    trials: np.ndarray
    """(trial,) numbers"""
    uuids: list[str]


def _predictions(path: Path) -> _Predictions:
    try:
        with h5py.File(require_regular(path), "r", locking=False) as file:
            require_plain(file)
            eid, rates, trials = file.attrs["eid"], file["rates"][()], file["trial"][()]
            uuids = file["neurons/uuid"].asstr()[()]
        if not isinstance(eid, str):
            raise ValueError("eid is no text")
        if rates.ndim != 3 or rates.dtype.kind != "f" or not (np.isfinite(rates) & (rates >= 0)).all():
            raise ValueError("rates are not finite numbers from 0 (trial, bin, neuron)")
        if trials.shape != rates.shape[:1] or trials.dtype.kind not in "iu" or not trials.size:
            raise ValueError("trial is not a number for each trial")
        if (
            uuids.shape != rates.shape[2:]
            or len(set(uuids.tolist())) < len(uuids)
            or len(set(trials.tolist())) < len(trials)
        ):
            raise ValueError("a neuron or trial has no name of its own")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path}: not the rates that `neuromtm predict` writes ({error}). Predict again.") from error
    return _Predictions(eid, rates, trials, uuids.tolist())


def _read(
    path: Path, predictions: _Predictions, data: Path, entries: dict[str, SessionEntry], latents: Sequence[str]
) -> Rates:
    eid, predicted, trials, uuids = predictions
    if eid not in entries:
        raise DataError(f"{data}: no session {eid}, of which {path} has predictions. It holds {', '.join(entries)}.")
    shard = data / entries[eid].file
    header = read_header(shard)
    place = {str(uuid): i for i, uuid in enumerate(header.neurons.uuid)}
    are_trials = 0 <= trials.min() <= trials.max() < header.n_trials
    if header.n_bins != predicted.shape[1] or not are_trials or not set(uuids) <= set(place):
        raise DataError(f"{path}: has other bins, trials or neurons than {shard}. Predict again.")
    missing = [name for name in latents if name not in header.behaviors]
    if missing:
        raise DataError(f"{shard}: no behaviour {', '.join(missing)}. It has: {', '.join(header.behaviors) or 'none'}.")
    with open_shard(shard) as file:
        if "truth/rates" not in file:
            raise DataError(f"{shard}: holds no true rates, which only simulated sessions have.")
        neurons = [place[uuid] for uuid in uuids]
        true = read_trials(file["truth/rates"], trials)[..., neurons].astype(float)
        counts = read_trials(file["spikes/counts"], trials)[..., neurons]
        values = [read_trials(file[f"behavior/{name}"], trials) for name in latents]
    return Rates(
        eid=eid,
        predicted=predicted.astype(float),
        true=true,
        counts=counts,
        latents=np.stack(values, axis=-1).astype(float) if values else None,
        bin_size_s=header.bin_size_s,
    )

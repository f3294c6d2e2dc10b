"""Streams sessions from a folder of shards to any number of ranks."""

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import h5py
import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from neuromtm.batch import Batch, NeuronStatistics, SessionGroup, SessionInfo
from neuromtm.data.chunks import version_of
from neuromtm.data.dataset import SessionDataset, SessionSource
from neuromtm.data.device_cache import DeviceDataset
from neuromtm.data.loader import ResumableLoader
from neuromtm.data.manifest import SessionEntry, choose_sessions
from neuromtm.data.neurons import chosen_neurons
from neuromtm.data.placement import Cache, Placement, place
from neuromtm.data.sampler import GroupPlan, SessionBatchSampler
from neuromtm.data.shard_datasets import read_whole
from neuromtm.data.shards import ShardHeader, open_shard, read_header, read_principal_axes
from neuromtm.data.splits import evenly_spread, require_train_trials, with_fewer_train_trials
from neuromtm.data.statistics import training_statistics
from neuromtm.data.withheld import require_known
from neuromtm.data.workers import leave_signals_to_the_parent
from neuromtm.errors import ConfigError, DataError, ManifestError
from neuromtm.files import hash_of
from neuromtm.randomness import numpy_generator_for

MOST_WORKERS = 1024
"""far more than any machine has cores for"""
Split = Literal["train", "val", "test"]


class SessionDataModule(lightning.LightningDataModule):
    """Trials of many sessions, in batches of one session or several.

    Args:
        root: folder with manifest.json and one shard per session.
        sessions: eids to use; by default all of the role.
        n_sessions: use only so many of them. The choice is nested: for every seed, the first 4 are among the first 8.
        role: which sessions of the manifest: those for pretraining, those held out, or all.
        subjects: only sessions of these animals; by default of all.
        batch_size: trials in a batch on each rank.
        sessions_per_batch: sessions that share a batch; divides `batch_size`.
        eval_batch_size: trials in a batch in validation, test and prediction, all of one session.
        min_firing_rate_hz: leaves out neurons that fire less in the training trials.
        regions: keeps only neurons of these regions (Beryl acronyms); by default all.
        n_train_trials: use only so many training trials of each session, evenly spread in time; by default all. Every
            session must have so many.
        cache: where the counts lie. `device`: all on the device of each rank, where batches are gathered without
            workers. `memory`: the files are mapped into memory, one copy for all processes of a machine, and each
            trial is checked when a process first reads it. `none`: every trial is read from its file and checked every
            time. `auto` takes the first of these with room enough (`device` on CUDA only), and says which.
        n_workers: processes that read ahead for each rank; 0 reads in the training process.
        pin_memory: whether batches lie in page-locked memory, from which they move to a GPU faster.
        seed: seed of the order of trials and of the choice by `n_sessions`.
    """

    def __init__(
        self,
        *,
        root: str,
        sessions: list[str] | None = None,
        n_sessions: int | None = None,
        role: Literal["pretrain", "heldout", "all"] = "pretrain",
        subjects: list[str] | None = None,
        batch_size: int = 16,
        sessions_per_batch: int = 1,
        eval_batch_size: int = 64,
        min_firing_rate_hz: float = 0.0,
        regions: list[str] | None = None,
        n_train_trials: int | None = None,
        cache: Cache = "auto",
        n_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
    ):
        super().__init__()
        problems = []
        if sessions_per_batch < 1 or batch_size < 1 or batch_size % sessions_per_batch:
            problems.append(f"batch_size {batch_size} is not a multiple of sessions_per_batch {sessions_per_batch}.")
        if eval_batch_size < 1:
            problems.append(f"eval_batch_size is {eval_batch_size}, less than 1.")
        for name, most in (("n_sessions", n_sessions), ("n_train_trials", n_train_trials)):
            problems += [f"{name} is {most}, less than 1."] if most is not None and most < 1 else []
        if not min_firing_rate_hz >= 0:
            problems.append(f"min_firing_rate_hz is {min_firing_rate_hz}, less than 0.")
        if subjects is not None and sessions is not None:
            problems.append("sessions are named, so that subjects cannot choose among them; give one of the two.")
        if not 0 <= n_workers <= MOST_WORKERS:
            problems.append(f"n_workers is {n_workers}, not from 0 to {MOST_WORKERS}.")
        if problems:
            raise ConfigError("data: " + " ".join(problems))
        self.root = Path(root)
        self.eids, self.n_sessions, self.role, self.subjects = sessions, n_sessions, role, subjects
        self.batch_size, self.sessions_per_batch = batch_size, sessions_per_batch
        self.eval_batch_size, self.min_firing_rate_hz = eval_batch_size, min_firing_rate_hz
        self.regions, self.n_train_trials, self.cache, self.n_workers = regions, n_train_trials, cache, n_workers
        self.pin_memory, self.seed = pin_memory, seed
        self.headers: dict[str, ShardHeader] = {}
        self.sessions: dict[str, SessionInfo] = {}
        self._dataset: SessionDataset | None = None
        self._on_device: DeviceDataset | None = None
        self._placements: dict[torch.device, Placement] = {}

    @property
    def n_bins(self) -> int:
        """Bins per trial, the same for all sessions."""
        return next(iter(self.headers.values())).n_bins

    @property
    def bin_size_s(self) -> float:
        """Width of a bin, the same for all sessions."""
        return next(iter(self.headers.values())).bin_size_s

    def setup(self, stage: str | None = None) -> None:
        """Read the manifest and the headers of the chosen sessions; no counts yet.

        Raises:
            ManifestError: if the folder holds no data, or a file holds another session than the manifest says.
            ShardError: if a shard is damaged.
            DataError: if the sessions cannot be used together, an eid does not exist or a session has fewer training
                trials than asked for.
        """
        if self._dataset is not None:
            return
        entries = self._chosen()
        paths = {entry.eid: self.root / entry.file for entry in entries}
        # before the headers are read: a shard that is replaced afterwards is refused when it is opened
        versions = {eid: version_of(path.stat()) for eid, path in paths.items() if path.exists()}
        headers = {eid: read_header(path) for eid, path in paths.items()}
        require_train_trials(headers, self.n_train_trials, root=self.root)
        self.headers = {eid: with_fewer_train_trials(own, self.n_train_trials) for eid, own in headers.items()}
        _check_names(self.root, entries, self.headers)
        _check_same_bins(self.headers)
        self._check_regions()
        sources = {}
        for entry in entries:
            header = self.headers[entry.eid]
            neurons = chosen_neurons(
                paths[entry.eid], header, min_firing_rate_hz=self.min_firing_rate_hz, regions=self.regions
            )
            info = header.info_of(neurons)
            self.sessions[entry.eid] = info
            sources[entry.eid] = SessionSource(
                info=info,
                path=paths[entry.eid],
                neurons=neurons,
                n_in_shard=header.n_neurons,
                choice=header.trials.choice,
                behaviors=header.behaviors,
                version=versions[entry.eid],
            )
        self._dataset = SessionDataset(sources)

    def teardown(self, stage: str) -> None:
        """Close the shards, so that other programs can open them in their own way."""
        self._opened.close()

    @property
    def _opened(self) -> SessionDataset:
        """The reader of the sessions that `setup` has chosen."""
        assert self._dataset is not None
        return self._dataset

    def _chosen(self) -> list[SessionEntry]:
        chosen = choose_sessions(self.root, eids=self.eids, role=self.role, subjects=self.subjects)
        if self.n_sessions is None:
            return chosen
        if self.n_sessions > len(chosen):
            raise DataError(
                f"{self.root}: data.n_sessions is {self.n_sessions}, but there are only {len(chosen)} to choose from."
            )
        # each session's number is drawn from its eid, so that more sessions in the folder do not reorder the others
        draws = {entry.eid: numpy_generator_for(self.seed, "subset", entry.eid).random() for entry in chosen}
        return sorted(chosen, key=lambda entry: draws[entry.eid])[: self.n_sessions]

    def _check_regions(self) -> None:
        if self.regions is None:
            return
        there = {name for header in self.headers.values() for name in header.neurons.region.tolist()}
        unknown = sorted(set(self.regions) - there)
        if unknown:
            raise DataError(
                f"{self.root}: data.regions names {', '.join(map(repr, unknown))}, but the chosen sessions have only "
                f"{', '.join(sorted(there))}."
            )

    def trials(self, split: Split) -> dict[str, np.ndarray]:
        """Eid -> the split's trial numbers in the shard."""
        return {eid: header.splits[split] for eid, header in self.headers.items()}

    def fingerprint(self, eid: str) -> str:
        """A name for a session's trials. It changes with the window, the event, the choice of trials or the splits."""
        header = self.headers[eid]
        trials = {name: own.tolist() for name, own in header.splits.items()}
        return hash_of(list(header.window_s), header.align_event, header.trials.index.tolist(), trials)

    def mean_counts(self, eid: str) -> Tensor:
        """(neuron,) mean spikes per bin over the training trials; half a spike is added, so that no mean is 0.

        They come from the shard's header, unless it is of format 1 or not all of its training trials are used.
        """
        mean, n_entries = self.headers[eid].neurons.mean_count, len(self.headers[eid].splits["train"]) * self.n_bins
        if mean is None:
            return self.counted_means(eid)
        own = mean[self._opened.sources[eid].neurons]
        spikes = own * n_entries if n_entries else np.zeros(len(own))
        # a number of spikes is whole: rounding gives the very number that the mean was made of
        total = torch.from_numpy(np.rint(spikes))
        return ((total + 0.5) / max(n_entries, 1)).to(torch.float32)

    def counted_means(self, eid: str) -> Tensor:
        """The same as `mean_counts`, from the counts themselves."""
        total, n_entries = torch.zeros(self.sessions[eid].n_neurons, dtype=torch.float64), 0
        for group in self.groups(eid, "train"):
            total += group.counts.sum((0, 1), dtype=torch.float64)
            n_entries += group.counts.shape[0] * group.counts.shape[1]
        return ((total + 0.5) / max(n_entries, 1)).to(torch.float32)

    def statistics(self, eid: str) -> NeuronStatistics:
        """What the training trials say of a session's neurons.

        The shard has them of all its neurons and training trials. If some are left out, they are computed anew.
        """
        mean, own = self.mean_counts(eid), self._opened.sources[eid]
        variance, axes = self.headers[eid].neurons.count_variance, None
        if variance is not None and len(own.neurons) == own.n_in_shard:
            self._opened.reader.require_unchanged(eid)
            axes = read_principal_axes(own.path)
        if axes is None:
            n_trials = len(self.headers[eid].splits["train"])
            _, variance, axes = training_statistics(self.counts(eid, "train"), np.arange(n_trials))
        # without trials the variance is unknown: that of a Poisson count is its mean
        variance = torch.from_numpy(np.asarray(variance)).to(torch.float32)
        return NeuronStatistics(mean, torch.where(variance.isnan(), mean, variance), torch.from_numpy(axes))

    def trial_average(self, eid: str) -> Tensor:
        """(bin, neuron) mean spikes per bin over the training trials."""
        info, n_trials = self.sessions[eid], len(self.headers[eid].splits["train"])
        total = torch.zeros(self.n_bins, info.n_neurons, dtype=torch.float64)
        for group in self.groups(eid, "train"):
            total += group.counts.sum(0, dtype=torch.float64)
        return (total / max(n_trials, 1)).to(torch.float32)

    def some_trials(self, eid: str, split: Split, most: int | None = None) -> np.ndarray:
        """(trial,) numbers in the shard of a split's trials, in order; at most so many of them, evenly spread."""
        return evenly_spread(self.headers[eid].splits[split], most)

    def groups(self, eid: str, split: Split, most: int | None = None) -> Iterator[SessionGroup]:
        """A session's trials (see `some_trials`), `eval_batch_size` at a time, read in this process.

        Raises:
            DataError: if the source keeps back counts of the split.
        """
        require_known(self.headers[eid], split)
        yield from self.groups_of(eid, self.some_trials(eid, split, most))

    def groups_of(self, eid: str, trials: np.ndarray) -> Iterator[SessionGroup]:
        """Trials of a session by their (trial,) numbers in the shard, likewise, whatever is known of them."""
        for start in range(0, len(trials), self.eval_batch_size):
            chosen = trials[start : start + self.eval_batch_size]
            yield self._opened.read(GroupPlan(eid, tuple(int(t) for t in chosen)))

    def counts(self, eid: str, split: Split) -> np.ndarray:
        """(trial, bin, neuron) spikes per bin of all trials of a split, which may be empty."""
        parts = [np.empty((0, self.n_bins, self.sessions[eid].n_neurons), np.uint8)]
        return np.concatenate([*parts, *(group.counts.numpy() for group in self.groups(eid, split))])

    def choice(self, eid: str) -> np.ndarray:
        """(trial,) int8 choice of all trials of a session: -1, +1; 0 unknown."""
        return self.headers[eid].trials.choice

    def behavior(self, eid: str, name: str) -> np.ndarray | None:
        """(trial, bin) float32 trace of all trials of a session; None if it was not recorded."""
        if name not in self.headers[eid].behaviors:
            return None
        with self.opened(eid) as file:
            return read_whole(file[f"behavior/{name}"])

    @contextmanager
    def opened(self, eid: str) -> Generator[h5py.File]:
        """Open the shard of a session.

        Raises:
            ShardError: if it is damaged, or another one than when this run opened it first.
        """
        with open_shard(self.path(eid)) as file:
            self._opened.reader.require_unchanged(eid)
            yield file

    def path(self, eid: str) -> Path:
        """The shard of a session."""
        return self._opened.sources[eid].path

    def n_train_batches(self, n_ranks: int) -> int:
        """Training batches per epoch on each rank."""
        return len(self._sampler("train", rank=0, n_ranks=n_ranks))

    def train_dataloader(self) -> ResumableLoader:
        return self._loader("train")

    def val_dataloader(self) -> ResumableLoader:
        return self._loader("val")

    def test_dataloader(self) -> ResumableLoader:
        return self._loader("test")

    def predict_dataloader(self) -> ResumableLoader:
        return self._loader("test")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move a batch; the host does not wait for a page-locked one to arrive."""
        return batch.to(device, non_blocking=device.type == "cuda")

    def count_active_neurons(self, wanted: bool) -> None:
        """Say whether batches hold `SessionGroup.n_active`, which few models need."""
        self._opened.counts_active = wanted

    def _loader(self, split: Split) -> ResumableLoader:
        rank, n_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        # by keyword, because for a prediction Lightning builds the loader again and replaces this argument
        sampler = self._sampler(split, rank=rank, n_ranks=n_ranks)
        if self._place(device) == "device":
            if self._on_device is None or self._on_device.device != device:
                self._on_device = DeviceDataset(self._opened, device)
                warnings.filterwarnings("ignore", message=".*_dataloader' does not have many workers")  # needs none
            return ResumableLoader(self._on_device, sampler=sampler)
        return ResumableLoader(
            self._opened,
            sampler=sampler,
            num_workers=self.n_workers,
            persistent_workers=self.n_workers > 0,
            worker_init_fn=leave_signals_to_the_parent,
            pin_memory=self.pin_memory,
        )

    def _place(self, device: torch.device) -> str:
        """Decide once where the counts lie, and say so."""
        if device not in self._placements:
            self._placements[device] = place(self.cache, self._opened, device, n_workers=self.n_workers)
            if self._placements[device].sentence:
                rank_zero_info(self._placements[device].sentence)
        self._opened.reader.mapped = self._placements[device].cache == "memory"
        return self._placements[device].cache

    def _sampler(self, split: Split, *, rank: int, n_ranks: int) -> SessionBatchSampler:
        trials = self.trials(split)
        if not any(len(t) for t in trials.values()):
            raise DataError(f"{self.root}: the chosen sessions have no trial in the split {split!r}.")
        for header in self.headers.values():
            require_known(header, split)
        training = split == "train"
        return SessionBatchSampler(
            trials,
            batch_size=self.batch_size if training else self.eval_batch_size,
            sessions_per_batch=self.sessions_per_batch if training else 1,
            shuffle=training,
            seed=self.seed,
            rank=rank,
            n_ranks=n_ranks,
        )


def data_of(trainer: lightning.Trainer) -> SessionDataModule:
    """The data module that a trainer was started with."""
    return trainer.datamodule  # ty: ignore[missing-attribute]  # Lightning sets it, and its class does not say so


def _check_names(root: Path, entries: list[SessionEntry], headers: dict[str, ShardHeader]) -> None:
    others = [
        f"{entry.file} holds {headers[entry.eid].eid!r} and not {entry.eid!r}"
        for entry in entries
        if headers[entry.eid].eid != entry.eid
    ]
    if others:
        raise ManifestError(
            f"{root}: files hold other sessions than the manifest says: {'; '.join(others)}. Prepare them again; "
            f"python -m data_prep check {root} names every bad file."
        )


def _check_same_bins(headers: dict[str, ShardHeader]) -> None:
    kinds: dict[tuple[int, float], list[str]] = {}
    for eid, header in headers.items():
        kinds.setdefault((header.n_bins, header.bin_size_s), []).append(eid)
    if len(kinds) > 1:
        found = "; ".join(f"{n} bins of {size} s in {', '.join(eids)}" for (n, size), eids in kinds.items())
        raise DataError(
            f"The sessions differ in their bins: {found}. Choose sessions with the same bins, or prepare them again."
        )

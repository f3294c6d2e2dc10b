"""Behaviour decoded by linear read-outs of predicted rates and hidden states, beside read-outs of raw counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info

from neuromtm.batch import Scheme
from neuromtm.callbacks.plots import save_plot, show_plot
from neuromtm.data.datamodule import SessionDataModule, Split, data_of
from neuromtm.decoding.counts import add_reduced_rank, in_wider_bins, smoothed_counts
from neuromtm.decoding.linear import Splits
from neuromtm.decoding.selection import DEFAULT_TARGETS, Candidate, Decoded, Labels, behavior_metrics, decode, labels_of
from neuromtm.decoding.targets import target_names, target_of
from neuromtm.errors import ConfigError
from neuromtm.evaluation.tasks import PROMPTS, features_of
from neuromtm.metrics.keys import short_name
from neuromtm.plots.behavior import behavior_plot
from neuromtm.training.masked_modeling import MaskedModeling


class BehaviorReadout(lightning.Callback):
    """Fits read-outs to the training trials; logs `val/choice_accuracy` and so on, as means over sessions.

    Validation reads the rates under one prompt and scores its own trials. The read-outs are fitted anew each time, as
    they depend on the model; nothing else is. A test tries rates and hidden states under
    the prompts of all four activity tasks, and reports those that are best on validation, beside read-outs of raw
    counts. Each rank does its share of the sessions.

    Args:
        targets: behaviours to decode, by their names in the shards: choice, block, reward, contrast, reaction_time_s,
            or a trace such as whisker_motion_energy.
        validate: whether each validation fits read-outs too.
        n_val_sessions: sessions in which it does, the first ones. A test decodes in all of them.
        n_val_trials: training trials of a session that it fits them to, evenly spread. A test fits to all of them.
        baselines: whether a test fits read-outs of raw counts too, to see what the model adds.
    """

    def __init__(
        self,
        *,
        targets: tuple[str, ...] = DEFAULT_TARGETS,
        validate: bool = True,
        n_val_sessions: int = 2,
        n_val_trials: int = 48,
        baselines: bool = True,
    ):
        names = [short_name(target) for target in targets]
        for name, number in {"n_val_sessions": n_val_sessions, "n_val_trials": n_val_trials}.items():
            if number < 1:
                raise ConfigError(f"behavior.{name} is {number}, less than 1.")
        if len(set(names)) != len(names):
            raise ConfigError(f"behavior.targets names a behaviour twice: {', '.join(targets)}.")
        self.targets, self.validate, self.baselines = tuple(targets), validate, baselines
        self.n_val_sessions, self.n_val_trials = n_val_sessions, n_val_trials
        self._val_labels: dict[str, list[Labels]] = {}
        self.scores: dict[str, list[Decoded]] = {}
        """eid -> what the last test tried, one entry for each behaviour that the session has"""

    def setup(self, trainer: lightning.Trainer, pl_module: MaskedModeling, stage: str) -> None:
        """Refuse a name that no session has, before anything is trained. The default names may be absent."""
        data = data_of(trainer)
        self._val_labels = {}  # the data may be others
        for target in self.targets:
            if target not in DEFAULT_TARGETS:
                target_of(data, next(iter(data.sessions)), target)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if not self.validate or trainer.sanity_checking:
            return
        prompt = pl_module.known_objective.stand_in(PROMPTS["co_smoothing"])
        splits: tuple[Split, ...] = ("train", "val", "val")
        mine = {}
        for eid in self._mine(trainer, self.n_val_sessions):
            if eid not in self._val_labels:  # the model changes between validations, what the animal did does not
                self._val_labels[eid] = self._labels(trainer, eid, splits, n_train=self.n_val_trials)
            found = _of_the_model(pl_module, eid, prompt, splits, n_train=self.n_val_trials)
            rates = (one for one in found if one.features == "rates")
            mine[eid] = decode(eid, self._val_labels[eid], rates)
        metrics = [behavior_metrics(decoded) for decoded in _gathered(trainer, mine).values()]
        for name in dict.fromkeys(name for of_one in metrics for name in of_one):
            values = [of_one[name] for of_one in metrics if name in of_one]
            # the same on every rank; without `sync_dist` Lightning would warn
            pl_module.log(f"val/{name}", sum(values) / len(values), sync_dist=True)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        rank_zero_info("All neurons are scored. Behaviour is decoded next, then plots are drawn.")
        prompts = list(dict.fromkeys(pl_module.known_objective.stand_in(prompt) for prompt in PROMPTS.values()))
        splits: tuple[Split, ...] = ("train", "val", "test")
        mine = {}
        for eid in self._mine(trainer):
            labels = self._labels(trainer, eid, splits)
            mine[eid] = decode(eid, labels, self._candidates(pl_module, eid, prompts, splits))
            if self.baselines and labels:
                mine |= add_reduced_rank({eid: mine[eid]}, {eid: _pooled(data_of(trainer), eid)}, name="counts_rrr")
        self.scores = _gathered(trainer, mine)
        if self.baselines:
            self.scores = self._over_sessions(trainer)

    def on_test_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if not trainer.is_global_zero:
            return
        plot = behavior_plot({eid: behavior_metrics(decoded) for eid, decoded in self.scores.items()})
        if plot is not None:
            show_plot(trainer, "test/behavior", plot)
            save_plot(plot, Path(trainer.default_root_dir) / "figures" / "behavior.png")

    def _over_sessions(self, trainer: lightning.Trainer) -> dict[str, list[Decoded]]:
        """The scores with a read-out that all sessions share, fitted once. Sessions without behaviour take no part."""
        decoded = {eid: of_session for eid, of_session in self.scores.items() if of_session}
        if len(decoded) < 2:
            n = "One session has" if decoded else "No session has"
            rank_zero_info(f"{n} behaviour to decode, so no read-out of counts is shared over sessions.")
            return self.scores
        if trainer.is_global_zero:
            counts = {eid: _pooled(data_of(trainer), eid) for eid in decoded}
            decoded = add_reduced_rank(decoded, counts, name="counts_rrr_all_sessions")
        return self.scores | trainer.strategy.broadcast(decoded)

    def _mine(self, trainer: lightning.Trainer, most: int | None = None) -> list[str]:
        """The sessions of this rank, of all or of the first ones."""
        return list(data_of(trainer).sessions)[:most][trainer.global_rank :: trainer.world_size]

    def _labels(
        self, trainer: lightning.Trainer, eid: str, splits: tuple[Split, ...], n_train: int | None = None
    ) -> list[Labels]:
        """The behaviours that the session has, in all training trials or in some."""
        data = data_of(trainer)
        trials = [data.some_trials(eid, split, n_train if split == "train" else None) for split in splits]
        there = target_names(data.headers[eid])
        targets = (target_of(data, eid, name) for name in self.targets if name in there)
        return [labels_of(target, trials) for target in targets if target is not None]

    def _candidates(
        self, module: MaskedModeling, eid: str, prompts: list[Scheme], splits: tuple[Split, ...]
    ) -> Iterator[Candidate]:
        for prompt in prompts:
            yield from _of_the_model(module, eid, prompt, splits)
        if self.baselines:
            data = data_of(module.trainer)
            yield from smoothed_counts(Splits(*(data.counts(eid, split) for split in splits)), data.bin_size_s)


def _of_the_model(
    module: MaskedModeling, eid: str, prompt: Scheme, splits: tuple[Split, ...], n_train: int | None = None
) -> Iterator[Candidate]:
    """Rates and hidden states under a prompt, both from one forward pass; of all training trials or of some."""
    rates, states, seen = [], [], {}
    for split in splits:
        if split not in seen:
            seen[split] = _predicted(module, eid, prompt, split, n_train if split == "train" else None)
        rates.append(seen[split][0])
        states.append(seen[split][1])
    yield Candidate("rates", Splits(*rates), prompt=prompt)
    yield Candidate("states", Splits(*states), prompt=prompt)


def _predicted(
    module: MaskedModeling, eid: str, prompt: Scheme, split: Split, most: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """(trial, bin, neuron) expected spikes per bin and (trial, bin, state) of a split, which may be empty."""
    data = data_of(module.trainer)
    rates = [torch.empty(0, data.n_bins, data.sessions[eid].n_neurons)]
    states = [torch.empty(0, data.n_bins, module.built_model.backbone.state_size)]
    with module.trainer.precision_plugin.forward_context():
        for group in data.groups(eid, split, most):
            found = features_of(module.built_model, prompt, group.to(module.device))
            rates.append(found.rates.cpu())
            states.append(found.states.cpu())
    return torch.cat(rates).numpy(), torch.cat(states).numpy()


def _pooled(data: SessionDataModule, eid: str) -> Splits:
    return Splits(*(in_wider_bins(data.counts(eid, split), data.bin_size_s) for split in ("train", "val", "test")))


def _gathered(trainer: lightning.Trainer, mine: dict[str, list[Decoded]]) -> dict[str, list[Decoded]]:
    """The sessions of all ranks, in order."""
    if trainer.world_size == 1:
        return mine
    gathered: list[Any] = [None] * trainer.world_size
    torch.distributed.all_gather_object(gathered, mine)
    everyone = {eid: decoded for part in gathered for eid, decoded in part.items()}
    return {eid: everyone[eid] for eid in data_of(trainer).sessions if eid in everyone}

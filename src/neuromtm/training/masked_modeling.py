"""The LightningModule: draws a masking scheme a batch and trains the stitched model to fill in what it hides."""

from collections.abc import Iterator
from typing import Any, get_args

import lightning
import torch
from torch import Tensor, nn

from neuromtm.batch import Batch, Scheme, SessionGroup
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import CheckpointError, ConfigError, TrainingError
from neuromtm.evaluation.held_out import PROMPTS, rates_of
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import Masked, applicable
from neuromtm.metrics.loss import MeanCost
from neuromtm.metrics.spikes import poisson_nll
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import StitchedModel, VisibleGroup
from neuromtm.randomness import generator_for, seed_from
from neuromtm.training.checkpoint import KEY, CheckpointRecord, load_backbone, load_checkpoint
from neuromtm.training.optim import Schedule, make_optimizer


class MaskedModeling(lightning.LightningModule):
    """Masked modelling of spike counts.

    Sessions get their weights when training starts, from the data module; a checkpoint brings its own.

    Args:
        backbone: the architecture. Left out, it is the one of `pretrained`, or of the checkpoint tested.
        objective: masking schemes and their ratios. Left out, it is that of `pretrained` or of the checkpoint; for a
            new model it is multi-task masking.
        pretrained: checkpoint whose shared weights training starts from; its sessions are not taken over.
        lr: highest learning rate.
        weight_decay: of matrices.
        schedule: of the learning rate.
        warmup_fraction: share of the steps in which the learning rate rises.
        seed: of masks and dropout.
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        objective: Objective | None = None,
        pretrained: str | None = None,
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        schedule: Schedule = "one_cycle",
        warmup_fraction: float = 0.15,
        seed: int = 0,
    ):
        super().__init__()
        problems = [] if lr > 0 else [f"lr is {lr}, not above 0."]
        problems += [] if weight_decay >= 0 else [f"weight_decay is {weight_decay}, below 0."]
        problems += [] if 0 <= warmup_fraction <= 1 else [f"warmup_fraction is {warmup_fraction}, not in 0 to 1."]
        if problems:
            raise ConfigError("model: " + " ".join(problems))
        self.objective, self.pretrained = objective, pretrained
        self._trials: dict[str, str] = {}  # what the checkpoint says of its sessions' trials
        self.lr, self.weight_decay = lr, weight_decay
        self.schedule, self.warmup_fraction, self.seed = schedule, warmup_fraction, seed
        self.model = StitchedModel(backbone) if backbone is not None else None
        self.val_losses = nn.ModuleDict({scheme: MeanCost() for scheme in get_args(Scheme)})

    # ---- sessions and checkpoints

    def setup(self, stage: str) -> None:
        """Give every session of the data its weights when training begins; else they come with the checkpoint."""
        data = self._data()
        if stage != "fit" or self.trainer.ckpt_path is not None:
            return
        if self.pretrained is not None:
            self._load_pretrained(data)
        if self.objective is None:
            self.objective = Objective()
        if self.model is None:
            raise ConfigError("model: neither a backbone nor a pretrained checkpoint is given. Set model.backbone.")
        _check_n_bins(self.model.backbone, data)
        for eid, session in data.sessions.items():
            if eid not in self.model.sessions:
                self.model.add_session(session, data.mean_counts(eid))

    def _data(self) -> SessionDataModule:
        data = self.trainer.datamodule
        if not isinstance(data, SessionDataModule):
            raise ConfigError("MaskedModeling needs a SessionDataModule: trainer.fit(model, datamodule=...).")
        return data

    def _load_pretrained(self, data: SessionDataModule) -> None:
        checkpoint = load_checkpoint(self.pretrained)
        record = CheckpointRecord.from_checkpoint(checkpoint, name=self.pretrained)
        if self.model is None:
            self.model = StitchedModel(record.build_backbone(name=self.pretrained))
        record.require_backbone(self.model.backbone, name=self.pretrained)
        if self.objective is None:
            self.objective = record.objective
        _check_bin_size(record, data, name=self.pretrained)
        load_backbone(self.model.backbone, checkpoint, name=self.pretrained)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the record that lets the checkpoint be opened without the data."""
        data = self._data()
        record = CheckpointRecord.of(
            self.model,
            n_bins=data.n_bins,
            bin_size_s=data.bin_size_s,
            objective=self.objective,
            trials={eid: data.fingerprint(eid) for eid in data.sessions},
            batches=self._batches(),
        )
        checkpoint[KEY] = record.to_plain()

    def _batches(self) -> dict[str, int]:
        data = self._data()
        return {
            "seed_everything": self.seed,
            "data.batch_size": data.batch_size,
            "data.sessions_per_batch": data.sessions_per_batch,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build what the checkpoint holds, and check it against the options and the data."""
        attached = self._trainer is not None
        name = str(self.trainer.ckpt_path) if attached else "The checkpoint"
        record = CheckpointRecord.from_checkpoint(checkpoint, name=name)
        backbone = record.build_backbone(name=name) if self.model is None else self.model.backbone
        record.require_backbone(backbone, name=name)
        if self.objective is None:
            self.objective = record.objective
        if self.objective != record.objective:
            raise CheckpointError(
                f"{name}: trained with {record.objective}, but model.objective is {self.objective}. Leave it out to "
                "take the checkpoint's; to train on with another, start a new run with model.pretrained."
            )
        self._trials = dict(record.trials)
        # in the checkpoint's order, by which the optimiser's state belongs to the weights
        self.model = StitchedModel(backbone)
        for session in record.sessions:
            self.model.add_session(session)
        if attached:
            _check_bin_size(record, self._data(), name=name)
            _check_n_bins(backbone, self._data())
            self._check_sessions()
            if self.trainer.training:
                self._check_same_training(checkpoint, record, name=name)

    def _check_same_training(self, checkpoint: dict[str, Any], record: CheckpointRecord, *, name: str) -> None:
        # the optimiser's state brings its own values, so others would be ignored without a word; another batch size or
        # seed would make other batches of the rest of an epoch
        group = checkpoint["optimizer_states"][0]["param_groups"][0]
        before = {"model.lr": group["initial_lr"], "model.weight_decay": group["weight_decay"], **record.batches}
        now = {"model.lr": self.lr, "model.weight_decay": self.weight_decay, **self._batches()}
        differing = [
            f"{option} was {before[option]} and is now {now[option]}" for option in now if before[option] != now[option]
        ]
        if differing:
            raise ConfigError(
                f"{name}: a run goes on as it began, but {' and '.join(differing)}. Go on with the same values, or "
                "start a new run with model.pretrained."
            )

    def _check_sessions(self) -> None:
        """The model knows every session of the data, with the same neurons."""
        data = self._data()
        known = {} if self.model is None else self.model.sessions
        if not known:
            raise CheckpointError("There is no trained model to run: give --ckpt_path RUN/checkpoints/best.ckpt.")
        absent = [eid for eid in data.sessions if eid not in known]
        if absent:
            raise CheckpointError(
                f"The checkpoint does not know the session {', '.join(absent)}; it knows {', '.join(known)}. "
                "Fine-tune on it first, or choose others by data.sessions."
            )
        changed = [eid for eid, session in data.sessions.items() if session != known[eid]]
        if changed:
            raise CheckpointError(
                f"The neurons of {', '.join(changed)} are not those the checkpoint was trained with: the data were "
                "prepared again or data.min_firing_rate_hz or data.regions differ."
            )
        moved = [eid for eid in data.sessions if eid in self._trials and self._trials[eid] != data.fingerprint(eid)]
        if moved:
            raise CheckpointError(
                f"The trials of {', '.join(moved)} are not those the checkpoint was trained with: another window, "
                "event, filter or split, so that it may be tested on trials it has learned. Take the data it was "
                "trained on."
            )

    def on_validation_start(self) -> None:
        self._check_sessions()

    def on_test_start(self) -> None:
        self._check_sessions()

    def on_predict_start(self) -> None:
        self._check_sessions()

    # ---- training

    def configure_optimizers(self) -> dict:
        return make_optimizer(
            self.model,
            lr=self.lr,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            n_steps=self._n_steps(),
            warmup_fraction=self.warmup_fraction,
        )

    def _n_steps(self) -> int:
        # from the configuration: reading trainer.estimated_stepping_batches would set up the loaders too early
        trainer, limits = self.trainer, []
        if trainer.max_steps != -1:
            limits.append(trainer.max_steps)
        if trainer.max_epochs not in (None, -1):
            n_batches, most = self._data().n_train_batches(trainer.world_size), trainer.limit_train_batches
            n_batches = min(n_batches, most) if isinstance(most, int) else int(n_batches * most)
            limits.append(-(-n_batches // trainer.accumulate_grad_batches) * trainer.max_epochs)
        if not limits:
            raise ConfigError("The learning-rate schedule needs an end: set trainer.max_steps or trainer.max_epochs.")
        return max(1, min(limits))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        place = (self.current_epoch, self.global_rank, batch_idx)
        generator = generator_for(self.seed, "masking", *place)
        torch.manual_seed(seed_from(self.seed, "dropout", *place))  # so that a resumed run draws the same
        scheme = self.objective.draw_scheme([group.region for group in batch.groups], generator)
        masked = [self.objective.hide(scheme, g.counts, g.region, generator) for g in batch.groups]
        total, n_targets, own_loss = self._nll(batch.groups, masked, scheme)
        loss = total / n_targets
        if self.global_step % self.trainer.log_every_n_steps == 0:  # each look makes a GPU wait
            self._require_finite(loss, batch, scheme)
        self.log("train/loss", loss, prog_bar=True, batch_size=batch.n_trials)
        self.log(f"train/loss/{scheme}", loss, batch_size=batch.n_trials)
        return loss if own_loss is None else loss + own_loss

    def _require_finite(self, loss: Tensor, batch: Batch, scheme: Scheme) -> None:
        # on all ranks or none: one that stopped alone would leave the others waiting
        if self.trainer.strategy.reduce_boolean_decision(not loss.isfinite(), all=False):
            eids = ", ".join(dict.fromkeys(group.eid for group in batch.groups))
            raise TrainingError(
                f"The training diverged: the loss of step {self.global_step} is {loss.item()} here, with {scheme} "
                f"masking of {eids}. Lower model.lr, or set trainer.gradient_clip_val; checkpoints/best.ckpt is from "
                "before."
            )

    def _nll(
        self, groups: tuple[SessionGroup, ...], masked: list[Masked], scheme: Scheme
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Sum of the cost over the targets, their number, and the architecture's own loss."""
        visible = [VisibleGroup(g.eid, m.visible, m.hidden) for g, m in zip(groups, masked, strict=True)]
        output = self.model(visible, scheme)
        total = n_targets = torch.zeros((), device=self.device)
        for group, m, log_rates in zip(groups, masked, output.log_rates, strict=True):
            total = total + poisson_nll(log_rates, group.counts).masked_fill(~m.target, 0.0).sum()
            n_targets = n_targets + m.target.sum()
        return total, n_targets, output.own_loss

    # ---- validation: the same masks in every epoch, whatever the batches and ranks

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        for scheme, group, masked in self._fixed_masks(batch):
            total, n_targets, _ = self._nll((group,), [masked], scheme)
            self.val_losses[scheme].update(total, n_targets)

    def _fixed_masks(self, batch: Batch) -> Iterator[tuple[Scheme, SessionGroup, Masked]]:
        for group in batch.groups:
            for scheme in applicable(self.objective.schemes, [group.region]):
                each = []
                for trial, counts in zip(group.trial.tolist(), group.counts, strict=True):
                    generator = generator_for(self.seed, "validation", scheme, group.eid, trial)
                    each.append(self.objective.hide(scheme, counts[None], group.region, generator))
                yield scheme, group, Masked(*(torch.cat(parts) for parts in zip(*each, strict=True)))

    def on_validation_epoch_end(self) -> None:
        losses = {}
        for scheme in self.objective.schemes:
            metric = self.val_losses[scheme]
            loss = metric.compute()
            metric.reset()
            if not loss.isnan():  # a scheme that no session allows has none
                losses[f"val/loss/{scheme}"] = loss
        # the same on every rank already; `sync_dist` keeps Lightning from doubting it
        self.log_dict(losses, sync_dist=True)
        if losses:
            self.log("val/loss", torch.stack(list(losses.values())).mean(), prog_bar=True, sync_dist=True)

    # ---- test and prediction: the callbacks score, draw and write

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Nothing: what a test hides and scores is up to the callbacks."""

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensor]:
        """For each group, (trial, bin, neuron) expected spikes per bin with nothing hidden."""
        prompt = self.objective.stand_in(PROMPTS["co_smoothing"])
        return [rates_of(self.model, prompt, group) for group in batch.groups]


def _check_n_bins(backbone: Backbone, data: SessionDataModule) -> None:
    most = backbone.max_n_bins
    if most is not None and data.n_bins > most:
        raise ConfigError(
            f"The data have {data.n_bins} bins a trial, but the model takes at most {most}. Train a model with a "
            "larger model.backbone.max_bins, or prepare shorter trials."
        )


def _check_bin_size(record: CheckpointRecord, data: SessionDataModule, *, name: str) -> None:
    if record.bin_size_s != data.bin_size_s:
        raise CheckpointError(
            f"{name}: trained on bins of {record.bin_size_s} s, but the data have bins of {data.bin_size_s} s. "
            "Prepare the data again with that bin size."
        )

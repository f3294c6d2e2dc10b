"""The base LightningModule of every training: a stitched model, its sessions, its checkpoints, its optimiser."""

import math
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from neuromtm.batch import Batch, SessionInfo
from neuromtm.data.datamodule import SessionDataModule, data_of
from neuromtm.data.traces import require_traces
from neuromtm.errors import CheckpointError, ConfigError
from neuromtm.masking.objective import Objective
from neuromtm.models.blocks import Prompts
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import StitchedModel
from neuromtm.models.traces import BehaviorChannels
from neuromtm.training.agreement import require_agreement, require_effects
from neuromtm.training.checkpoint import (
    KEY,
    CheckpointRecord,
    drop_new_prompts,
    load_backbone,
    load_checkpoint,
    load_stitcher,
)
from neuromtm.training.compiling import compile_training
from neuromtm.training.continuation import changes, jump_of_rate
from neuromtm.training.diverging import DivergenceWatch, OnNan
from neuromtm.training.first_weights import add_new_sessions
from neuromtm.training.optim import Schedule, clip, in_three_groups, learning_rate_factor, make_optimizer
from neuromtm.training.trained import require_known_sessions


class StitchedModule(lightning.LightningModule):
    """A stitched model in training.

    When training starts, the sessions of the data module get their weights. A checkpoint brings its sessions' weights.

    Args:
        backbone: the architecture. By default that of `pretrained`, or of the checkpoint that is tested.
        objective: masking schemes and their ratios; see the subclass.
        pretrained: checkpoint that training starts from: its shared weights, and those of the sessions it knows.
        lr: highest learning rate.
        weight_decay: weight decay of shared matrices.
        stitcher_weight_decay: weight decay of the sessions' own matrices; by default that of the shared ones.
        beta2: memory of AdamW's second moment.
        schedule: schedule of the learning rate.
        warmup_fraction: share of the steps in which the learning rate rises.
        seed: seed of every draw in training.
        compile: whether the heavy part of the architecture is compiled for training.
        on_nan: what becomes of steps that diverge; see `DivergenceWatch`.
    """

    def __init__(
        self,
        backbone: Backbone | None,
        *,
        objective: Objective | None,
        pretrained: str | None,
        lr: float,
        weight_decay: float,
        stitcher_weight_decay: float | None,
        beta2: float,
        schedule: Schedule,
        warmup_fraction: float,
        seed: int,
        compile: bool,
        on_nan: OnNan,
    ):
        super().__init__()
        problems = [] if 0 < lr < math.inf else [f"lr is {lr}, not a number above 0."]
        if stitcher_weight_decay is None:
            stitcher_weight_decay = weight_decay
        decays = {"weight_decay": weight_decay, "stitcher_weight_decay": stitcher_weight_decay}
        problems += [
            f"{n} is {decay}, not a number from 0." for n, decay in decays.items() if not 0 <= decay < math.inf
        ]
        problems += [] if 0 <= warmup_fraction <= 1 else [f"warmup_fraction is {warmup_fraction}, not in 0 to 1."]
        problems += [] if 0 <= beta2 < 1 else [f"beta2 is {beta2}, not from 0 to below 1."]
        if problems:
            raise ConfigError("model: " + " ".join(problems))
        self.objective, self.pretrained = objective, pretrained
        self.pretrained_sessions: set[str] = set()
        """eids whose own weights came from the pretrained checkpoint"""
        self._trials: dict[str, str] = {}  # what the checkpoint says of its sessions' trials
        self._subjects: dict[str, str] = {}  # and of whose sessions it has learned
        self.lr, self.weight_decay, self.stitcher_weight_decay = lr, weight_decay, stitcher_weight_decay
        self._begun_n_steps: int | None = None  # steps that the schedule of a resumed run was made for
        self.beta2, self.schedule, self.warmup_fraction, self.seed = beta2, schedule, warmup_fraction, seed
        self.compiles, self.divergence = compile, DivergenceWatch(on_nan)
        self.model = StitchedModel(backbone) if backbone is not None else None

    @property
    def built_model(self) -> StitchedModel:
        """The model, once `setup` or a checkpoint has built it."""
        assert self.model is not None
        return self.model

    @property
    def known_objective(self) -> Objective:
        """The objective, once `setup` or a checkpoint has set it."""
        assert self.objective is not None
        return self.objective

    def occasional_parts(self) -> list[nn.Module]:
        """The modules whose weights a step may leave out, because they belong to one session, scheme or behaviour."""
        model, kinds = self.built_model, (Prompts, BehaviorChannels)
        return [model.stitchers, *(part for part in model.backbone.modules() if isinstance(part, kinds))]

    # ---- sessions and checkpoints

    def setup(self, stage: str) -> None:
        """When training begins, give every session of the data its weights. Otherwise the checkpoint has them."""
        data = self._data()
        if stage != "fit" or self.trainer.ckpt_path is not None:
            return
        self._begun_n_steps, own_objective = None, self.objective is not None
        if self.pretrained is not None:
            self._load_pretrained(self.pretrained, data)
        if self.objective is None:
            self.objective = Objective()
        if self.model is None:
            raise ConfigError("model: neither a backbone nor a pretrained checkpoint is given. Set model.backbone.")
        self.model.backbone.require_n_bins(data.n_bins)
        self.objective = self.objective.for_tokens(self.model.backbone.neurons_per_token)
        require_agreement(self.model.backbone, self.objective)
        if own_objective or self.pretrained is None:
            require_effects(self.model.backbone, self.objective, new=self.pretrained is None)
        if self.pretrained is None:
            require_traces(data, self.model.backbone.behaviors)
        add_new_sessions(self.model, data)
        self.begin(data)
        data.count_active_neurons(self.built_model.backbone.wants_active_counts)

    def begin(self, data: SessionDataModule) -> None:
        """Make what a new training needs besides the stitched model. Every session already has its weights."""

    def decoder(self) -> dict[str, Any] | None:
        """What a checkpoint must hold about a decoder, in plain types; None if there is no decoder."""
        return None

    def restore(self, record: CheckpointRecord, *, name: str) -> None:
        """Make what a checkpoint holds besides the stitched model.

        Raises:
            CheckpointError: if the checkpoint is of another kind of model.
        """
        record.require_masked_model(name=name)

    def _data(self) -> SessionDataModule:
        data = data_of(self.trainer)
        if not isinstance(data, SessionDataModule):
            raise ConfigError(f"{type(self).__name__} needs a SessionDataModule: trainer.fit(model, datamodule=...).")
        return data

    def _load_pretrained(self, pretrained: str, data: SessionDataModule) -> None:
        checkpoint = load_checkpoint(pretrained)
        record = CheckpointRecord.from_checkpoint(checkpoint, name=pretrained)
        if self.model is None:
            self.model = StitchedModel(record.build_backbone(name=pretrained))
        record.require_backbone(self.model.backbone, name=pretrained)
        if self.objective is None:
            self.objective = record.objective
        record.require_bin_size(data.bin_size_s, name=pretrained)
        untrained = load_backbone(self.model.backbone, checkpoint, name=pretrained)
        if untrained:
            schemes = ", ".join(untrained)
            rank_zero_info(f"{pretrained}: is from before the masking scheme {schemes}, whose prompt starts untrained.")
        self._subjects = dict(record.subjects)
        known = {session.eid: session for session in record.sessions}
        for eid, session in data.sessions.items():
            if eid in known:
                self._take_over(session, known[eid], record, checkpoint)

    def _take_over(
        self, session: SessionInfo, known: SessionInfo, record: CheckpointRecord, checkpoint: dict[str, Any]
    ) -> None:
        """Give a session the weights that it has in the pretrained checkpoint, if it has them for these neurons."""
        eid = session.eid
        if eid in record.trials and record.trials[eid] != self._data().fingerprint(eid):
            raise CheckpointError(
                f"{self.pretrained}: was trained on other trials of {eid} (another window, event, filter or split), so "
                "that it may have learned some of the test trials here. Use the data that it was trained on."
            )
        if session != known:
            rank_zero_info(f"{eid}: {self.pretrained} knows it with other neurons, so its own weights start untrained.")
            return
        self.built_model.add_session(session)
        load_stitcher(self.built_model, eid, checkpoint, name=str(self.pretrained))
        self.pretrained_sessions.add(eid)
        rank_zero_info(f"{eid}: its own weights start from {self.pretrained}.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Write the record that lets the checkpoint be opened without the data."""
        data = self._data()
        record = CheckpointRecord.of(
            self.built_model,
            n_bins=data.n_bins,
            bin_size_s=data.bin_size_s,
            objective=self.known_objective,
            trials={eid: data.fingerprint(eid) for eid in data.sessions},
            batches=self._batches(),
            decoder=self.decoder(),
            subjects={**self._subjects, **{eid: str(data.headers[eid].subject) for eid in data.sessions}},
        )
        checkpoint[KEY] = record.to_plain()

    def _batches(self) -> dict[str, int | float | str]:
        """The options that decide which trials, masks and learning rate a step gets."""
        data, trainer = self._data(), self.trainer
        return {
            "seed_everything": self.seed,
            "data.seed": data.seed,
            "data.batch_size": data.batch_size,
            "data.sessions_per_batch": data.sessions_per_batch,
            "ranks": trainer.world_size,
            "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
            # as text, because 1 is one batch and 1.0 is all of them
            "trainer.limit_train_batches": str(trainer.limit_train_batches),
            "trainer.max_epochs": -1 if trainer.max_epochs is None else trainer.max_epochs,
            "trainer.max_steps": trainer.max_steps,
            "model.schedule": self.schedule,
            "model.warmup_fraction": self.warmup_fraction,
            "schedule_steps": self._n_steps(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Build what the checkpoint holds, and check it against the options and the data."""
        attached = self._trainer is not None
        name = str(self.trainer.ckpt_path) if attached else "The checkpoint"
        record = CheckpointRecord.from_checkpoint(checkpoint, name=name)
        backbone = record.build_backbone(name=name) if self.model is None else self.model.backbone
        record.require_backbone(backbone, name=name)
        dropped = drop_new_prompts(backbone, checkpoint, name=name)
        if dropped:
            rank_zero_info(f"{name}: is from before the masking scheme {', '.join(dropped)}, and goes on without it.")
        self.objective = (self.objective or record.objective).for_tokens(backbone.neurons_per_token)
        if self.objective != record.objective:
            raise CheckpointError(
                f"{name}: trained with {record.objective}, but model.objective is {self.objective}. Leave it out to "
                "use the checkpoint's. To train further with another, start a new run with model.pretrained."
            )
        self._trials, self._subjects = dict(record.trials), dict(record.subjects)
        # in the checkpoint's order, because the optimiser's state is matched to the weights by order
        self.model = StitchedModel(backbone)
        for session in record.sessions:
            self.model.add_session(session)
        self.restore(record, name=name)
        if attached:
            record.require_bin_size(self._data().bin_size_s, name=name)
            backbone.require_n_bins(self._data().n_bins)
            self._data().count_active_neurons(backbone.wants_active_counts)
            self._check_sessions()
            if self.trainer.training:
                self._check_same_training(checkpoint, record, name=name)

    def _check_same_training(self, checkpoint: dict[str, Any], record: CheckpointRecord, *, name: str) -> None:
        self._begun_n_steps = None
        # the optimiser's state brings its own values, so other values would be ignored in silence; another batch size
        # or seed would change the remaining batches of an epoch
        in_three_groups(checkpoint, self)
        shared, stitchers, _ = groups = checkpoint["optimizer_states"][0]["param_groups"]
        before = {
            "model.lr": shared["initial_lr"],
            "model.weight_decay": shared["weight_decay"],
            "model.stitcher_weight_decay": stitchers["weight_decay"],
            "model.beta2": shared["betas"][1],
            **record.batches,
        }
        now = {
            "model.lr": self.lr,
            "model.weight_decay": self.weight_decay,
            "model.stitcher_weight_decay": self.stitcher_weight_decay,
            "model.beta2": self.beta2,
            **self._batches(),
        }
        differing = changes(before, now, sessions_before=record.trials, sessions_now=self._data().sessions)
        begun = record.batches.get("schedule_steps")
        if begun is None and not differing:
            factor = learning_rate_factor(self.schedule, n_steps=self._n_steps(), warmup_fraction=self.warmup_fraction)
            differing = jump_of_rate(checkpoint["lr_schedulers"][0], self.lr, factor)
        if self.schedule == "constant" and type(begun) is int:
            self._begun_n_steps = begun  # so that the warm-up stays where it was, though training may now be longer
        if differing:
            raise ConfigError(
                f"{name}: a run must continue with the options it began with, but {' and '.join(differing)}. Use the "
                "same values, or start a new run with model.pretrained."
            )
        for group in groups:
            group["fused"] = self._can_fuse()  # the state brings this too

    def _check_sessions(self) -> None:
        """Check that the model knows every session of the data, with the same neurons and trials."""
        data = self._data()
        known = {} if self.model is None else self.model.sessions
        if not known:
            raise CheckpointError("There is no trained model to run: give --ckpt_path RUN/checkpoints/best.ckpt.")
        require_known_sessions(known, self._trials, data, name=str(self.trainer.ckpt_path or "The model"))

    def on_train_start(self) -> None:
        self.built_model.backbone.begin_training(self._n_steps() * self.trainer.accumulate_grad_batches)
        if self.compiles:
            compile_training(self.built_model.backbone)

    def on_validation_start(self) -> None:
        if self.trainer.state.fn != "fit":  # a training checked the sessions when it began
            self._check_sessions()

    def on_test_start(self) -> None:
        self._check_sessions()

    on_predict_start = on_test_start

    # ---- optimiser

    def configure_optimizers(self) -> dict:  # ty: ignore[incompatible-method-override]  # one of Lightning's own types
        return make_optimizer(
            self,
            lr=self.lr,
            weight_decay=self.weight_decay,
            stitcher_weight_decay=self.stitcher_weight_decay,
            beta2=self.beta2,
            schedule=self.schedule,
            n_steps=self._n_steps(),
            warmup_fraction=self.warmup_fraction,
            fused=self._can_fuse(),
        )

    def _can_fuse(self) -> bool:
        # the scaler of 16-mixed and a fused optimiser would both divide the gradients by the scale, one after clipping
        return self.device.type in ("cpu", "cuda") and self.trainer.precision != "16-mixed"

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by torch's own functions, as Lightning does, which refuses to with a fused optimiser.

        Lightning calls this before every step, also without clipping.
        """
        by = "value" if gradient_clip_algorithm == "value" else "norm"
        if not gradient_clip_val or by == "value":  # clipping by value would hide an infinite gradient
            self.divergence.guard(optimizer)
        if gradient_clip_val:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            norm = clip(parameters, most=gradient_clip_val, by=by)
            if norm is not None:
                self.divergence.guard(optimizer, norm)

    def _n_steps(self) -> int:
        """Optimiser steps that the learning rate's schedule is made for."""
        if self._begun_n_steps is not None:
            return self._begun_n_steps
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

    def on_train_epoch_end(self) -> None:
        self.divergence.look(self.trainer)

    def watch_loss(self, loss: Tensor, batch: Batch, doing: str) -> None:
        """Tell `divergence` of a loss, which was made by `doing` something with a batch. Look in logged steps only."""
        batch_idx = self.trainer.fit_loop.batch_idx
        self.divergence.add(loss, batch, doing, step=self.global_step, batch_idx=batch_idx)
        # Lightning sets it, and its class does not say so
        every_n_steps = self.trainer.log_every_n_steps  # ty: ignore[missing-attribute]
        if every_n_steps and self.global_step % every_n_steps == 0:
            self.divergence.look(self.trainer)

"""The LightningModule that pretrains: it draws a masking scheme for each batch and learns to predict what is hidden."""

from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from neuromtm.batch import Batch, Scheme, SessionGroup
from neuromtm.evaluation.tasks import PROMPTS, rates_of
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import SCHEMES
from neuromtm.metrics.loss import MeanCost
from neuromtm.models.interface import Backbone
from neuromtm.randomness import generator_for, numpy_generator_for, seed_from
from neuromtm.training.diverging import OnNan
from neuromtm.training.fixed_masks import FixedMasks
from neuromtm.training.masked_cost import masked_cost
from neuromtm.training.optim import Schedule
from neuromtm.training.stitched import StitchedModule


class MaskedModeling(StitchedModule):
    """Masked modelling of spike counts.

    When training starts, the sessions of the data module get their weights. A checkpoint brings its sessions' weights.

    Args:
        backbone: the architecture. By default that of `pretrained`, or of the checkpoint that is tested.
        objective: masking schemes and their ratios. By default that of `pretrained` or of the checkpoint; for a new
            model, multi-task masking.
        pretrained: checkpoint that training starts from: its shared weights, and those of the sessions it knows.
        lr: highest learning rate.
        weight_decay: weight decay of shared matrices.
        stitcher_weight_decay: weight decay of the sessions' own matrices; by default that of the shared ones.
        beta2: memory of AdamW's second moment. The usual 0.999 remembers more steps than a short training has.
        schedule: schedule of the learning rate.
        warmup_fraction: share of the steps in which the learning rate rises.
        loss_per: `entry`: the loss is the mean over hidden entries. `spike`: each session's part is divided by its mean
            spikes per bin, so that sessions weigh alike, however much they fire. Validation losses are per entry.
        seed: seed of masks and dropout.
        compile: whether the heavy part of the architecture is compiled for training, which pays on a GPU. The first
            steps then take a minute or so longer. Where no compiler works, a sentence says so.
        on_nan: what becomes of a training when a loss or a gradient is not a finite number. Such a step never reaches
            the weights. `stop`: the training ends and says where. `skip`: it goes on without the step, and says so.
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        *,
        objective: Objective | None = None,
        pretrained: str | None = None,
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        stitcher_weight_decay: float | None = None,
        beta2: float = 0.999,
        schedule: Schedule = "one_cycle",
        warmup_fraction: float = 0.15,
        loss_per: Literal["entry", "spike"] = "entry",
        seed: int = 0,
        compile: bool = False,
        on_nan: OnNan = "stop",
    ):
        super().__init__(
            backbone,
            objective=objective,
            pretrained=pretrained,
            lr=lr,
            weight_decay=weight_decay,
            stitcher_weight_decay=stitcher_weight_decay,
            beta2=beta2,
            schedule=schedule,
            warmup_fraction=warmup_fraction,
            seed=seed,
            compile=compile,
            on_nan=on_nan,
        )
        self.loss_per = loss_per
        self._weights: dict[str, float] | None = None  # of each session's cost
        self.val_losses = nn.ModuleDict({scheme: MeanCost() for scheme in SCHEMES})
        self.val_bits = nn.ModuleDict({scheme: MeanCost() for scheme in SCHEMES})
        self._mean_counts: dict[str, Tensor] = {}  # on the device

        self._fixed: FixedMasks | None = None

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self._fixed, self._mean_counts = None, {}  # the data may be others
        if stage == "fit" and self.loss_per == "spike":
            data = self._data()
            self._weights = {eid: 1 / data.mean_counts(eid).mean().item() for eid in data.sessions}

    def _batches(self) -> dict[str, int | float | str]:
        return {**super()._batches(), "model.loss_per": self.loss_per}

    # ---- training

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        place = (self.current_epoch, self.global_rank, batch_idx)
        generator = generator_for(self.seed, "masking", *place, device=self.device)
        torch.manual_seed(seed_from(self.seed, "dropout", *place))  # so that a resumed run draws the same
        drawing = numpy_generator_for(self.seed, "scheme", *place)
        regions, with_behavior = [group.region for group in batch.groups], self._have_behavior(batch.groups)
        scheme = self.known_objective.draw_scheme(regions, drawing, with_behavior=with_behavior)
        masked = [self.known_objective.hide(scheme, g.counts, g.region, generator) for g in batch.groups]
        weight = self.known_objective.behavior_weight
        cost = masked_cost(
            self.built_model, batch.groups, masked, scheme, weights=self._weights, behavior_weight=weight
        )
        loss = cost.total / cost.n_targets.clamp(min=1)  # of behaviour, all entries of a batch may be missing
        self.watch_loss(loss, batch, f"{scheme} masking")
        self.log("train/loss", loss, batch_size=batch.n_trials)
        self.log(f"train/loss/{scheme}", loss, batch_size=batch.n_trials)
        for name, term in cost.own_terms.items():
            self.log(f"train/{name}", term, batch_size=batch.n_trials)
        return loss if cost.own_loss is None else loss + cost.own_loss

    def _have_behavior(self, groups: Sequence[SessionGroup]) -> bool:
        """Whether each of the sessions has a trace that the model reads."""
        return all(group.behavior.keys() & set(self.built_model.backbone.behaviors) for group in groups)

    # ---- validation: the same masks in every epoch, independent of batches and ranks

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        if self._fixed is None:
            self._fixed = FixedMasks(self.known_objective, seed=self.seed, device=self.device)
        data = self._data()
        for group in batch.groups:
            trials = data.headers[group.eid].splits["val"]
            with_behavior = self._have_behavior([group])
            self._fixed.add(data.sessions[group.eid], trials, n_bins=data.n_bins, with_behavior=with_behavior)
            if group.eid not in self._mean_counts:
                self._mean_counts[group.eid] = data.mean_counts(group.eid).to(self.device)
            for scheme, masked in self._fixed.of(group).items():
                cost = masked_cost(
                    self.built_model,
                    [group],
                    [masked],
                    scheme,
                    behavior_weight=self.known_objective.behavior_weight,
                    mean_counts=self._mean_counts,
                )
                cast(MeanCost, self.val_losses[scheme]).update(cost.total, cost.n_targets)
                if cost.bits is not None:
                    cast(MeanCost, self.val_bits[scheme]).update(-cost.bits, cost.n_targets)

    def on_validation_epoch_end(self) -> None:
        losses, bits = self._means(self.val_losses), self._means(self.val_bits)
        # already the same on every rank; `sync_dist` keeps Lightning from a warning
        self.log_dict({f"val/loss/{scheme}": loss for scheme, loss in losses.items()}, sync_dist=True)
        if losses:
            self.log("val/loss", torch.stack(list(losses.values())).mean(), prog_bar=True, sync_dist=True)
        if bits:
            self.log("val/bits_per_spike", -torch.stack(list(bits.values())).mean(), sync_dist=True)

    def _means(self, metrics: nn.ModuleDict) -> dict[Scheme, Tensor]:
        """Scheme -> mean of a validation, of the schemes that a session allows; the metrics begin anew."""
        means = {}
        for scheme in self.known_objective.schemes:
            metric = cast(MeanCost, metrics[scheme])
            mean = metric.compute()
            metric.reset()
            if not mean.isnan():
                means[scheme] = mean
        return means

    # ---- test and prediction: the callbacks score, draw and write

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Do nothing here: the callbacks decide what a test hides and scores."""

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensor]:
        """For each group, (trial, bin, neuron) expected spikes per bin with nothing hidden."""
        prompt = self.known_objective.stand_in(PROMPTS["co_smoothing"])
        return [rates_of(self.built_model, prompt, group) for group in batch.groups]

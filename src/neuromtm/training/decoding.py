"""The LightningModule that decodes behaviour: a linear head on the stitched model's states, trained end to end."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import Batch, Scheme, SessionGroup
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.decoding.targets import Target, target_of
from neuromtm.errors import CheckpointError, ConfigError, DataError
from neuromtm.masking.objective import Objective
from neuromtm.metrics.loss import MeanCost
from neuromtm.models.heads import BinHead, TrialHead
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import VisibleGroup, module_key
from neuromtm.randomness import seed_from
from neuromtm.training.checkpoint import CheckpointRecord
from neuromtm.training.diverging import OnNan
from neuromtm.training.optim import Schedule
from neuromtm.training.stitched import StitchedModule

TargetKind = Literal["classes", "number", "trace"]
"""what a behaviour is: a class per trial, a number per trial, or a trace (a number per bin)"""


class Units(NamedTuple):
    """Origin and unit of a session's trace or number."""

    average: tuple[float, ...]
    """(bin,) average over the training trials; in a bin where none has a value, their mean over all bins"""
    deviation: float
    """standard deviation from that average; 1 if it is 0 or unknown"""


class BehaviorDecoding(StitchedModule):
    """Decodes one behaviour from the states of a stitched model. Nothing is hidden from the model.

    The head is a linear map, one for all sessions or one for each session. For classes (cross-entropy) and for a number
    per trial (squared error) it reads the whole trial; for a trace (squared error) it reads each bin. A trace or number
    is learned as its deviation from the session's average over training trials. This average needs no neurons, so
    training starts at the chance level. The model beneath the head is fine-tuned from `pretrained`, held fixed
    (`frozen`), or trained from scratch (a `backbone` alone).

    Args:
        target: the behaviour's name: a trace of the shards, `choice`, `reward`, `block`, `contrast` or
            `reaction_time_s`.
        backbone: the architecture. By default that of `pretrained`, or of the checkpoint that is tested.
        pretrained: checkpoint that training starts from: its shared weights, and those of the sessions it knows.
        frozen: train the head alone. The pretrained checkpoint must know every session.
        own_heads: whether each session has a head of its own. A shared head learns from more trials, but the states of
            a frozen model may mean different things in two animals.
        prompt: the scheme whose prompt and attention the model uses. If the model was not pretrained with this scheme,
            it uses the first scheme that it was pretrained with.
        lr: highest learning rate.
        weight_decay: weight decay of shared matrices and of heads.
        stitcher_weight_decay: weight decay of the sessions' own matrices; by default that of the shared ones.
        beta2: memory of AdamW's second moment. The usual 0.999 remembers more steps than a short training has.
        schedule: schedule of the learning rate.
        warmup_fraction: share of the steps in which the learning rate rises.
        seed: seed of dropout.
        compile: whether the heavy part of the architecture is compiled for training, which pays on a GPU. The first
            steps then take a minute or so longer. Where no compiler works, a sentence says so.
        on_nan: what becomes of a training when a loss or a gradient is not a finite number. Such a step never reaches
            the weights. `stop`: the training ends and says where. `skip`: it goes on without the step, and says so.
    """

    def __init__(
        self,
        target: str,
        backbone: Backbone | None = None,
        *,
        pretrained: str | None = None,
        frozen: bool = False,
        own_heads: bool = False,
        prompt: Scheme = "neuron",
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        stitcher_weight_decay: float | None = None,
        beta2: float = 0.999,
        schedule: Schedule = "one_cycle",
        warmup_fraction: float = 0.15,
        seed: int = 0,
        compile: bool = False,
        on_nan: OnNan = "stop",
    ):
        super().__init__(
            backbone,
            objective=None,
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
        if frozen and pretrained is None and backbone is not None:
            raise ConfigError(
                "model.frozen: an untrained model would be held fixed. Give model.pretrained, or leave frozen out."
            )
        self.target, self.frozen, self.own_heads, self.prompt = target, frozen, own_heads, prompt
        self.kind: TargetKind = "classes"
        self.classes: tuple[float, ...] = ()
        """known values of a target of classes, sorted; the head's outputs are in this order"""
        self.units: dict[str, Units] = {}
        """eid -> the units in which its trace or number is learned"""
        self.heads: nn.ModuleDict | None = None
        """`head_key` -> head"""
        self.val_loss = MeanCost()
        self._targets: dict[str, Target | None] = {}
        self._values: dict[str, Tensor] = {}  # on the device: class numbers (-1 unknown), or values in units

    # ---- sessions and checkpoints

    def begin(self, data: SessionDataModule) -> None:
        """Find out what the target is, and make the head for it."""
        targets = self._read_targets(data)
        known = {eid: target for eid, target in targets.items() if target is not None}
        if not known:
            raise DataError(f"{data.root}: no known value of {self.target!r} in any session: nothing to learn.")
        for eid in targets.keys() - known.keys():
            rank_zero_info(f"{eid}: has no known value of {self.target} and is left out.")
        train = {eid: target.values[data.headers[eid].splits["train"]] for eid, target in known.items()}
        first = next(iter(known.values()))
        if not first.is_trace:
            values = np.unique(np.concatenate([v[~np.isnan(v)] for v in train.values()]))
            if len(values) < 2:
                found = f"only the value {values[0]:g}" if len(values) else "no known value"
                raise DataError(
                    f"{data.root}: the train trials have {found} of {self.target!r}, so there are no classes to learn."
                )
            self.kind, self.classes = "classes", tuple(values.tolist())
        else:
            self.kind = "trace" if first.values.shape[1] == data.n_bins else "number"
            self.units = {eid: _units(values) for eid, values in train.items()}
        if self.frozen:
            new = [eid for eid in known if eid not in self.pretrained_sessions]
            if new:
                raise ConfigError(
                    f"model.frozen: {self.pretrained} does not know the session {', '.join(new)}, so that its stitcher "
                    "would stay untrained. Fine-tune on it first (conf/finetune.yaml), or leave model.frozen out."
                )
        if self.pretrained is None:
            # no prompt has been learned yet
            self.objective = Objective(schemes=(self.prompt,)).for_tokens(self.built_model.backbone.neurons_per_token)
        self._make_heads(data.n_bins)

    def _read_targets(self, data: SessionDataModule) -> dict[str, Target | None]:
        if self._targets.keys() != data.sessions.keys():
            self._targets = {eid: target_of(data, eid, self.target) for eid in data.sessions}
        return self._targets

    def _make_heads(self, n_bins: int) -> None:
        self.heads = nn.ModuleDict({self.head_key(eid): self._make_head(n_bins) for eid in self.built_model.sessions})
        self.built_model.requires_grad_(not self.frozen)

    def _make_head(self, n_bins: int) -> nn.Module:
        state_size = self.built_model.backbone.state_size
        if self.kind == "trace":
            return BinHead(state_size=state_size)
        n_outputs = len(self.classes) if self.kind == "classes" else 1
        return TrialHead(n_bins=n_bins, state_size=state_size, n_outputs=n_outputs)

    def occasional_parts(self) -> list[nn.Module]:
        assert self.heads is not None  # `begin` or `restore` made them
        return [*super().occasional_parts(), *([self.heads] if self.own_heads else [])]

    def head_key(self, eid: str) -> str:
        """The name of a session's head in `heads`."""
        return module_key(eid) if self.own_heads else "shared"

    def decoder(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "kind": self.kind,
            "classes": list(self.classes),
            "units": {eid: {"average": list(u.average), "deviation": u.deviation} for eid, u in self.units.items()},
            "frozen": self.frozen,
            "own_heads": self.own_heads,
            "prompt": self.prompt,
        }

    def restore(self, record: CheckpointRecord, *, name: str) -> None:
        decoder = record.decoder
        if decoder is None:
            raise CheckpointError(
                f"{name}: a masked model, not a decoder of {self.target!r}. Give it as --model.pretrained to train one."
            )
        mine = {"target": self.target, "frozen": self.frozen, "own_heads": self.own_heads, "prompt": self.prompt}
        differing = [
            f"{key} {decoder.get(key)!r} there and {v!r} here" for key, v in mine.items() if decoder.get(key) != v
        ]
        if differing:
            raise CheckpointError(f"{name}: holds another decoder: {'; '.join(differing)}.")
        try:
            self.kind, self.classes = decoder["kind"], tuple(decoder["classes"])
            self.units = {eid: Units(tuple(u["average"]), u["deviation"]) for eid, u in decoder["units"].items()}
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{name}: its description of the decoder is not whole ({error!r}).") from error
        self._make_heads(record.n_bins)

    # ---- training

    def values(self, group: SessionGroup) -> Tensor | None:
        """The values that the head should give for a group's trials; None if the session has no such behaviour.

        Returns:
            (trial,) int64 class numbers, -1 where unknown or never seen in training; or (trial, 1) or (trial, bin)
            in the session's units, NaN where unknown.
        """
        target = self._read_targets(self._data())[group.eid]
        if target is None or (self.kind != "classes" and group.eid not in self.units):
            return None
        if group.eid not in self._values:
            self._values[group.eid] = torch.from_numpy(self._encode(group.eid, target)).to(self.device)
        return self._values[group.eid][group.trial]

    def _encode(self, eid: str, target: Target) -> np.ndarray:
        if self.kind == "classes":
            classes = np.asarray(self.classes, np.float32)
            number = np.searchsorted(classes, target.values).clip(max=len(classes) - 1)
            return np.where(classes[number] == target.values, number, -1)
        units = self.units[eid]
        return ((target.values - np.array(units.average)) / units.deviation).astype(np.float32)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        place = (self.current_epoch, self.global_rank, batch_idx)
        torch.manual_seed(seed_from(self.seed, "dropout", *place))  # so that a resumed run draws the same
        total, n_known = self._cost(batch.groups)
        loss = total / n_known.clamp(min=1)  # a batch without a known value teaches nothing
        self.watch_loss(loss, batch, "decoding")
        self.log("train/loss", loss, batch_size=batch.n_trials)
        return loss

    def on_train_epoch_start(self) -> None:
        if self.frozen:
            self.built_model.eval()  # no dropout beneath the head either

    def _cost(self, groups: tuple[SessionGroup, ...]) -> tuple[Tensor, Tensor]:
        """Sum of the cost over the known values, and their number."""
        outputs = self._outputs(groups)
        # so that without a known value there is a gradient of 0
        total = sum((output.sum() * 0.0 for output in outputs), torch.zeros((), device=self.device))
        n_known = torch.zeros((), device=self.device)
        for group, output in zip(groups, outputs, strict=True):
            values = self.values(group)
            if values is None:
                continue
            if self.kind == "classes":
                total = total + functional.cross_entropy(output, values, ignore_index=-1, reduction="sum")
                n_known = n_known + (values >= 0).sum()
            else:
                known = ~values.isnan()
                # NaN is replaced before the square, not after it, or it would come back in the gradient
                total = total + ((output - values.nan_to_num()).square() * known).sum()
                n_known = n_known + known.sum()
        return total, n_known

    def _outputs(self, groups: tuple[SessionGroup, ...]) -> list[Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            scheme = self.known_objective.stand_in(self.prompt)
            states = self.built_model([VisibleGroup(g.eid, g.counts) for g in groups], scheme).states
        heads = self.heads
        assert heads is not None  # `begin` or `restore` made them
        return [heads[self.head_key(g.eid)](s).float() for g, s in zip(groups, states, strict=True)]

    # ---- validation, test and prediction: the callbacks score and write

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.val_loss.update(*self._cost(batch.groups))

    def on_validation_epoch_end(self) -> None:
        loss = self.val_loss.compute()
        self.val_loss.reset()
        if not loss.isnan():  # NaN if no validation trial has a known value
            # already the same on every rank; `sync_dist` keeps Lightning from a warning
            self.log("val/loss", loss, prog_bar=True, sync_dist=True)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Do nothing here: the callbacks score the test."""

    def decode(self, group: SessionGroup) -> Tensor | None:
        """Predict a group's behaviour in its own units; None if the session had no values to learn from.

        Returns:
            (trial,) values of classes, (trial, 1) numbers, or (trial, bin) trace.
        """
        if self.kind != "classes" and group.eid not in self.units:
            return None
        (output,) = self._outputs((group,))
        if self.kind == "classes":
            return torch.tensor(self.classes, device=output.device)[output.argmax(dim=1)]
        units = self.units[group.eid]
        return output * units.deviation + torch.tensor(units.average, device=output.device)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Tensor | None]:
        """For each group, what `decode` gives."""
        return [self.decode(group) for group in batch.groups]


def _units(values: np.ndarray) -> Units:
    known = ~np.isnan(values)
    n_known = known.sum(axis=0)
    mean = values[known].mean(dtype=np.float64) if known.any() else 0.0
    average = np.divide(
        np.nansum(values, axis=0, dtype=np.float64), n_known, out=np.full(len(n_known), mean), where=n_known > 0
    )
    deviation = (values - average)[known].std() if known.any() else 0.0
    return Units(tuple(average.tolist()), float(deviation) or 1.0)

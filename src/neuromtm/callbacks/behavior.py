"""Choice and whisker motion energy, decoded from predicted rates by a linear read-out."""

import lightning
import numpy as np
import torch
from torch import Tensor

from neuromtm.batch import Scheme
from neuromtm.evaluation.held_out import PROMPTS, rates_of
from neuromtm.evaluation.readout import BehaviorScores, Splits, decode
from neuromtm.training.masked_modeling import MaskedModeling

FIGURES = ("choice_accuracy", "choice_chance", "whisker_r2", "whisker_chance")
WHISKER = "whisker_motion_energy"


class BehaviorReadout(lightning.Callback):
    """Fits read-outs on the training trials; logs `val/choice_accuracy` and the like, means over sessions.

    Validation reads the rates under one prompt and scores its own trials; a test tries the prompts of all four
    activity tasks and reports the one that is best on validation. Each rank does its share of the sessions.

    Args:
        validate: whether read-outs are fitted on validation too, which reads all training trials every time.
    """

    def __init__(self, *, validate: bool = True):
        self.validate = validate
        self.scores: dict[str, BehaviorScores] = {}
        """eid -> figures of the last test"""

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if not self.validate or trainer.sanity_checking:
            return
        prompt = pl_module.objective.stand_in(PROMPTS["co_smoothing"])
        scores = self._decode(trainer, pl_module, [prompt], scored="val")
        for name in FIGURES:
            values = [getattr(s, name) for s in scores.values() if getattr(s, name) is not None]
            if values:
                # the same on every rank; `sync_dist` keeps Lightning from doubting it
                pl_module.log(f"val/{name}", sum(values) / len(values), sync_dist=True)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        stand_ins = [pl_module.objective.stand_in(prompt) for prompt in PROMPTS.values()]
        self.scores = self._decode(trainer, pl_module, list(dict.fromkeys(stand_ins)), scored="test")

    def _decode(
        self, trainer: lightning.Trainer, module: MaskedModeling, prompts: list[Scheme], *, scored: str
    ) -> dict[str, BehaviorScores]:
        eids = list(module.trainer.datamodule.sessions)
        mine = {
            eid: self._decode_session(trainer, module, eid, prompts, scored=scored)
            for eid in eids[trainer.global_rank :: trainer.world_size]
        }
        if trainer.world_size == 1:
            return mine
        gathered = [None] * trainer.world_size
        torch.distributed.all_gather_object(gathered, mine)
        everyone = {eid: scores for part in gathered for eid, scores in part.items()}
        return {eid: everyone[eid] for eid in eids}

    def _decode_session(
        self, trainer: lightning.Trainer, module: MaskedModeling, eid: str, prompts: list[Scheme], *, scored: str
    ) -> BehaviorScores:
        data = trainer.datamodule
        splits = ("train", "val", scored)
        choice, whisker = data.choice(eid), data.behavior(eid, WHISKER)
        trials = data.headers[eid].splits
        return decode(
            lambda prompt: Splits(*(self._rates(trainer, module, eid, prompt, split) for split in splits)),
            prompts=prompts,
            choice=Splits(*(choice[trials[split]] for split in splits)),
            whisker=None if whisker is None else Splits(*(whisker[trials[split]] for split in splits)),
        )

    @staticmethod
    def _rates(trainer: lightning.Trainer, module: MaskedModeling, eid: str, prompt: Scheme, split: str) -> np.ndarray:
        n_neurons = trainer.datamodule.sessions[eid].n_neurons
        parts: list[Tensor] = [torch.empty(0, trainer.datamodule.n_bins, n_neurons)]  # a split may be empty
        with trainer.precision_plugin.forward_context():
            for group in trainer.datamodule.groups(eid, split):
                parts.append(rates_of(module.model, prompt, group.to(module.device)).cpu())
        return torch.cat(parts).numpy()

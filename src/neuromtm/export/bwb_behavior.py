"""Decoded behaviour for BrainWideBench: logits of a trial's class, or a trace of each bin."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from neuromtm.batch import Scheme, SessionGroup
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.data.shards import ShardHeader
from neuromtm.decoding.targets import target_of
from neuromtm.errors import CheckpointError, DataError
from neuromtm.export.bwb_files import Submission, require_log_rates, write_predictions
from neuromtm.models.heads import BinHead, TrialHead
from neuromtm.models.stitching import StitchedModel, VisibleGroup, module_key
from neuromtm.training.checkpoint import CheckpointRecord, build_model

LICKING = "licking_rate"
"""scored as a log rate, like spikes"""
LEAST_LICKS = 0.01
"""expected licks per bin that a decoder's lower ones count as: it is trained by squared error, and may go below 0"""
UNKNOWN_LOGIT = 20.0
"""a class without a training trial is this much less likely than the least likely other one, as a logit"""


class Decoder(NamedTuple):
    """A trained decoder of a behaviour."""

    model: StitchedModel
    heads: Mapping[str, nn.Module]
    """eid -> its head"""
    record: CheckpointRecord
    about: Mapping[str, Any]
    """what its checkpoint says of the behaviour"""

    def outputs(self, group: SessionGroup) -> Tensor:
        """(trial, class) logits, or (trial, bin) values of the trace, of trials of one session."""
        asked: Scheme = self.about["prompt"]
        scheme = self.record.objective.stand_in(asked)
        (states,) = self.model([VisibleGroup(group.eid, group.counts)], scheme).states
        output = self.heads[group.eid](states).float()
        if self.about["kind"] == "classes":
            return output
        units = self.about["units"][group.eid]
        return output * units["deviation"] + torch.tensor(units["average"], device=output.device)


def open_decoder(checkpoint: Mapping[str, Any], *, name: str, device: str) -> Decoder:
    """Rebuild a decoder.

    Args:
        checkpoint: as loaded, of a decoder.
        name: of its file, for messages.
        device: where it computes.

    Raises:
        CheckpointError: if its weights are not whole.
    """
    record = CheckpointRecord.from_checkpoint(checkpoint, name=name)
    about = record.decoder
    assert about is not None, "the caller knows that it is a decoder"
    model = build_model(record, checkpoint, name=name)
    heads = {}
    try:
        for eid in model.sessions:
            place = f"heads.{module_key(eid) if about['own_heads'] else 'shared'}."
            heads[eid] = _head(about, record.n_bins, model.backbone.state_size)
            weights = checkpoint["state_dict"]
            heads[eid].load_state_dict({k.removeprefix(place): v for k, v in weights.items() if k.startswith(place)})
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{name}: its decoder is not whole ({error}). Use another one.") from error
    place = torch.device(device)
    return Decoder(model.to(place), {eid: head.to(place).eval() for eid, head in heads.items()}, record, about)


def _head(about: Mapping[str, Any], n_bins: int, state_size: int) -> nn.Module:
    if about["kind"] == "trace":
        return BinHead(state_size=state_size)
    n_outputs = len(about["classes"]) if about["kind"] == "classes" else 1
    return TrialHead(n_bins=n_bins, state_size=state_size, n_outputs=n_outputs)


def export_behavior(decoder: Decoder, data: SessionDataModule, submission: Submission) -> list[Path]:
    """Decode the test trials of every session, and write them.

    Args:
        decoder: of these sessions.
        data: set up, prepared for the task of the decoded behaviour.
        submission: where to.

    Raises:
        DataError: if the data were prepared for another task, or a prediction cannot be scored.
    """
    written, target = [], decoder.about["target"]
    for eid, header in data.headers.items():
        task = header.attributes.get("task")
        if header.attributes.get("suite") != "ts1" or header.attributes.get("target") != target:
            raise DataError(
                f"{eid}: was prepared for {task or 'no task of BrainWideBench'}, but the decoder is one of {target}. "
                f"Prepare it: python -m data_prep bwb FILE --task {target} --out DIR"
            )
        if (trials := len(header.splits["test"])) == 0:
            raise DataError(f"{eid}: has no test trial.")
        device = next(decoder.model.parameters()).device
        with torch.inference_mode():
            outputs = [decoder.outputs(group.to(device)).cpu() for group in data.groups(eid, "test")]
        predictions = _as_scored(torch.cat(outputs), decoder, header)
        if not torch.isfinite(predictions).all():
            raise DataError(f"{eid}, {task}: some of the {trials} predictions are not finite. The training diverged.")
        if task == LICKING:
            _require_licks(predictions, data, eid)
        trial_id = torch.from_numpy(header.trials.columns["trial_id"][header.splits["test"]].astype(np.int64))
        tensors = {"predictions": predictions.float(), "trial_id": trial_id}
        written.append(write_predictions(submission, f"ts1-{task}", tensors, further={}, header=header))
    return written


def _as_scored(outputs: Tensor, decoder: Decoder, header: ShardHeader) -> Tensor:
    """(trial, 1, class) logits in the benchmark's order, or (trial, bin, 1) trace."""
    if decoder.about["kind"] == "classes":
        every, known = json.loads(header.attributes["classes"]), list(decoder.about["classes"])
        if unknown := sorted({*known} - {*every}):
            raise DataError(f"{header.eid}: the decoder has the classes {unknown}, which the benchmark has not.")
        logits = (outputs.min(dim=1, keepdim=True).values - UNKNOWN_LOGIT).repeat(1, len(every))
        logits[:, [every.index(one) for one in known]] = outputs
        return logits[:, None]
    if header.attributes["task"] == LICKING:
        outputs = outputs.clamp(min=LEAST_LICKS).log()
    return outputs[..., None]


def _require_licks(log_rates: Tensor, data: SessionDataModule, eid: str) -> None:
    target = target_of(data, eid, LICKING)
    assert target is not None, "it was decoded"
    usual = np.nanmean(target.values[data.headers[eid].splits["train"]])
    require_log_rates(log_rates, np.array([usual]), name=f"{eid}, {LICKING}")

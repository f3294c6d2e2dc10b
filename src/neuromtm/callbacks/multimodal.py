"""Scores of what a model with behaviour as channels encodes and decodes by itself, in a test."""

import lightning
import numpy as np

from neuromtm.callbacks.gathering import gathered_by_session
from neuromtm.data.datamodule import data_of
from neuromtm.decoding.end_to_end import score_decoded
from neuromtm.decoding.targets import target_of
from neuromtm.evaluation.multimodal import decode_traces, encode_neurons
from neuromtm.metrics.keys import ENCODING_KEY, short_name
from neuromtm.metrics.spikes import BitsPerSpike, mean_over_neurons, scored_log_rates
from neuromtm.training.masked_modeling import MaskedModeling


class EncodingAndDecoding(lightning.Callback):
    """Scores neurons predicted from behaviour alone, and behaviour predicted from neurons, on the test trials.

    A model has these metrics only if it reads behaviour and was trained with the scheme `encoding` or `decoding`. All
    other tasks of a test hide behaviour from it.
    """

    def __init__(self):
        self.metrics: dict[str, dict[str, float]] = {}
        """eid -> key of metrics.json -> metric, of the last test"""
        self._bps: dict[str, BitsPerSpike] = {}
        self._predicted: dict[str, dict[int, np.ndarray]] = {}

    def on_test_start(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        model = pl_module.model  # None without a checkpoint, which the module refuses afterwards
        data, names = data_of(trainer), set() if model is None else set(model.backbone.behaviors)
        self.metrics, self._predicted = {}, {}
        # every rank has every session that has a trace, so that the sums of all ranks can be added
        self._bps = {
            eid: BitsPerSpike(session.n_neurons).to(pl_module.device)
            for eid, session in data.sessions.items()
            if names & set(data.headers[eid].behaviors)
        }

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        model, schemes = pl_module.built_model, pl_module.known_objective.schemes
        with trainer.precision_plugin.forward_context():
            for group in batch.groups:
                if group.eid not in self._bps:
                    continue
                if "encoding" in schemes:
                    held_out = encode_neurons(model, group)
                    log_rates = scored_log_rates(held_out.log_rates, bin_size_s=data_of(trainer).bin_size_s)
                    self._bps[group.eid].update(log_rates, held_out.counts)
                if "decoding" in schemes:
                    traces = decode_traces(model, group).cpu().numpy()
                    of_session = self._predicted.setdefault(group.eid, {})
                    of_session.update(zip(group.trial.tolist(), traces, strict=True))

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        schemes = pl_module.known_objective.schemes
        self.metrics = {eid: {} for eid in data_of(trainer).sessions}
        for eid, metric in self._bps.items():
            bps = mean_over_neurons(metric.compute().cpu().reshape(-1)) if "encoding" in schemes else None
            if bps is not None:
                self.metrics[eid][ENCODING_KEY] = bps
        for eid, (trials, traces) in gathered_by_session(trainer, self._predicted).items():
            for place, name in enumerate(pl_module.built_model.backbone.behaviors):
                self.metrics[eid] |= _decoded(trainer, eid, name, trials, traces[..., place])
        self._bps, self._predicted = {}, {}


def _decoded(
    trainer: lightning.Trainer, eid: str, name: str, trials: np.ndarray, predicted: np.ndarray
) -> dict[str, float]:
    """R2 and chance of one trace, on the same entries as those of the read-outs; empty if the session lacks it."""
    data, short = data_of(trainer), short_name(name)
    target = target_of(data, eid, name) if name in data.headers[eid].behaviors else None
    if target is None:
        return {}
    found = score_decoded(target, predicted, trials, data.headers[eid].splits["train"]).metrics
    keys = {f"{short}_r2_own": f"{short}_r2", f"{short}_chance": f"{short}_chance"}
    return {key: value for key, of in keys.items() if (value := found[of]) is not None}

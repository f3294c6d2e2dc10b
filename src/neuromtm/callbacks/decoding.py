"""Scores of a decoder: gathered over batches and ranks, logged on validation, written after a test."""

from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info

from neuromtm.batch import Batch
from neuromtm.callbacks.gathering import gathered_by_session
from neuromtm.data.datamodule import data_of
from neuromtm.decoding.end_to_end import DecoderScores, decoded_text, score_decoded
from neuromtm.decoding.targets import target_of
from neuromtm.evaluation.results import DECODING_FILE, METRICS_FILE, Metrics, metrics_text, with_means
from neuromtm.files import keep_previous, whole_file, write_whole
from neuromtm.hdf5_files import new_hdf5
from neuromtm.training.decoding import BehaviorDecoding


class DecodingResults(lightning.Callback):
    """Logs `val/<metric>` and `test/<metric>`, means over sessions. A test writes `metrics.json` and `decoding.csv`.

    A prediction writes `predictions/<eid>.h5`: `predicted` (trial,) or (trial, bin) of the test trials, and `trial`.
    """

    def __init__(self):
        self._predicted: dict[str, dict[int, np.ndarray]] = {}

    def _clear(self) -> None:
        self._predicted = {}

    def _keep(self, batch: Batch, outputs: list[torch.Tensor | None]) -> None:
        for group, output in zip(batch.groups, outputs, strict=True):
            if output is not None:
                values = output.detach().float().cpu().numpy()
                self._predicted.setdefault(group.eid, {}).update(zip(group.trial.tolist(), values, strict=True))

    def _gather(self, trainer: lightning.Trainer) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        gathered = gathered_by_session(trainer, self._predicted)
        self._clear()
        return gathered

    def _score(self, trainer: lightning.Trainer, module: BehaviorDecoding) -> dict[str, DecoderScores]:
        data, scores = data_of(trainer), {}
        for eid, (trials, predicted) in self._gather(trainer).items():
            target = target_of(data, eid, module.target)
            train = data.headers[eid].splits["train"]
            # with one class in train there is nothing to tell apart, as for the linear read-outs
            if target is not None and (target.is_trace or len(target.classes(train)) > 1):
                scores[eid] = score_decoded(target, predicted, trials, train)
        return scores

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: BehaviorDecoding) -> None:
        self._clear()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._keep(batch, pl_module.predict_step(batch, batch_idx))

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: BehaviorDecoding) -> None:
        metrics = _metrics(self._score(trainer, pl_module))
        # the same on every rank; without `sync_dist` Lightning would warn
        pl_module.log_dict({f"val/{key}": value for key, value in metrics["mean"].items()}, sync_dist=True)

    def on_test_start(self, trainer: lightning.Trainer, pl_module: BehaviorDecoding) -> None:
        self._clear()

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._keep(batch, pl_module.predict_step(batch, batch_idx))

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: BehaviorDecoding) -> None:
        scores = self._score(trainer, pl_module)
        for eid in data_of(trainer).sessions:
            if eid not in scores:
                rank_zero_info(f"{eid}: not scored: no known {pl_module.target}, or one class in train.")
                continue
            trials, bins = scores[eid].n_trials_left_out, scores[eid].n_bins_left_out
            if trials or bins:
                rank_zero_info(f"{eid}: {trials} test trials and {bins} bins without {pl_module.target} are left out.")
        if not trainer.is_global_zero:
            return
        run_dir, metrics = Path(trainer.default_root_dir), _metrics(scores)
        files = {DECODING_FILE: decoded_text(pl_module.target, scores)} if scores else {}
        for name, text in {**files, METRICS_FILE: metrics_text(metrics)}.items():
            keep_previous(run_dir / name)
            write_whole(run_dir / name, text)
        pl_module.log_dict({f"test/{k}": v for k, v in metrics["mean"].items()}, rank_zero_only=True)
        rank_zero_info(f"Results: {run_dir / METRICS_FILE}, with {DECODING_FILE} beside it")

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: BehaviorDecoding) -> None:
        self._clear()

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        self._keep(batch, outputs)

    def on_predict_epoch_end(self, trainer: lightning.Trainer, pl_module: BehaviorDecoding) -> None:
        folder = Path(trainer.default_root_dir) / "predictions"
        for eid, (trials, predicted) in self._gather(trainer).items():
            path = folder / f"{eid}.h5"
            keep_previous(path)
            with whole_file(path) as temporary, new_hdf5(temporary) as file:
                file.attrs.update(eid=eid, split="test", target=pl_module.target)
                file["predicted"], file["trial"] = predicted, trials.astype(np.int64)
        rank_zero_info(f"Predicted {pl_module.target}: {folder}")


def _metrics(scores: dict[str, DecoderScores]) -> Metrics:
    sessions = {eid: {k: v for k, v in one.metrics.items() if v is not None} for eid, one in scores.items()}
    return with_means(sessions)

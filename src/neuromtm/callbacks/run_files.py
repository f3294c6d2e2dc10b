"""What a run leaves on disk: its configuration, a test's results, predicted rates."""

from collections.abc import Sequence
from pathlib import Path

import h5py
import lightning
import numpy as np
import torch
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only
from torch import Tensor

from neuromtm.batch import Batch
from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.callbacks.behavior import BehaviorReadout
from neuromtm.callbacks.multimodal import EncodingAndDecoding
from neuromtm.callbacks.starts import AtStart
from neuromtm.data.datamodule import data_of
from neuromtm.decoding.selection import Decoded, behavior_metrics, behavior_text
from neuromtm.errors import ConfigError
from neuromtm.evaluation.results import add_behavior, write_results
from neuromtm.evaluation.scores import first_heard_in_test, session_scores
from neuromtm.evaluation.tasks import finite_rates
from neuromtm.files import keep_previous, whole_file, write_whole
from neuromtm.hdf5_files import new_hdf5
from neuromtm.regular_files import regular_text
from neuromtm.training.masked_modeling import MaskedModeling


class EventsOnly(TensorBoardLogger):
    """TensorBoard events without Lightning's `hparams.yaml`: the options of a run are in `config.yaml`."""

    @rank_zero_only
    def save(self) -> None:
        self.experiment.flush()


class RunConfig(AtStart):
    """Writes `config.yaml` when a training starts, and `config.test.yaml` and so on when other commands start.

    An earlier file with other content is renamed and kept.

    Args:
        parser: parser of the command.
        config: what the parser read.
    """

    def __init__(self, parser: LightningArgumentParser, config: object):
        self.parser, self.config = parser, config

    def started(self, trainer: lightning.Trainer, command: str) -> None:
        if not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / ("config.yaml" if command == "fit" else f"config.{command}.yaml")
        text = self.parser.dump(self.config, skip_none=False)
        if path.exists() and regular_text(path) == text:
            return
        keep_previous(path)
        write_whole(path, text)


class ActivityResults(lightning.Callback):
    """Writes the metrics and tables of the activity tasks as soon as a test has them: decoding behaviour takes longer.

    It runs after `ActivityTasks` and before `BehaviorReadout`.

    Args:
        activity: callback with the scores of neurons.
    """

    def __init__(self, activity: ActivityTasks):
        self.activity = activity

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if trainer.is_global_zero:
            sessions = [session_scores(neurons) for neurons in self.activity.scores]
            write_results(Path(trainer.default_root_dir), sessions, self.activity.scores)
            for neurons in self.activity.scores:
                heard = first_heard_in_test(neurons, _silent_in_training(trainer, neurons.eid))
                if heard is not None:
                    rank_zero_info(heard)


def _silent_in_training(trainer: lightning.Trainer, eid: str) -> np.ndarray:
    """(neuron,) bool, the neurons without a spike in the training trials; none if there are no such trials."""
    data = data_of(trainer)
    n_entries = len(data.headers[eid].splits["train"]) * data.n_bins
    mean_counts = data.mean_counts(eid).numpy()  # with half a spike added
    return (mean_counts * n_entries < 1) & (n_entries > 0)


class TestResults(lightning.Callback):
    """Adds the metrics of behaviour to what `ActivityResults` wrote, and logs `test/<key>`, means over sessions.

    It runs after the callbacks that score.

    Args:
        activity: callback with the scores of neurons.
        behavior: callback with the scores of read-outs.
        multimodal: callback with the scores of what the model itself encodes and decodes.
    """

    __test__ = False  # pytest would take it for a test class

    def __init__(self, activity: ActivityTasks, behavior: BehaviorReadout, multimodal: EncodingAndDecoding):
        self.activity, self.behavior, self.multimodal = activity, behavior, multimodal

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        sessions = []
        for neurons in self.activity.scores:
            decoded = self.behavior.scores[neurons.eid]
            found = self.multimodal.metrics[neurons.eid] | behavior_metrics(decoded)
            sessions.append(session_scores(neurons, found))
            self._say_what_is_absent(neurons.eid, decoded)
        if trainer.is_global_zero:
            run_dir = Path(trainer.default_root_dir)
            decoded = [one for of_session in self.behavior.scores.values() for one in of_session]
            metrics = add_behavior(run_dir, sessions, behavior_text(decoded) if decoded else None)
            pl_module.log_dict({f"test/{k}": v for k, v in metrics["mean"].items()}, rank_zero_only=True)
            rank_zero_info(
                f"Results: {run_dir / 'metrics.json'}, with neurons.csv, regions.csv and behavior.csv beside it"
            )

    def _say_what_is_absent(self, eid: str, decoded: Sequence[Decoded]) -> None:
        found = {one.labels.name: one for one in decoded}
        for name in self.behavior.targets:
            if name not in found:
                rank_zero_info(f"{eid}: no read-out of {name}: the session has no known value of it.")
                continue
            labels, reason = found[name].labels, found[name].absent
            if reason is not None:
                rank_zero_info(f"{eid}: no read-out of {name}: {reason}.")
            elif labels.n_trials_left_out or labels.n_bins_left_out:
                left_out = f"{labels.n_trials_left_out} trials and {labels.n_bins_left_out} bins"
                rank_zero_info(f"{eid}: {name} is missing or too rare in {left_out}, which are left out.")


class RatePredictions(lightning.Callback):
    """Writes `predictions/<eid>.h5` with the expected spikes per bin of the test trials, nothing hidden."""

    def __init__(self):
        self._rates: dict[str, dict[int, Tensor]] = {}

    def on_predict_start(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if trainer.world_size > 1:
            raise ConfigError("predict runs on one device: add --trainer.devices 1 --trainer.num_nodes 1.")
        self._rates = {}

    def on_predict_batch_end(self, trainer, pl_module, outputs, batch: Batch, batch_idx, dataloader_idx=0) -> None:
        for group, rates in zip(batch.groups, outputs, strict=True):
            by_trial = self._rates.setdefault(group.eid, {})
            by_trial.update(zip(group.trial.tolist(), rates.cpu(), strict=True))
            # sessions come one after the other, so only one is held in memory
            if len(by_trial) == len(data_of(trainer).headers[group.eid].splits["test"]):
                self._write(trainer, pl_module, group.eid)

    def on_predict_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        for eid in list(self._rates):
            self._write(trainer, pl_module, eid)
        rank_zero_info(f"Rates: {Path(trainer.default_root_dir) / 'predictions'}")

    def _write(self, trainer: lightning.Trainer, module: MaskedModeling, eid: str) -> None:
        by_trial, session, data = self._rates.pop(eid), module.built_model.sessions[eid], data_of(trainer)
        path = Path(trainer.default_root_dir) / "predictions" / f"{eid}.h5"
        trials, text = sorted(by_trial), h5py.string_dtype()
        keep_previous(path)
        with whole_file(path) as temporary, new_hdf5(temporary) as file:
            file.attrs.update(eid=eid, split="test", bin_size_s=data.bin_size_s, window_s=data.headers[eid].window_s)
            rates = finite_rates(torch.stack([by_trial[trial] for trial in trials])).numpy()
            file.create_dataset("rates", data=rates, chunks=(1, *rates.shape[1:]), fletcher32=True)
            file["trial"] = np.asarray(trials, np.int64)
            file.create_dataset("neurons/uuid", data=list(session.neurons), dtype=text)
            file.create_dataset("neurons/region", data=list(session.regions), dtype=text)

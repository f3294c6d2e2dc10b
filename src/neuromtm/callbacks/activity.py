"""Bits per spike of the four activity tasks: of some neurons in a validation, of all neurons in a test."""

from collections.abc import Callable
from itertools import islice

import lightning
import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from neuromtm.batch import Batch, Scheme, SessionGroup
from neuromtm.callbacks.progress import progress_of
from neuromtm.data.datamodule import data_of
from neuromtm.data.loader import ResumableLoader
from neuromtm.errors import ConfigError
from neuromtm.evaluation.psth import Conditions, task_conditions
from neuromtm.evaluation.scores import NeuronScores, activity_means, psth_scores, trial_scores
from neuromtm.evaluation.tasks import TASKS, HeldOut, Places, Task, predict_task
from neuromtm.evaluation.trials import TrialScores
from neuromtm.metrics.neurons import neuron_metrics
from neuromtm.metrics.spikes import BitsPerSpike, ConditionAverages, NeuronSums, Psth, scored_log_rates
from neuromtm.metrics.trials import TrialSums
from neuromtm.randomness import generator_for
from neuromtm.training.masked_modeling import MaskedModeling


class ActivityTasks(lightning.Callback):
    """Scores held-out neurons, regions and the future. Logs `val/<task>_bps`, means over sessions.

    Args:
        n_val_neurons: neurons per session that a validation leaves out in turn. They are drawn once, by the model's
            seed, from the half of the neurons that fires most: few others would leave sessions without a score. A test
            leaves out every neuron. At the paper's size a validation with the default values takes less than an epoch.
        n_val_regions: regions per session that a validation hides in turn, drawn once. A test hides every region.
        prompt: scheme whose prompt and attention are used in every task; by default each task uses its own. It does not
            change what a task hides and scores. The model must have been trained with this scheme.
    """

    def __init__(self, *, n_val_neurons: int = 4, n_val_regions: int = 2, prompt: Scheme | None = None):
        problems = [] if n_val_neurons >= 1 else [f"n_val_neurons is {n_val_neurons}, less than 1."]
        problems += [] if n_val_regions >= 0 else [f"n_val_regions is {n_val_regions}, below 0."]
        if problems:
            raise ConfigError("activity: " + " ".join(problems))
        self.n_val_neurons, self.n_val_regions, self.prompt = n_val_neurons, n_val_regions, prompt
        self.scores: list[NeuronScores] = []
        """scores of the last validation or test, one entry per session"""
        self.conditions: dict[str, Conditions] = {}
        """eid -> task conditions of the trials of the last test"""
        self.psths: dict[str, Psth] = {}
        """eid -> averages of counts and co-smoothing rates by those conditions"""
        self._offsets: dict[str, int] = {}
        self._places: dict[str, Places] = {}
        self._done: Callable[[int], None] | None = None
        self._condition: dict[str, Tensor] = {}
        self._bps: dict[Task, BitsPerSpike] = {}
        self._shares: dict[str, NeuronSums] = {}
        self._averages: dict[str, ConditionAverages] = {}
        self._trials: dict[str, TrialSums] = {}

    def _require_trained_prompt(self, module: MaskedModeling) -> None:
        if self.prompt is not None and module.objective is not None:  # if there is no model, the module says so
            module.objective.require_trained(self.prompt, option="activity.prompt")

    def _begin(self, module: MaskedModeling, *, testing: bool) -> None:
        self._require_trained_prompt(module)
        # every rank has room for every session, so that the sums of all ranks can be added
        self._offsets, total = {}, 0
        for eid, session in data_of(module.trainer).sessions.items():
            self._offsets[eid] = total
            total += session.n_neurons
        self._bps = {task: BitsPerSpike(total).to(module.device) for task in TASKS}
        # a validation shows bits per spike only, and needs no averages
        self._shares = {name: metric.to(module.device) for name, metric in neuron_metrics(total).items() if testing}
        self.conditions, self.psths, self._averages = {}, {}, {}
        self._places, self._condition, self._trials = {}, {}, {}
        if testing:
            data = data_of(module.trainer)
            for eid, header in data.headers.items():
                conditions = task_conditions(header.trials.choice, header.trials.contrast, header.splits["test"])
                averages = ConditionAverages(len(conditions.names), data.n_bins, data.sessions[eid].n_neurons)
                self.conditions[eid], self._averages[eid] = conditions, averages.to(module.device)
                self._condition[eid] = torch.from_numpy(conditions.number).to(module.device)
                trials = TrialSums(np.sort(header.splits["test"]), data.sessions[eid].n_neurons)
                self._trials[eid] = trials.to(module.device)

    def _update(
        self, module: MaskedModeling, batch: Batch, *, every_neuron: bool, done: Callable[[int], None] | None = None
    ) -> None:
        bin_size_s = data_of(module.trainer).bin_size_s
        with module.trainer.precision_plugin.forward_context():
            for group in batch.groups:
                if group.eid not in self._places:
                    self._places[group.eid] = self._places_of(module, group.eid, every_neuron=every_neuron)
                own = self._places[group.eid]
                for task in TASKS:
                    for held_out in predict_task(
                        task, module.built_model, module.known_objective, group, own, prompt=self.prompt, done=done
                    ):
                        log_rates = scored_log_rates(held_out.log_rates, bin_size_s=bin_size_s)
                        held_out = held_out._replace(log_rates=log_rates)
                        places = held_out.neurons + self._offsets[group.eid]
                        self._bps[task].update(held_out.log_rates, held_out.counts, neurons=places)
                        if group.eid in self._trials:
                            self._trials[group.eid].update(
                                held_out.log_rates,
                                held_out.counts,
                                key=f"{task}_bps",
                                trials=group.trial,
                                neurons=held_out.neurons,
                            )
                        if task == "co_smoothing":
                            self._update_shares(held_out, places, group)

    def _update_shares(self, held_out: HeldOut, places: Tensor, group: SessionGroup) -> None:
        for metric in self._shares.values():
            metric.update(held_out.log_rates, held_out.counts, neurons=places)
        if self._averages:
            condition = self._condition[group.eid][group.trial]
            self._averages[group.eid].update(
                held_out.log_rates, held_out.counts, condition=condition, neurons=held_out.neurons
            )

    def _places_of(self, module: MaskedModeling, eid: str, *, every_neuron: bool) -> Places:
        session = module.built_model.sessions[eid]
        region = session.region_index()
        if every_neuron:
            return Places.of(region).to(module.device)
        header = data_of(module.trainer).headers[eid].neurons
        rate_of = dict(zip(map(str, header.uuid), header.firing_rate_hz, strict=True))
        rates_hz = torch.tensor([rate_of[uuid] for uuid in session.neurons]).nan_to_num()
        most_active = rates_hz.argsort(descending=True, stable=True)[: max(-(-len(rates_hz) // 2), self.n_val_neurons)]
        order = torch.randperm(len(most_active), generator=generator_for(module.seed, "validation neurons", eid))
        own = Places.of(region, most_active[order[: self.n_val_neurons]].sort().values)
        order = torch.randperm(len(own.members), generator=generator_for(module.seed, "validation regions", eid))
        chosen = sorted(list(own.members)[i] for i in order[: self.n_val_regions].tolist())
        return own._replace(members={one: own.members[one] for one in chosen}).to(module.device)

    def _finish(self, module: MaskedModeling) -> None:
        bps = {task: _whole(metric) for task, metric in self._bps.items()}
        shares = {name: _whole(metric) for name, metric in self._shares.items()}
        for eid, metric in self._averages.items():
            self.psths[eid] = Psth(*(part.cpu() for part in metric.compute()))
        self._averages = {}
        bin_size_s = data_of(module.trainer).bin_size_s
        self.scores = []
        for eid, offset in self._offsets.items():
            session = module.built_model.sessions[eid]
            own = slice(offset, offset + session.n_neurons)
            self.scores.append(
                NeuronScores(
                    eid=eid,
                    uuid=session.neurons,
                    region=session.regions,
                    columns={
                        **{f"{task}_bps": values[own] for task, values in bps.items()},
                        **{name: values[own] for name, values in shares.items()},
                        **psth_scores(self.psths.get(eid), session.n_neurons, bin_size_s=bin_size_s),
                    },
                    trials=None if eid not in self._trials else self._trials_of(module, eid),
                )
            )

    def _trials_of(self, module: MaskedModeling, eid: str) -> TrialScores:
        header = data_of(module.trainer).headers[eid]
        return trial_scores(self._trials.pop(eid), header.subject, module.built_model.sessions[eid].neurons)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        self._require_trained_prompt(pl_module)  # at once, not only at the first validation

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        self._begin(pl_module, testing=False)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._update(pl_module, batch, every_neuron=False)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        self._finish(pl_module)
        means = [activity_means(scores) for scores in self.scores]
        for task in TASKS:
            values = [value for mean in means if (value := mean[f"{task}_bps"]) is not None]
            if values:
                # the same on every rank; without `sync_dist` Lightning would warn
                pl_module.log(f"val/{task}_bps", sum(values) / len(values), sync_dist=True)

    def on_test_start(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        self._begin(pl_module, testing=True)
        progress = progress_of(trainer)
        self._done = None if progress is None else progress.advance_pairs
        if progress is not None:
            progress.begin_pairs(_n_pairs(trainer))

    def on_test_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0) -> None:
        self._update(pl_module, batch, every_neuron=True, done=self._done)

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        self._finish(pl_module)


def _n_pairs(trainer: lightning.Trainer) -> int:
    """How many pairs of a trial and a neuron this process leaves out in a test."""
    sessions, loader = data_of(trainer).sessions, trainer.test_dataloaders
    assert isinstance(loader, ResumableLoader)
    n_left_out = {eid: Places.of(session.region_index()).n_left_out for eid, session in sessions.items()}
    plans = islice(loader.sampler, int(trainer.num_test_batches[0]))
    return sum(len(group.trials) * n_left_out[group.eid] for plan in plans for group in plan)


def _whole(metric: Metric) -> Tensor:
    """(neuron,) the metric over all ranks, on the CPU."""
    return metric.compute().cpu().reshape(-1)  # torchmetrics drops the axis if there is one neuron

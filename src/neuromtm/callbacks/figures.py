"""Observed counts beside predicted rates, sessions and neurons: to TensorBoard, and to `figures/` after a test."""

from pathlib import Path

import lightning
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from neuromtm.batch import Scheme, SessionGroup
from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.errors import ConfigError
from neuromtm.evaluation.figures import TaskPanel, scores_figure, task_figure
from neuromtm.evaluation.held_out import TASKS, Task, n_forward_bins, predict_task
from neuromtm.evaluation.neuron_figures import Example, by_rank, examples_figure, rates_figure
from neuromtm.evaluation.report import activity_means, keep_previous
from neuromtm.files import whole_file
from neuromtm.training.masked_modeling import MaskedModeling


class TaskFigures(lightning.Callback):
    """Draws the four activity tasks on one trial of each session.

    Args:
        n_val_sessions: sessions drawn in a validation, the first ones; 0 for none. A test draws all.
    """

    def __init__(self, *, n_val_sessions: int = 4):
        if n_val_sessions < 0:
            raise ConfigError(f"figures.n_val_sessions is {n_val_sessions}, below 0.")
        self.n_val_sessions = n_val_sessions

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if trainer.is_global_zero and not trainer.sanity_checking:
            for eid in _with_trials(trainer, "val")[: self.n_val_sessions]:
                show_figure(trainer, f"val/{eid}", self._draw(trainer, pl_module, eid, split="val"))

    def on_test_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir) / "figures"
        for eid in _with_trials(trainer, "test"):
            figure = self._draw(trainer, pl_module, eid, split="test")
            show_figure(trainer, f"test/{eid}", figure)
            save_figure(figure, folder / f"{eid}.png")
            figure = self._draw_neurons(trainer, pl_module, eid)
            if figure is not None:
                show_figure(trainer, f"test/{eid}.neurons", figure)
                save_figure(figure, folder / f"{eid}.neurons.png")
        for name, draw in (("scores", scores_figure), ("rates", rates_figure)):
            figure = draw(_activity(trainer).scores)
            show_figure(trainer, f"test/{name}", figure)
            save_figure(figure, folder / f"{name}.png")

    def _draw(self, trainer: lightning.Trainer, module: MaskedModeling, eid: str, *, split: str) -> Figure:
        data = trainer.datamodule
        group = next(data.groups(eid, split))
        first = SessionGroup(
            eid=eid,
            counts=group.counts[:1],
            region=group.region,
            trial=group.trial[:1],
            choice=group.choice[:1],
            behavior={},
        ).to(module.device)
        means = {scores.eid: activity_means(scores) for scores in _activity(trainer).scores}
        with trainer.precision_plugin.forward_context():
            panels = [
                TaskPanel(
                    task=task,
                    predicted=_predicted(module, task, first, _activity(trainer).prompt).cpu().numpy(),
                    bps=means[eid][f"{task}_bps"],
                )
                for task in TASKS
            ]
        return task_figure(
            eid=eid,
            counts=first.counts[0].cpu().numpy(),
            regions=data.sessions[eid].regions,
            panels=panels,
            bin_size_s=data.bin_size_s,
            window_s=data.headers[eid].window_s,
            align_event=data.headers[eid].align_event,
            shown=f"trial {int(first.trial[0])}",
        )

    @staticmethod
    def _draw_neurons(trainer: lightning.Trainer, module: MaskedModeling, eid: str) -> Figure | None:
        """A good, a typical and a bad neuron in co-smoothing; None if no neuron has a score."""
        activity, data = _activity(trainer), trainer.datamodule
        scores = next(scores for scores in activity.scores if scores.eid == eid)
        chosen = by_rank(scores.co_smoothing_bps.numpy())
        if not chosen:
            return None
        places = torch.tensor(list(chosen.values()), device=module.device)
        parts = []
        with trainer.precision_plugin.forward_context():
            for group in data.groups(eid, "test"):
                shown = group.to(module.device)
                parts += predict_task(
                    "co_smoothing", module.model, module.objective, shown, places, prompt=activity.prompt
                )
        counts = torch.cat([part.counts for part in parts]).cpu().numpy()
        expected = torch.cat([part.log_rates.float().exp() for part in parts]).cpu().numpy()
        psth, conditions = activity.psths[eid], activity.conditions[eid]
        return examples_figure(
            eid=eid,
            examples=[
                Example(
                    title=f"{name}: {scores.uuid[place]}, {scores.region[place]}\n"
                    f"{scores.co_smoothing_bps[place]:.2f} bits/spike at {scores.firing_rate_hz[place]:.2g} spikes/s",
                    counts=counts[..., i],
                    expected=expected[..., i],
                    psth=psth.observed[..., place].numpy(),
                    expected_psth=psth.expected[..., place].numpy(),
                )
                for i, (name, place) in enumerate(chosen.items())
            ],
            conditions=conditions.names,
            number=conditions.number[data.headers[eid].splits["test"]],
            bin_size_s=data.bin_size_s,
            window_s=data.headers[eid].window_s,
        )


def _with_trials(trainer: lightning.Trainer, split: str) -> list[str]:
    return [eid for eid, trials in trainer.datamodule.trials(split).items() if len(trials)]


def _predicted(module: MaskedModeling, task: Task, group: SessionGroup, prompt: Scheme | None) -> torch.Tensor:
    """(bin, neuron) rates per bin of the group's only trial, NaN where the task predicts nothing."""
    n_bins, n_neurons = group.counts.shape[1:]
    rates = torch.full((n_bins, n_neurons), torch.nan, device=module.device)
    bins = slice(n_bins - n_forward_bins(n_bins), n_bins) if task == "forward_prediction" else slice(None)
    for held_out in predict_task(task, module.model, module.objective, group, prompt=prompt):
        rates[bins, held_out.neurons] = held_out.log_rates[0].float().exp()
    return rates


def _activity(trainer: lightning.Trainer) -> ActivityTasks:
    return next(callback for callback in trainer.callbacks if isinstance(callback, ActivityTasks))


def show_figure(trainer: lightning.Trainer, tag: str, figure: Figure) -> None:
    """Show a figure in TensorBoard, where that is the logger."""
    if isinstance(trainer.logger, TensorBoardLogger):
        trainer.logger.experiment.add_figure(tag, figure, trainer.global_step)


def save_figure(figure: Figure, path: Path) -> None:
    """Save a figure as PNG, renaming an earlier one aside."""
    keep_previous(path)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)

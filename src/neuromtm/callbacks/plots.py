"""Plots of observed counts beside predicted rates and of scores, for TensorBoard and, after a test, for `figures/`."""

from collections.abc import Sequence
from pathlib import Path

import lightning
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_info
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor

from neuromtm.batch import Scheme, SessionGroup
from neuromtm.callbacks.activity import ActivityTasks
from neuromtm.data.datamodule import Split, data_of
from neuromtm.errors import ConfigError
from neuromtm.evaluation.results import REGIONS_FILE, WHOLE_SESSION, RegionRow, read_regions
from neuromtm.evaluation.scores import activity_means, pooled
from neuromtm.evaluation.tasks import TASKS, Task, hidden_rates
from neuromtm.files import keep_previous, whole_file
from neuromtm.plots.neurons import Example, by_rank, examples_plot, firing_rates_plot
from neuromtm.plots.ordering import neuron_order
from neuromtm.plots.regions import Means, regions_plot
from neuromtm.plots.tasks import TaskPanel, scores_plot, task_plot
from neuromtm.training.masked_modeling import MaskedModeling

N_VAL_NEURONS = 48
"""neurons that a validation draws: each of them is left out twice"""
VAL_DPI = 80
"""dots per inch of a validation's plot, which takes less time than one of full size"""


class TaskPlots(lightning.Callback):
    """Draws the four activity tasks on one trial of each session. A test also draws all scores and some neurons.

    Args:
        n_val_sessions: number of sessions that validations draw in turn, the first ones; each validation draws the next
            one, with some of its neurons. 0 for none. A test draws all sessions with all neurons.
        n_val_plots: so many validations are drawn one after the other; later ones more and more rarely, so that
            TensorBoard's files stay small in a long training, see `is_drawn`.
    """

    def __init__(self, *, n_val_sessions: int = 4, n_val_plots: int = 32):
        problems = [] if n_val_sessions >= 0 else [f"n_val_sessions is {n_val_sessions}, below 0."]
        problems += [] if n_val_plots >= 2 else [f"n_val_plots is {n_val_plots}, less than 2."]
        if problems:
            raise ConfigError("figures: " + " ".join(problems))
        self.n_val_sessions, self.n_val_plots = n_val_sessions, n_val_plots
        self._n_validations = self._n_drawn = 0

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        self._n_validations = self._n_drawn = 0  # a training that goes on reads them afterwards

    def state_dict(self) -> dict[str, int]:
        """How many validations there were, and how many of them were drawn."""
        return {"n_validations": self._n_validations, "n_drawn": self._n_drawn}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._n_validations, self._n_drawn = state_dict["n_validations"], state_dict["n_drawn"]

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if trainer.sanity_checking:
            return
        number, self._n_validations = self._n_validations, self._n_validations + 1
        if trainer.is_global_zero and is_drawn(number, self.n_val_plots):
            eids = _with_trials(trainer, "val")[: self.n_val_sessions]
            if eids:
                eid = eids[self._n_drawn % len(eids)]
                self._n_drawn += 1
                plot = self._draw(trainer, pl_module, eid, split="val")
                plot.set_dpi(VAL_DPI)
                show_plot(trainer, f"val/{eid}", plot)

    # after all `on_test_epoch_end`: the tables are on disk before anything is drawn, and the plots may need them
    def on_test_end(self, trainer: lightning.Trainer, pl_module: MaskedModeling) -> None:
        if not trainer.is_global_zero:
            return
        eids, run_dir = _with_trials(trainer, "test"), Path(trainer.default_root_dir)
        rank_zero_info(f"Plots of {len(eids)} session{'s' * (len(eids) != 1)}: {run_dir / 'figures'}")
        scores = _activity(trainer).scores
        of_tasks: dict[str, np.ndarray] = {task: pooled(scores, f"{task}_bps") for task in TASKS}
        regions = np.concatenate([table.region for table in scores])
        whose = scores[0].eid if len(scores) == 1 else f"{len(scores)} sessions"
        for name, plot in (
            ("scores", scores_plot(of_tasks, regions, whose=whose)),
            ("regions", regions_plot(_region_means(read_regions(run_dir / REGIONS_FILE)))),
            ("rates", firing_rates_plot(of_tasks, pooled(scores, "firing_rate_hz"))),
        ):
            _keep(trainer, name, plot)
        for eid in eids:
            _keep(trainer, eid, self._draw(trainer, pl_module, eid, split="test"))
            for task in TASKS:
                if (plot := self._draw_neurons(trainer, pl_module, eid, task)) is not None:
                    _keep(trainer, f"{eid}.{task}", plot)

    def _draw(self, trainer: lightning.Trainer, module: MaskedModeling, eid: str, *, split: Split) -> Figure:
        activity, data = _activity(trainer), data_of(trainer)
        group = next(data.groups(eid, split))
        first = SessionGroup(
            eid=eid,
            counts=group.counts[:1],
            region=group.region,
            trial=group.trial[:1],
            choice=group.choice[:1],
            behavior={},
        ).to(module.device)
        means = activity_means(next(scores for scores in activity.scores if scores.eid == eid))
        everywhere, testing = data.sessions[eid].regions, split == "test"
        n_neurons = len(everywhere)
        chosen = np.arange(n_neurons) if testing else _spread(everywhere, N_VAL_NEURONS)
        with trainer.precision_plugin.forward_context():
            panels = [
                TaskPanel(
                    task=task,
                    predicted=_predicted(
                        module, task, first, activity.prompt, torch.from_numpy(chosen).to(module.device)
                    )[0]
                    .cpu()
                    .numpy()[:, chosen],
                    bps=means[f"{task}_bps"],
                )
                for task in TASKS
            ]
        counts, regions = group.counts.numpy()[..., chosen], [everywhere[i] for i in chosen]
        return task_plot(
            eid=eid,
            counts=counts[0],
            regions=regions,
            panels=panels,
            # not while training: Rastermap takes seconds
            order=neuron_order(counts, regions, bin_size_s=data.bin_size_s, rastermap=testing),
            bin_size_s=data.bin_size_s,
            window_s=data.headers[eid].window_s,
            align_event=data.headers[eid].align_event,
            shown=f"trial {int(group.trial[0])}" if testing else f"of {n_neurons}, trial {int(group.trial[0])}",
        )

    @staticmethod
    def _draw_neurons(trainer: lightning.Trainer, module: MaskedModeling, eid: str, task: Task) -> Figure | None:
        """A good, a typical and a bad neuron in the task; None if no neuron has a score."""
        activity, data = _activity(trainer), data_of(trainer)
        scores = next(scores for scores in activity.scores if scores.eid == eid)
        bps = scores.columns[f"{task}_bps"]
        chosen = by_rank(bps.numpy())
        if not chosen:
            return None
        places = torch.tensor(list(chosen.values()))
        parts = []
        with trainer.precision_plugin.forward_context():
            for group in data.groups(eid, "test"):
                shown, neurons = group.to(module.device), places.to(module.device)
                expected = _predicted(module, task, shown, activity.prompt, neurons)[..., neurons].cpu()
                parts.append((group.trial, group.counts[..., places], expected))
        trial, counts, expected = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
        conditions = activity.conditions[eid]
        return examples_plot(
            eid=eid,
            task=task,
            examples=[
                Example(
                    title=f"{name}: {scores.uuid[place]}, {scores.region[place]}\n"
                    f"{bps[place]:.2f} bits/spike at {scores.columns['firing_rate_hz'][place]:.2g} spikes/s",
                    counts=counts[..., i],
                    expected=expected[..., i],
                )
                for i, (name, place) in enumerate(chosen.items())
            ],
            conditions=conditions.names,
            number=conditions.number[trial],
            bin_size_s=data.bin_size_s,
            window_s=data.headers[eid].window_s,
            align_event=data.headers[eid].align_event,
        )


def is_drawn(number: int, most: int) -> bool:
    """Whether a validation is drawn: the first `most`, then every 2nd one up to 2 `most`, every 4th up to 4 `most` ...

    Each doubling of a training therefore adds half of `most` plots.

    Args:
        number: of the validation in its training, from 0.
        most: how many are drawn one after the other, at least 2.
    """
    return number % 2 ** (number // most).bit_length() == 0


def _spread(regions: Sequence[str], most: int) -> np.ndarray:
    """(neuron',) places of at most so many neurons, evenly spread over the regions, in ascending order."""
    places = np.argsort(np.asarray(regions), kind="stable")
    return np.sort(places[np.linspace(0, len(places) - 1, min(most, len(places))).round().astype(np.int64)])


def _region_means(rows: Sequence[RegionRow]) -> dict[str, dict[str, Means]]:
    """Eid -> task -> means of the regions, without the row of the whole session."""
    of_session: dict[str, list[RegionRow]] = {}
    for row in rows:
        of_session.setdefault(row.eid, []).append(row)
    sessions: dict[str, dict[str, Means]] = {}
    for eid, own_rows in of_session.items():
        for task in TASKS:
            key = f"{task}_bps"
            own = [row for row in own_rows if row.region != WHOLE_SESSION and key in row.means]
            ends = [(row.means[key].mean, row.means[key].low, row.means[key].high) for row in own]
            mean, low, high = np.array(ends, dtype=np.float64).reshape(-1, 3).T
            sessions.setdefault(eid, {})[task] = Means([row.region for row in own], mean, low, high)
    return sessions


def _with_trials(trainer: lightning.Trainer, split: Split) -> list[str]:
    return [eid for eid, trials in data_of(trainer).trials(split).items() if len(trials)]


def _predicted(
    module: MaskedModeling, task: Task, group: SessionGroup, prompt: Scheme | None, neurons: Tensor | None = None
) -> Tensor:
    """(trial, bin, neuron) rates per bin of the group's trials, NaN where the task predicts nothing."""
    return hidden_rates(task, module.built_model, module.known_objective, group, neurons, prompt=prompt)


def _activity(trainer: lightning.Trainer) -> ActivityTasks:
    # Lightning sets it, but its class does not declare it
    callbacks = trainer.callbacks  # ty: ignore[missing-attribute]
    return next(callback for callback in callbacks if isinstance(callback, ActivityTasks))


def show_plot(trainer: lightning.Trainer, tag: str, plot: Figure) -> None:
    """Show a plot in TensorBoard, where that is the logger."""
    if isinstance(trainer.logger, TensorBoardLogger):
        trainer.logger.experiment.add_image(tag, _pixels(plot), trainer.global_step, dataformats="HWC")


def save_plot(plot: Figure, path: Path) -> None:
    """Save a plot as PNG. An earlier one is renamed and kept."""
    keep_previous(path)
    with whole_file(path) as temporary:
        imsave(temporary, _pixels(plot), format="png", dpi=plot.dpi)


def _keep(trainer: lightning.Trainer, name: str, plot: Figure) -> None:
    show_plot(trainer, f"test/{name}", plot)
    save_plot(plot, Path(trainer.default_root_dir) / "figures" / f"{name}.png")


def _pixels(plot: Figure) -> np.ndarray:
    """(row, column, colour) uint8. A plot is drawn once for all uses, because drawing takes about a second."""
    canvas = plot.canvas
    assert isinstance(canvas, FigureCanvasAgg)  # as `neuromtm.plots.style` makes it
    if plot.stale:
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]

"""A trained model in Python: predict, embed, score, adapt, save."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuromtm.api.card import model_card
from neuromtm.api.counts import checked_counts, require_past
from neuromtm.api.given import (
    checked_device,
    checked_folder,
    checked_names,
    checked_options,
    checked_path,
    failures_named,
    is_number,
    require_flag,
)
from neuromtm.api.saved import save_model
from neuromtm.api.sessions import Session, Sessions
from neuromtm.batch import Scheme, SessionGroup, SessionInfo, groups_of_counts
from neuromtm.data.withheld import WITHHELD, withheld
from neuromtm.errors import ConfigError, DataError
from neuromtm.evaluation.results import Metrics
from neuromtm.evaluation.tasks import PROMPTS, TASKS, Task, features_of, finite_rates, rates_of
from neuromtm.models.stitching import StitchedModel
from neuromtm.training.checkpoint import CheckpointRecord

if TYPE_CHECKING:
    from neuromtm.api.scoring import TaskScore


class _Given(NamedTuple):
    """Counts that were checked against the model."""

    session: SessionInfo
    counts: Tensor
    """(trial, bin, neuron)"""
    back: Callable[[Tensor], np.ndarray | Tensor]
    """turns a result into the type of the counts: an array, or a tensor on the same device"""


class Model:
    """A masked model of one or many sessions. Made by `neuromtm.load`.

    Attributes:
        name: where it was loaded from.
        stitched: the torch module, in evaluation mode.
        record: its architecture, sessions, bins and objective.
        metrics: what metrics.json says of its test; None if it was not tested.
    """

    def __init__(self, stitched: StitchedModel, record: CheckpointRecord, *, name: str, metrics: Metrics | None = None):
        self.stitched = stitched.eval()
        self.record, self.name, self.metrics = record, name, metrics

    def __repr__(self) -> str:
        kind = self.record.class_path.rpartition(".")[2]
        n = len(self.sessions)
        return f"Model({self.name!r}: {kind}, {n} session{'' if n == 1 else 's'}, bins of {self.bin_size_s:g} s)"

    @property
    def sessions(self) -> Mapping[str, SessionInfo]:
        """Eid -> the neurons (uuid) and regions of each session it knows, in the order of the counts' last axis."""
        return dict(self.stitched.sessions)

    @property
    def bin_size_s(self) -> float:
        """Width of the bins it was trained on."""
        return self.record.bin_size_s

    @property
    def n_bins(self) -> int:
        """Bins a trial it was trained on."""
        return self.record.n_bins

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.stitched.parameters()).device

    def to(self, device: str | torch.device) -> Model:
        """Move the model to a device, and return it.

        Raises:
            ConfigError: if this machine has no such device.
        """
        place = checked_device(device)
        try:
            self.stitched.to(place)
        except (RuntimeError, AssertionError) as error:  # torch raises one or the other
            reason = str(error).splitlines()[0]
            raise ConfigError(f"device {str(device)!r} cannot be used here ({reason}). Use 'cpu'.") from error
        return self

    def predict(
        self,
        counts: np.ndarray | Tensor | Session,
        *,
        eid: str | None = None,
        uuid: Sequence[str] | None = None,
        bin_size_s: float | None = None,
        prompt: Scheme | None = None,
        batch_size: int = 64,
    ) -> np.ndarray | Tensor:
        """Expected spikes of neurons that the model knows, with nothing hidden, as `neuromtm predict` writes them.

        Args:
            counts: (trial, bin, neuron) spikes per bin of some trials, or a `Session`, which brings its own eid, uuids
                and bin size.
            eid: session that the neurons belong to.
            uuid: (neuron,) names of the neurons, to be checked; by default they are taken as the model's.
            bin_size_s: width of the bins, to be checked.
            prompt: scheme whose prompt and attention are used; by default `neuron`, as in co-smoothing, or the first
                scheme of a model that was not trained with it.
            batch_size: number of trials computed at once. Memory grows with it.

        Returns:
            (trial, bin, neuron) float32 expected spikes per bin; an array for an array, a tensor for a tensor. Divided
            by `bin_size_s` they are rates in Hz.

        Raises:
            DataError: if they are not spike counts, or not of this session's neurons.
            CheckpointError: if the bins have another width than the model's.
            ConfigError: if the model has not learned the prompt.
        """
        given = self._check(counts, eid=eid, uuid=uuid, bin_size_s=bin_size_s)
        scheme = self._scheme(prompt)
        return self._batched(given, batch_size, lambda group: finite_rates(rates_of(self.stitched, scheme, group)))

    def embed(
        self,
        counts: np.ndarray | Tensor | Session,
        *,
        eid: str | None = None,
        uuid: Sequence[str] | None = None,
        bin_size_s: float | None = None,
        prompt: Scheme | None = None,
        mean_over_bins: bool = False,
        batch_size: int = 64,
    ) -> np.ndarray | Tensor:
        """The hidden states of each bin, from which the model reads the rates.

        In NDT1 they are the outputs of the last transformer block; in LFADS they are the factors of the posterior's
        mean. All sessions of a model share one space of states. Two trainings have two different spaces.

        Args:
            counts: as in `predict`.
            eid: as in `predict`.
            uuid: as in `predict`.
            bin_size_s: as in `predict`.
            prompt: as in `predict`.
            mean_over_bins: return one vector per trial, the mean over its bins.
            batch_size: as in `predict`.

        Returns:
            (trial, bin, state) float32, or (trial, state) with `mean_over_bins`.

        Raises:
            UserError: as in `predict`.
        """
        require_flag(mean_over_bins, what="mean_over_bins")
        given = self._check(counts, eid=eid, uuid=uuid, bin_size_s=bin_size_s)
        scheme = self._scheme(prompt)

        def states(group: SessionGroup) -> Tensor:
            of_bins = features_of(self.stitched, scheme, group).states
            return of_bins.mean(dim=1) if mean_over_bins else of_bins

        return self._batched(given, batch_size, states)

    def score(
        self,
        counts: np.ndarray | Tensor | Session,
        *,
        task: Task,
        eid: str | None = None,
        uuid: Sequence[str] | None = None,
        bin_size_s: float | None = None,
        prompt: Scheme | None = None,
        batch_size: int = 64,
    ) -> TaskScore:
        """Bits per spike in one of the four activity tasks, as `neuromtm test` scores them.

        Score trials that the model has not learned from, such as `session.select(split="test")`.

        Args:
            counts: as in `predict`.
            task: `co_smoothing` (each neuron from all others), `forward_prediction` (the last tenth of the bins from
                those before), `intra_region` (each neuron from those of its region), `inter_region` (each region from
                the others).
            eid: as in `predict`.
            uuid: as in `predict`.
            bin_size_s: as in `predict`.
            prompt: scheme whose prompt and attention are used; by default the task's own.
            batch_size: as in `predict`.

        Returns:
            The bits per spike of each neuron, their mean, and the value pooled over neurons.

        Raises:
            UserError: as in `predict`, and if there is no such task, or trials of one bin have no past for it.
        """
        from neuromtm.api.scoring import score_task  # torchmetrics takes seconds, and nothing else needs it

        if task not in TASKS:
            raise ConfigError(f"task {task!r}: no such task. There are: {', '.join(TASKS)}.")
        given = self._check(counts, eid=eid, uuid=uuid, bin_size_s=bin_size_s)
        require_past(task, given.counts, what=given.session.eid)
        if prompt is not None:
            self.record.objective.require_trained(prompt, option="prompt")
        with torch.no_grad():
            bins = {"groups": self._groups(given, batch_size), "bin_size_s": self.bin_size_s, "prompt": prompt}
            return score_task(task, self.stitched, self.record.objective, given.session, **bins)

    def adapt(
        self,
        sessions: Sessions,
        *,
        method: Literal["training", "closed_form"] = "training",
        run_dir: Path | str | None = None,
        seed: int = 0,
        max_epochs: int | None = None,
        lr: float | None = None,
        accelerator: str | None = None,
        overlays: Sequence[Path | str] = (),
        options: Mapping[str, object] | None = None,
        progress: bool = True,
    ) -> Model:
        """Learn sessions it has not seen, and return a new model of them. This model stays as it is.

        The training is that of `neuromtm fit --config finetune.yaml --model.pretrained THIS`. Each session gets weights
        of its own, which start at its neurons' mean rates. They and the shared weights are trained on the `train`
        trials. The best checkpoint by the `val` trials becomes the new model, which knows these sessions only.

        Cost: a training, on the CPU or a GPU. The recipe's 200 epochs of a session of 400 training trials are 5,000
        steps of 16 trials; `max_epochs` shortens it. Memory for weights is four times the model's.

        Args:
            sessions: sessions to learn, all of them, e.g. `Sessions(DIR, role="heldout")` or `Sessions.write(...)`.
            method: `closed_form`, for few trials, is `neuromtm adapt`: it takes `run_dir`, `progress`, data `options`.
            run_dir: folder that keeps the run: configuration, checkpoints, TensorBoard events. `neuromtm test` can then
                test it. By default a temporary folder, which is removed.
            seed: seed of every random draw.
            max_epochs: passes over the training trials; by default the recipe's.
            lr: highest learning rate; by default the recipe's.
            accelerator: `cpu` or `gpu`; by default what Lightning finds.
            overlays: further configuration files that override the recipe, such as `trainer/gpu.yaml`.
            options: further options by their names on the command line, such as `{"data.batch_size": 8}`.
            progress: show the progress bar and Lightning's messages.

        Raises:
            DataError: if the sessions cannot be used.
            CheckpointError: if their bins have another width than the model's, or the model knows other trials of them.
            ConfigError: if an option cannot work, or `run_dir` is in use.
            TrainingError: if the training diverges.
        """
        from neuromtm.api.adaptation import adapt  # brings Lightning, which nothing else needs

        directory = None if run_dir is None else checked_folder(run_dir, what="run_dir")
        named = {"trainer.max_epochs": max_epochs, "model.lr": lr, "trainer.accelerator": accelerator}
        chosen = checked_options(options) | {name: value for name, value in named.items() if value is not None}
        given = {"run_dir": directory, "seed": seed, "overlays": overlays, "options": chosen, "progress": progress}
        return adapt(self, sessions, method=method, **given)

    def save(self, folder: Path | str, *, license: str = "unknown", description: str = "") -> Path:
        """Write the model as a folder to keep or to share: model.safetensors, config.json and README.md, a model card.

        Nothing in it is pickled. `load` takes the folder. It holds the neurons' uuids and regions, the eids and the
        subjects' names, and no counts.

        Args:
            folder: new, or empty. Nothing is overwritten.
            license: license of the weights, for the card: an identifier of Hugging Face, such as `cc-by-4.0`.
            description: a paragraph for the card.

        Returns:
            The folder.

        Raises:
            UserError: if the folder holds anything.
        """
        folder = checked_path(folder, what="folder")
        card = model_card(self.stitched, self.record, self.metrics, license=license, description=description)
        with failures_named():
            save_model(folder, self.stitched, self.record, metrics=self.metrics, card=card)
        return folder

    # ---- checks of what the user gives

    def _check(
        self,
        counts: np.ndarray | Tensor | Session,
        *,
        eid: str | None,
        uuid: Sequence[str] | None,
        bin_size_s: float | None,
    ) -> _Given:
        if uuid is not None:
            uuid = checked_names(uuid, what="uuid")
        if bin_size_s is not None and not is_number(bin_size_s):
            raise DataError(f"bin_size_s is {bin_size_s!r}, not a number of seconds.")
        if isinstance(counts, Session):
            session = self._session(counts.eid if eid is None else eid)
            own = counts.neurons["uuid"].tolist()
            if uuid not in (None, own) or bin_size_s not in (None, counts.bin_size_s):
                raise DataError(
                    f"{counts.eid}: a Session brings its own uuids and bins of {counts.bin_size_s} s, and those given "
                    "beside it are others. Leave uuid and bin_size_s out."
                )
            if withheld(counts.trials, np.arange(len(counts.counts))).any():
                raise DataError(f"{counts.eid}: {WITHHELD} in some of these trials. Choose others, e.g. split='val'.")
            uuid, bin_size_s, counts = own, counts.bin_size_s, counts.counts
        else:
            session = self._session(eid)
        checked = checked_counts(counts, what=f"{session.eid}: counts")
        if bin_size_s is not None:
            self.record.require_bin_size(float(bin_size_s), name=self.name)
        self._check_neurons(session, checked.shape[2], uuid)
        self._check_n_bins(session, checked.shape[1])
        if isinstance(counts, Tensor):
            device = counts.device
            return _Given(session, checked, lambda result: result.to(device))
        return _Given(session, checked, lambda result: result.numpy())

    def _session(self, eid: str | None) -> SessionInfo:
        known = self.stitched.sessions
        if eid is not None and not isinstance(eid, str):
            raise DataError(f"eid is {eid!r}, not the name of a session.")
        if eid is not None and eid in known:
            return known[eid]
        names = ", ".join(list(known)[:10]) + (f" and {len(known) - 10} more" if len(known) > 10 else "")
        if eid is None:
            raise DataError(f"Whose counts are these? Give eid=, one of those that {self.name} knows: {names}.")
        raise DataError(
            f"{self.name}: does not know the session {eid!r}; it knows {names}. Model.adapt learns a recording that "
            "it has not seen."
        )

    def _check_neurons(self, session: SessionInfo, n_neurons: int, uuid: Sequence[str] | None) -> None:
        if n_neurons != session.n_neurons:
            raise DataError(
                f"{session.eid}: counts has {n_neurons} neurons, but {self.name} knows {session.n_neurons}: those of "
                "model.sessions[eid].neurons, in that order."
            )
        if uuid is None:
            return
        if len(uuid) != n_neurons:
            raise DataError(f"{session.eid}: uuid names {len(uuid)} neurons, but counts has {n_neurons}.")
        other = [i for i, (mine, theirs) in enumerate(zip(session.neurons, uuid, strict=True)) if mine != theirs]
        if other:
            first = other[0]
            kind = "the order and so the neurons" if set(uuid) == set(session.neurons) else "the neurons"
            raise DataError(
                f"{session.eid}: {kind} of counts differ from the model's: {len(other)} of {n_neurons} places. The "
                f"first is {first}: {uuid[first]!r} in counts, {session.neurons[first]!r} in the model. Bring the "
                "neurons into the order of model.sessions[eid].neurons."
            )

    def _check_n_bins(self, session: SessionInfo, n_bins: int) -> None:
        if self.stitched.backbone.max_n_bins is not None and n_bins > self.n_bins:
            raise DataError(
                f"{session.eid}: counts has {n_bins} bins a trial, but {self.name} has learned positions for "
                f"{self.n_bins} only. Give trials of at most {self.n_bins} bins, or adapt it to longer trials."
            )

    def _scheme(self, prompt: Scheme | None) -> Scheme:
        if prompt is None:
            return self.record.objective.stand_in(PROMPTS["co_smoothing"])
        self.record.objective.require_trained(prompt, option="prompt")
        return prompt

    def _groups(self, given: _Given, batch_size: int) -> Iterator[SessionGroup]:
        if type(batch_size) is not int or batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size!r}, not a number of trials above 0.")
        yield from groups_of_counts(given.session, given.counts, size=batch_size, device=self.device)

    def _batched(
        self, given: _Given, batch_size: int, compute: Callable[[SessionGroup], Tensor]
    ) -> np.ndarray | Tensor:
        with torch.no_grad():  # not inference_mode: a user's own training could not use its tensors
            # on the CPU, because results of all trials may not fit on a GPU
            return given.back(torch.cat([compute(group).cpu() for group in self._groups(given, batch_size)]))

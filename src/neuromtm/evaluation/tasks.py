"""The four activity tasks: what is hidden at test, and what is scored. MtM, NeurIPS 2024, section 5."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from neuromtm.batch import RegionIndex, Scheme, SessionGroup
from neuromtm.errors import DataError
from neuromtm.masking.inter_region import hide_region
from neuromtm.masking.masked import Masked, hide_last_bins, mask
from neuromtm.masking.objective import Objective
from neuromtm.masking.regions import regions_for
from neuromtm.models.stitching import StitchedModel, VisibleGroup

Task = Literal["co_smoothing", "forward_prediction", "intra_region", "inter_region"]
TASKS: tuple[Task, ...] = get_args(Task)
PROMPTS: dict[Task, Scheme] = {
    "co_smoothing": "neuron",
    "forward_prediction": "causal",
    "intra_region": "intra_region",
    "inter_region": "inter_region",
}
FORWARD_FRACTION = 0.1
"""share of the bins, the last ones, that forward prediction hides"""


class HeldOut(NamedTuple):
    """Predictions of entries that the model did not see."""

    log_rates: Tensor
    """(trial, bin', neuron') log of the expected spikes per bin"""
    counts: Tensor
    """(trial, bin', neuron') observed spikes per bin"""
    neurons: Tensor
    """(neuron',) int64, places in the session"""


def n_forward_bins(n_bins: int) -> int:
    """How many bins forward prediction hides."""
    return max(1, round(FORWARD_FRACTION * n_bins))


class Places(NamedTuple):
    """Which neurons the tasks leave out and score, by region. What the host must know of them is known here."""

    asked: Tensor
    """(neuron',) int64, the neurons to leave out in turn"""
    asked_of: dict[int, Tensor]
    """number of a region with two neurons or more -> (neuron'',) int64, those to leave out in turn, if any"""
    members: dict[int, Tensor]
    """number of a region that has others beside it -> (neuron'',) int64, all its neurons"""

    @classmethod
    def of(cls, region: RegionIndex, neurons: Tensor | None = None) -> "Places":
        """Look up the places. It reads the device, so where there are many batches it is done once a session.

        Args:
            region: the session's regions.
            neurons: (neuron',) int64, the neurons to leave out in turn; by default all.
        """
        number = region.number.cpu()
        asked = torch.arange(len(number)) if neurons is None else neurons.cpu()
        asked_of = {one: asked[number[asked] == one] for one in regions_for("intra_region", region)}
        members = {one: torch.nonzero(number == one)[:, 0] for one in regions_for("inter_region", region)}
        return cls(asked, {one: own for one, own in asked_of.items() if len(own)}, members).to(region.number.device)

    def to(self, device: torch.device) -> "Places":
        """The same on a device."""
        by_region = ({one: own.to(device) for one, own in part.items()} for part in (self.asked_of, self.members))
        return Places(self.asked.to(device), *by_region)

    @property
    def n_left_out(self) -> int:
        """How many times the tasks leave a neuron out of each trial."""
        return len(self.asked) + sum(map(len, self.asked_of.values()))


def predict_task(
    task: Task,
    model: StitchedModel,
    objective: Objective,
    group: SessionGroup,
    neurons: Tensor | Places | None = None,
    *,
    prompt: Scheme | None = None,
    done: Callable[[int], None] | None = None,
) -> Iterator[HeldOut]:
    """Hide what the task hides and predict it.

    Args:
        task: which one.
        model: in evaluation mode.
        objective: what the model was trained with; selects the prompt and the attention.
        group: some trials of one session.
        neurons: (neuron',) int64, the neurons to leave out in turn in `co_smoothing` and `intra_region`; all
            by default. The other two tasks hide many neurons at once and predict all of them. `Places` that are made
            once a session save a read of the device.
        prompt: scheme whose prompt and attention are used instead. What is hidden does not change.
        done: see `StitchedModel.left_out`.

    Yields:
        Predictions. Each neuron is in one of them at most. Neurons of unknown region are in no region task, and a
        neuron alone in its region is not in `intra_region`.
    """
    scheme = objective.stand_in(PROMPTS[task]) if prompt is None else prompt
    places = neurons if isinstance(neurons, Places) else Places.of(group.region, neurons)
    match task:
        case "co_smoothing":
            shown = VisibleGroup(group.eid, group.counts)
            yield _left_out(model, scheme, group, shown, places.asked, done)
        case "forward_prediction":
            yield _forward(model, scheme, group)
        case "intra_region":
            for region, chosen in places.asked_of.items():
                shown = _shown(group, mask(group.counts, group.region.number != region))
                yield _left_out(model, scheme, group, shown, chosen, done)
        case "inter_region":
            for region, members in places.members.items():
                masked = hide_region(group.counts, group.region.number, drawn_region=region)
                log_rates = model([_shown(group, masked)], scheme).log_rates[0]
                yield HeldOut(log_rates[..., members], group.counts[..., members], members)


def hidden_rates(
    task: Task,
    model: StitchedModel,
    objective: Objective,
    group: SessionGroup,
    neurons: Tensor | None = None,
    *,
    prompt: Scheme | None = None,
) -> Tensor:
    """(trial, bin, neuron) expected spikes per bin of what the task hides, NaN where it predicts nothing.

    The arguments are those of `predict_task`.
    """
    n_bins = group.counts.shape[1]
    rates = torch.full(group.counts.shape, torch.nan, device=group.counts.device)
    bins = slice(n_bins - n_forward_bins(n_bins), n_bins) if task == "forward_prediction" else slice(None)
    for held_out in predict_task(task, model, objective, group, neurons, prompt=prompt):
        rates[:, bins, held_out.neurons] = held_out.log_rates.float().exp()
    return rates


def _shown(group: SessionGroup, masked: Masked) -> VisibleGroup:
    return VisibleGroup(group.eid, masked.visible, masked.hidden)


def _left_out(
    model: StitchedModel,
    scheme: Scheme,
    group: SessionGroup,
    shown: VisibleGroup,
    neurons: Tensor,
    done: Callable[[int], None] | None,
) -> HeldOut:
    log_rates = model.left_out(shown, scheme, neurons, done=done)
    return HeldOut(log_rates, group.counts[..., neurons], neurons)


def _forward(model: StitchedModel, scheme: Scheme, group: SessionGroup) -> HeldOut:
    n_hidden = n_forward_bins(group.counts.shape[1])
    masked = hide_last_bins(group.counts, n_bins=n_hidden)
    log_rates = model([_shown(group, masked)], scheme).log_rates[0]
    every = torch.arange(group.counts.shape[2], device=group.counts.device)
    return HeldOut(log_rates[:, -n_hidden:], group.counts[:, -n_hidden:], every)


class ModelFeatures(NamedTuple):
    """What a model computes from trials with nothing hidden. Behaviour is decoded from it."""

    rates: Tensor
    """(trial, bin, neuron) expected spikes per bin"""
    states: Tensor
    """(trial, bin, state) hidden states, from which the rates are read out"""


def features_of(model: StitchedModel, scheme: Scheme, group: SessionGroup) -> ModelFeatures:
    """Rates and hidden states of trials, from one forward pass."""
    output = model([VisibleGroup(group.eid, group.counts)], scheme)
    return ModelFeatures(output.log_rates[0].float().exp(), output.states[0].float())


def finite_rates(rates: Tensor) -> Tensor:
    """Rates as they are.

    Raises:
        DataError: if one is not a finite number.
    """
    if not rates.isfinite().all():
        raise DataError(
            "Some rates are not finite: the training diverged, or the counts are beyond all that it has seen. Take an "
            "earlier checkpoint."
        )
    return rates


def rates_of(model: StitchedModel, scheme: Scheme, group: SessionGroup) -> Tensor:
    """(trial, bin, neuron) expected spikes per bin with nothing hidden."""
    return features_of(model, scheme, group).rates

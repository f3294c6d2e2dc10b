"""New sessions' stitchers from few trials, without a training: the shared weights stay as they are.

The read-in follows the session's first principal axes. Then the model computes states of the training trials while
neurons are hidden as in the four tasks, and each neuron's read-out is a Poisson regression of its counts on the states
that did not see them (`neuromtm.training.closed_form`). Its prior comes from the read-outs of the sessions that the
model was trained on. The numbers below were settled on other
animals than the one that docs/results.md tests on.
"""

import copy
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from neuromtm.batch import RegionIndex
from neuromtm.data.datamodule import SessionDataModule
from neuromtm.errors import CheckpointError, DataError
from neuromtm.evaluation.tasks import PROMPTS, Task, n_forward_bins
from neuromtm.masking.objective import Objective
from neuromtm.masking.regions import regions_for
from neuromtm.models.stitching import LinearStitcher, StitchedModel, VisibleGroup, module_key
from neuromtm.randomness import generator_for
from neuromtm.training.checkpoint import CheckpointRecord
from neuromtm.training.closed_form import Evidence, poisson_regressions, shared_directions, shrunk_means
from neuromtm.training.first_weights import add_new_sessions

N_AXES = 8
"""principal axes of the read-in; those after them are mostly noise in few trials"""
N_DIRECTIONS = 32
"""directions of the states that a read-out combines"""
N_PARTS = 20
"""parts of a session's neurons that are hidden in turn, for co-smoothing"""
N_REGION_PARTS = 4
"""parts of a region's neurons that are hidden in turn, for intra-region"""
FORWARD_FROM = (0.4, 0.6, 0.8)
"""where the bins begin that are hidden for forward prediction, as shares of the trial, beside where the test hides
them: so few bins as the test scores would say little"""
TRIALS_AT_ONCE = 64


class Hidden(NamedTuple):
    """What is hidden from the model in all trials, and which of it is evidence."""

    task: Task
    entries: Tensor
    """(bin, neuron) bool"""
    neurons: Tensor
    """(neuron',) int64"""
    bins: slice


class Known(NamedTuple):
    """What the sessions of a pretraining say of a further session's stitcher."""

    token: Tensor
    """(width,)"""
    shift: Tensor
    """(width,) the read-in's bias"""
    directions: Tensor
    """(width, direction) float64, see `shared_directions`"""

    @classmethod
    def of(cls, model: StitchedModel, *, name: str) -> "Known":
        """Put together the stitchers of a model.

        Args:
            model: the pretrained model.
            name: what the message calls it.

        Raises:
            CheckpointError: if its architecture or its training has not what this needs.
        """
        backbone, stitchers = model.backbone, list(model.stitchers.values())
        linear = [one for one in stitchers if type(one) is LinearStitcher and one.mask_in is None]
        if not linear or len(linear) < len(stitchers) or not (backbone.principal_axes and backbone.standardise):
            raise CheckpointError(
                f"{name}: a stitcher can be made without a training only for NDT1 with principal_axes and standardise "
                "and without mask_input, as conf/small.yaml has it. Fine-tune this model instead: neuromtm fit."
            )
        read_outs = torch.cat([one.read_out.weight.cpu() for one in linear])
        if not read_outs.any() or not read_outs.isfinite().all():
            raise CheckpointError(f"{name}: its read-outs are untrained or not finite numbers. Pretrain it first.")
        return cls(
            torch.stack([one.token for one in linear]).mean(dim=0),
            torch.stack([one.read_in.bias for one in linear]).mean(dim=0),
            shared_directions(read_outs, N_DIRECTIONS),
        )


class Adapted(NamedTuple):
    """A model of new sessions."""

    model: StitchedModel
    record: CheckpointRecord


@torch.no_grad()
def adapt_in_closed_form(
    model: StitchedModel,
    record: CheckpointRecord,
    data: SessionDataModule,
    *,
    name: str,
    done: Callable[[str], None] | None = None,
) -> Adapted:
    """Make a model of new sessions from a pretrained one. Only training trials are read. Nothing is random.

    Args:
        model: the pretrained model, which stays as it is.
        record: its own.
        data: the new sessions, after `setup`.
        name: what messages call the pretrained model.
        done: is called with the eid of each session that is ready.

    Raises:
        CheckpointError: if the model knows a session already, has other bins or cannot be adapted this way.
        DataError: if a session has no training trials.
    """
    record.require_masked_model(name=name)
    record.require_bin_size(data.bin_size_s, name=name)
    model.backbone.require_n_bins(data.n_bins)
    if twice := [eid for eid in data.sessions if eid in model.sessions]:
        raise CheckpointError(
            f"{name}: was trained on {', '.join(twice)} already. Choose sessions that are new to it, by their eids."
        )
    if empty := [eid for eid, trials in data.trials("train").items() if not len(trials)]:
        raise DataError(f"{data.root}: {', '.join(empty)} has no training trials. Leave it out.")
    known = Known.of(model, name=name)
    new = StitchedModel(copy.deepcopy(model.backbone))
    add_new_sessions(new, data)
    new.to(next(model.parameters()).device).eval()
    for eid in data.sessions:
        _fit(new, record.objective, data, eid, known)
        if done is not None:
            done(eid)
    subjects = {eid: str(header.subject) for eid, header in data.headers.items()}
    own = CheckpointRecord.of(
        new,
        n_bins=data.n_bins,
        bin_size_s=data.bin_size_s,
        objective=record.objective,
        trials={eid: data.fingerprint(eid) for eid in data.sessions},
        batches={},
        subjects={**record.subjects, **subjects},
    )
    return Adapted(new, own)


def _fit(model: StitchedModel, objective: Objective, data: SessionDataModule, eid: str, known: Known) -> None:
    """Set all weights of a session's stitcher."""
    stitcher = model.stitchers[module_key(eid)]
    assert isinstance(stitcher, LinearStitcher)
    statistics = data.statistics(eid)
    model.backbone.start_from_statistics(stitcher, statistics._replace(axes=statistics.axes[:N_AXES]))
    stitcher.read_in.bias.copy_(known.shift)
    stitcher.token.copy_(known.token)
    counts = torch.from_numpy(data.counts(eid, "train"))
    spikes = counts.sum(dim=(0, 1), dtype=torch.float64).numpy()
    log_means = torch.from_numpy(shrunk_means(spikes, n_entries=counts.shape[0] * counts.shape[1])).log()
    evidence, center = [], []
    for hidden in hidden_in_turn(data.sessions[eid].region_index(), n_bins=data.n_bins, eid=eid):
        states = states_without(model, objective, eid, counts, hidden).double()
        if hidden.task == "co_smoothing":
            center.append(states.mean(dim=(0, 1)))
        seen = states[:, hidden.bins] @ known.directions
        evidence.append(Evidence(hidden.neurons, seen, counts[:, hidden.bins, hidden.neurons]))
    middle = torch.stack(center).mean(dim=0)  # features around 0 keep the bias near the mean rate
    evidence = [one._replace(features=one.features - middle @ known.directions) for one in evidence]
    fitted = poisson_regressions(evidence, log_means)
    weight = fitted.weights @ known.directions.T
    stitcher.read_out.weight.copy_(weight)
    stitcher.read_out.bias.copy_(fitted.log_means - weight @ middle)


def hidden_in_turn(region: RegionIndex, *, n_bins: int, eid: str) -> Iterator[Hidden]:
    """What the four tasks hide. Co-smoothing and intra-region hide neurons in parts and not one at a time.

    Args:
        region: of the session's neurons.
        n_bins: bins a trial.
        eid: the session's; which neurons share a part follows from it.

    Yields:
        Every neuron is evidence once for `co_smoothing`, which comes first, and at most once for either region task.
    """
    n_neurons, generator = region.n_neurons, generator_for("parts of neurons", eid)
    every, number = slice(None), region.number.cpu()
    for part in torch.randperm(n_neurons, generator=generator).chunk(N_PARTS):
        yield Hidden("co_smoothing", _entries(n_bins, n_neurons, neurons=part), part, every)
    n_hidden = n_forward_bins(n_bins)
    first_bins = {round(share * n_bins) for share in FORWARD_FROM} | {n_bins - n_hidden}
    for first in sorted(bin for bin in first_bins if 0 < bin <= n_bins - n_hidden):
        entries = torch.zeros(n_bins, n_neurons, dtype=torch.bool)
        entries[first:] = True
        yield Hidden("forward_prediction", entries, torch.arange(n_neurons), slice(first, first + n_hidden))
    for one in regions_for("intra_region", region):
        members, others = (number == one).nonzero()[:, 0], (number != one).nonzero()[:, 0]
        shuffled = members[torch.randperm(len(members), generator=generator)]
        for part in shuffled.chunk(min(N_REGION_PARTS, len(members))):
            entries = _entries(n_bins, n_neurons, neurons=torch.cat([others, part]))
            yield Hidden("intra_region", entries, part, every)
    for one in regions_for("inter_region", region):
        members = (number == one).nonzero()[:, 0]
        yield Hidden("inter_region", _entries(n_bins, n_neurons, neurons=members), members, every)


def _entries(n_bins: int, n_neurons: int, *, neurons: Tensor) -> Tensor:
    """(bin, neuron) bool, True for these neurons."""
    entries = torch.zeros(n_bins, n_neurons, dtype=torch.bool)
    entries[:, neurons] = True
    return entries


def states_without(model: StitchedModel, objective: Objective, eid: str, counts: Tensor, hidden: Hidden) -> Tensor:
    """(trial, bin, width) states that did not see what is hidden, on the host.

    Args:
        model: in evaluation mode; it knows the session.
        objective: what the model was trained with; selects the prompt and the attention.
        eid: the session.
        counts: (trial, bin, neuron) spikes per bin.
        hidden: what is hidden in all trials.
    """
    scheme, device = objective.stand_in(PROMPTS[hidden.task]), next(model.parameters()).device
    states = []
    for some in counts.split(TRIALS_AT_ONCE):
        entries = hidden.entries.expand(some.shape).to(device)
        visible = some.to(device).masked_fill(entries, 0)
        states.append(model([VisibleGroup(eid, visible, entries)], scheme).states[0].cpu())
    return torch.cat(states)

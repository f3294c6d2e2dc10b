"""Reduced-rank read-outs of spike counts: one of a single session, and one with time courses that all sessions share.

A session's weights (neuron, bin, output) are a sum over ranks of neuron factors (neuron, rank) times time factors
(rank, bin, output). Each session has its own neuron factors. Sessions can share the time factors, which are then
learned from the trials of all animals. Source: Zhang et al. 2024, "Exploiting correlations across trials and behavioral
sessions to
improve neural decoding". Outputs are the bins of a trace (squared error) or classes (cross entropy).

The fit minimises the sum over sessions of the loss, relative to the loss of the null, plus penalty / 2 times the
squared norm of all factors. At the minimum this squared norm is twice the nuclear norm of the weights, stacked over
sessions to a matrix of neurons x (bin, output) (Srebro et al. 2005). One penalty therefore serves both factors. Its
largest useful value is the spectral norm of the gradient at zero weights: above it the best weights are 0. Penalties
are given as shares of this value.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from einops import einsum, rearrange
from sklearn.utils.extmath import randomized_svd
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from neuromtm.decoding.linear import Splits, standardise
from neuromtm.decoding.selection import Labels
from neuromtm.metrics.absent import Absent

RANKS = (2, 6)
SHARES = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
"""penalties tried, from strong to weak; each fit starts from the one before"""
MOST_STEPS = 40
"""steps of L-BFGS in a fit"""


class ReducedRank(NamedTuple):
    """What a session's counts predict, with the rank and penalty that are best on validation."""

    validation: np.ndarray
    """(trial,) classes or (trial, bin) trace of the validation trials"""
    test: np.ndarray
    """(trial,) classes or (trial, bin) trace of the test trials"""
    rank: int
    share: float
    """penalty as a share of the largest useful one"""


class _Parts(NamedTuple):
    """The same quantity of a session's train, validation and test trials, as `Splits` in tensors."""

    train: Tensor
    val: Tensor
    test: Tensor


@dataclass(frozen=True)
class _Session:
    """One session in the form that the fit takes."""

    inputs: _Parts
    """(trial, bin, neuron), standardised"""
    targets: _Parts
    """(trial, output) of trace values or 1 for the class of the trial; 0 where unknown"""
    known: _Parts
    """(trial, output), 1 where known, else 0"""
    offset: Tensor
    """(output,) prediction of the null: the log of the classes' shares, or 0"""
    mean: np.ndarray | float
    """(bin,) mean of a trace's bins; 0 for classes"""
    scale: float
    """standard deviation of a trace; 1 for classes"""

    def loss(self, outputs: Tensor, split: int, *, is_trace: bool) -> Tensor:
        """Mean loss over the known entries, in units of the trace's variance or in nats."""
        targets, known = self.targets[split], self.known[split]
        if is_trace:
            return (known * (outputs - targets).square()).sum() / known.sum()
        return -(targets * functional.log_softmax(outputs, dim=1)).sum() / targets.sum()


class _Factors(NamedTuple):
    neuron: list[Tensor]
    """(neuron, rank) of each session"""
    time: Tensor
    """(rank, bin, output)"""
    offset: list[Tensor]
    """(output,) of each session"""

    def outputs(self, place: int, inputs: Tensor) -> Tensor:
        """(trial, output) predictions of the session in this place."""
        course = einsum(inputs, self.neuron[place], "trial bin neuron, neuron rank -> trial bin rank")
        return self.offset[place] + einsum(course, self.time, "trial bin rank, rank bin output -> trial output")

    @property
    def tensors(self) -> list[Tensor]:
        return [*self.neuron, self.time, *self.offset]

    def map(self, change: Callable[[Tensor], Tensor]) -> "_Factors":
        return _Factors([*map(change, self.neuron)], change(self.time), [*map(change, self.offset)])


# one thread: more threads sum in another order, and a fit on other ranks would end elsewhere
@threadpool_limits.wrap(limits=1)
@torch.inference_mode(False)  # a test runs without gradients
@torch.enable_grad()
def fit_reduced_rank(counts: Mapping[str, Splits], labels: Mapping[str, Labels]) -> dict[str, ReducedRank | Absent]:
    """Fit one read-out of low rank. Rank and penalty are those of the least mean validation loss over the sessions.

    Args:
        counts: eid -> (trial, bin, neuron) spike counts of each split.
        labels: eid -> the behaviour, which is the same for all; sessions without it are left out.

    Returns:
        eid -> what the read-out predicts, or why there is none, for every session with labels.
    """
    absent: dict[str, ReducedRank | Absent] = {
        eid: Absent(reason) for eid, one in labels.items() if (reason := _unfit(one)) is not None
    }
    eids = [eid for eid in labels if eid not in absent]
    if not eids:
        return absent
    is_trace = labels[eids[0]].is_trace
    classes = np.unique(np.concatenate([_known(labels[eid].values.train) for eid in eids]))
    sessions = [_session(counts[eid], labels[eid], classes) for eid in eids]
    rank, share, factors = _best(sessions, is_trace=is_trace)
    found = {}
    for i, (eid, one) in enumerate(zip(eids, sessions, strict=True)):
        with torch.no_grad():
            outputs = [factors.outputs(i, part).numpy() for part in (one.inputs.val, one.inputs.test)]
        predicted = [one.mean + one.scale * part if is_trace else classes[part.argmax(axis=1)] for part in outputs]
        found[eid] = ReducedRank(*predicted, rank=rank, share=share)
    return found | absent


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def _unfit(labels: Labels) -> str | None:
    train = _known(labels.values.train)
    if len(np.unique(train)) < 2:
        return "the train trials have one value only, or none"
    if len(_known(labels.values.val)) == 0:
        return "no validation trial has a label to choose rank and penalty by"
    return None


def _session(counts: Splits, labels: Labels, classes: np.ndarray) -> _Session:
    standard = standardise(counts.train)
    inputs = _Parts(*(torch.from_numpy(standard(part)) for part in counts))
    mean, scale = 0.0, 1.0
    if labels.is_trace:
        train = labels.values.train
        there = ~np.isnan(train)
        mean = np.full(train.shape[1], np.nan)
        np.divide(np.where(there, train, 0).sum(axis=0), there.sum(axis=0), where=there.any(axis=0), out=mean)
        scale = float(np.sqrt(np.nanmean(np.square(train - mean))))
        targets = [(part - mean) / scale for part in labels.values]
        offset = np.zeros(train.shape[1])
    else:
        targets = [np.where(np.isnan(part)[:, None], np.nan, part[:, None] == classes) for part in labels.values]
        # half a trial is added: a class that this session lacks is unlikely, not impossible
        shares = np.nansum(targets[0], axis=0) + 0.5
        offset = np.log(shares / shares.sum())
    return _Session(
        inputs=inputs,
        targets=_Parts(*(torch.from_numpy(np.nan_to_num(part, nan=0.0)).float() for part in targets)),
        known=_Parts(*(torch.from_numpy(~np.isnan(part)).float() for part in targets)),
        offset=torch.from_numpy(offset).float(),
        mean=mean,
        scale=scale,
    )


def _best(sessions: Sequence[_Session], *, is_trace: bool) -> tuple[int, float, _Factors]:
    """Rank, penalty and factors of least mean validation loss."""
    nulls = [float(one.loss(one.offset.expand_as(one.targets.train), 0, is_trace=is_trace)) for one in sessions]
    gradients = [_gradient(one, null, is_trace=is_trace) for one, null in zip(sessions, nulls, strict=True)]
    stacked = torch.cat(gradients).numpy()
    n_ranks = min(max(RANKS), *stacked.shape)
    left, size, right = (torch.from_numpy(part) for part in randomized_svd(stacked, n_ranks, random_state=0))
    tried = []
    for rank in sorted({min(rank, n_ranks) for rank in RANKS}):
        # start downhill and small: under the strongest penalty the weights are small
        start = 0.3 * (size[:rank] / size[0]).sqrt()
        factors = _Factors(
            list((left[:, :rank] * start).split([len(gradient) for gradient in gradients])),
            rearrange(
                -start[:, None] * right[:rank], "rank (bin output) -> rank bin output", output=len(sessions[0].offset)
            ),
            [one.offset for one in sessions],
        )
        before = np.inf
        for share in SHARES:
            factors = _descend(factors, sessions, nulls, penalty=share * float(size[0]), is_trace=is_trace)
            loss = _validation_loss(factors, sessions, is_trace=is_trace)
            tried.append((loss, rank, share, factors))
            if loss > before:
                break  # weaker penalties take the longest, and the loss would go on rising
            before = loss
    _, rank, share, factors = min(tried, key=lambda one: one[0])
    return rank, share, factors


@torch.no_grad()
def _validation_loss(factors: _Factors, sessions: Sequence[_Session], *, is_trace: bool) -> float:
    outputs = ((one, factors.outputs(i, one.inputs.val)) for i, one in enumerate(sessions))
    return float(np.mean([float(one.loss(of, 1, is_trace=is_trace)) for one, of in outputs]))


def _gradient(session: _Session, null: float, *, is_trace: bool) -> Tensor:
    """(neuron, bin * output) slope of the loss, relative to the null's, at weights of 0."""
    outputs = session.offset.expand_as(session.targets.train).clone().requires_grad_()
    (slope,) = torch.autograd.grad(session.loss(outputs, 0, is_trace=is_trace) / null, outputs)
    found = einsum(session.inputs.train, slope, "trial bin neuron, trial output -> neuron bin output")
    return rearrange(found, "neuron bin output -> neuron (bin output)")


def _descend(
    factors: _Factors, sessions: Sequence[_Session], nulls: Sequence[float], *, penalty: float, is_trace: bool
) -> _Factors:
    """Factors of a lower loss, from these as the start."""
    factors = factors.map(lambda tensor: tensor.clone(memory_format=torch.contiguous_format).requires_grad_())
    optimizer = torch.optim.LBFGS(
        factors.tensors, max_iter=MOST_STEPS, tolerance_change=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        norm = factors.time.square().sum() + sum(part.square().sum() for part in factors.neuron)
        total = penalty / 2 * norm
        total.backward()
        for i, (one, null) in enumerate(zip(sessions, nulls, strict=True)):  # one by one, to save memory
            loss = one.loss(factors.outputs(i, one.inputs.train), 0, is_trace=is_trace) / null
            loss.backward()
            total = total.detach() + loss.detach()
        return total

    optimizer.step(closure)
    return factors.map(Tensor.detach)

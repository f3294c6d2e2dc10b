"""How well rates predict spikes: Poisson cost, bits per spike, deviance, R2, kept as sums over batches and ranks.

Source of the bits per spike: Pei et al. 2021, Neural Latents Benchmark, section 3.2 ("co-bps"). Source of the deviance
explained: Cameron and Windmeijer 1996, R-squared measures for count data regression models (their deviance R2).
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from neuromtm.metrics.sums import Sums

LOWEST_RATE_HZ = 0.002
"""Lower rates are scored as this one: one spike in 500 s, about as long as the training trials of a recording last. A
neuron without a spike in all of them may have this rate; a rate far below it would be a guess, and the first spike in a
test would cost as many bits as the guess was bold."""


def scored_log_rates(log_rates: Tensor, *, bin_size_s: float) -> Tensor:
    """Predictions as every score takes them, those of models, of baselines and of the truth: at least `LOWEST_RATE_HZ`.

    Args:
        log_rates: log of the expected spikes per bin, of any shape; NaN stays NaN.
        bin_size_s: width of a bin.
    """
    return log_rates.clamp(min=math.log(LOWEST_RATE_HZ * bin_size_s))


def poisson_nll(log_rates: Tensor, counts: Tensor) -> Tensor:
    """Cost of each entry in nats, without the constant log(count!).

    Args:
        log_rates: (trial, bin, neuron) log of the expected spikes per bin; half precision is converted to single.
        counts: (trial, bin, neuron) spikes per bin.

    Returns:
        (trial, bin, neuron) exp(log_rates) - counts * log_rates.
    """
    log_rates = log_rates.to(torch.promote_types(log_rates.dtype, torch.float32))
    return log_rates.exp() - counts * log_rates


def null_nll(spikes: Tensor, entries: Tensor) -> Tensor:
    """Cost in nats of predicting each neuron's mean count at every entry; 0 for a silent neuron.

    With the mean m = spikes / entries, the sum of m - x log m over the entries is spikes - spikes log m.

    Args:
        spikes: (neuron,) sum of the counts.
        entries: (neuron,) number of (trial, bin) entries in that sum.
    """
    return spikes - torch.xlogy(spikes, spikes / entries.clamp(min=1))


def bits_per_spike(model_nll: Tensor, spikes: Tensor, entries: Tensor) -> Tensor:
    """Bits per spike that a model gains over predicting each neuron's own mean count on the same entries.

    Args:
        model_nll: (neuron,) sum of `poisson_nll` over the entries.
        spikes: (neuron,) sum of the counts.
        entries: (neuron,) number of entries.

    Returns:
        (neuron,) bits per spike. NaN for a neuron without a spike, where they are not defined. -inf where the model's
        cost is NaN: a mean must not leave out rates that diverged as it leaves out silent neurons.
    """
    model_nll = torch.where(model_nll.isnan(), torch.inf, model_nll)
    gain_nats = null_nll(spikes, entries) - model_nll
    return torch.where(spikes > 0, gain_nats / (spikes * math.log(2)), torch.nan)


def pooled_bits_per_spike(model_nll: Tensor, spikes: Tensor, entries: Tensor) -> Tensor:
    """Bits per spike of all neurons together, as the Neural Latents Benchmark and BrainWideBench count them.

    The costs of all neurons are summed, and divided by the spikes of all of them: a neuron weighs as much as it has
    spikes. The null predicts each neuron's own mean count, as in `bits_per_spike`. A silent neuron has no bits per
    spike of its own, but what is predicted of it costs here too.

    Args:
        model_nll: (neuron,) sum of `poisson_nll` over the entries.
        spikes: (neuron,) sum of the counts.
        entries: (neuron,) number of entries.

    Returns:
        A scalar. NaN if there is no spike; -inf if a neuron's cost is NaN.
    """
    model_nll = torch.where(model_nll.isnan(), torch.inf, model_nll)
    gain_nats = (null_nll(spikes, entries) - model_nll).sum()
    n_spikes = spikes.sum()
    return torch.where(n_spikes > 0, gain_nats / (n_spikes * math.log(2)), torch.nan)


def saturated_nll(counts: Tensor) -> Tensor:
    """Cost in nats of the best possible prediction, the counts themselves; 0 where there is no spike.

    Args:
        counts: (trial, bin, neuron) spikes per bin.

    Returns:
        (trial, bin, neuron) float64, counts - counts log counts.
    """
    counts = counts.double()
    return counts - torch.xlogy(counts, counts)


def mean_over_neurons(values: Tensor) -> float | None:
    """Mean of the neurons that have a value (not NaN); None if none has.

    Args:
        values: (neuron,) a metric of each neuron.
    """
    known = values[~values.isnan()]
    return float(known.double().mean()) if len(known) else None


def median_over_neurons(values: Tensor) -> float | None:
    """Median of the neurons that have a value, the mean of the two in the middle if their number is even; or None."""
    known = values[~values.isnan()]
    return float(known.double().quantile(0.5)) if len(known) else None


class NeuronSums(Sums):
    """Float64 sums over the scored entries of each neuron. Every state has one place for each neuron.

    One metric can hold the neurons of several sessions, one session after the other; `neurons` gives the places of a
    session's neurons. The states exist from the start and are added over ranks, so ranks may see different numbers of
    batches.
    """

    higher_is_better = True

    sums: tuple[str, ...]
    """names of the states"""

    def __init__(self, n_neurons: int):
        """Start with sums of 0.

        Args:
            n_neurons: number of neurons of all sessions together.
        """
        super().__init__()
        self.n_neurons = n_neurons
        for name in self.sums:
            self.add_state(name, torch.zeros(n_neurons, dtype=torch.float64), dist_reduce_fx="sum")

    def update(
        self,
        log_rates: Tensor,
        counts: Tensor,
        *,
        neurons: Tensor | None = None,
        scored: Tensor | None = None,
    ) -> None:
        """Add a batch's entries.

        Args:
            log_rates: (trial, bin, neuron) log of the expected spikes per bin.
            counts: (trial, bin, neuron) spikes per bin.
            neurons: (neuron,) int64 place of each neuron in the metric; by default all of them, in order.
            scored: bool, broadcastable to `counts`, the entries that count; by default all.
        """
        for name, values in self.terms(log_rates.detach(), counts).items():
            if scored is not None:
                # not multiplied by 0: an entry that is not scored may be NaN or infinite
                values = torch.where(scored, values, 0)
            total = values.sum(dim=(0, 1), dtype=torch.float64)
            state = getattr(self, name)
            setattr(self, name, state + total if neurons is None else state.index_add(0, neurons, total))

    def terms(self, log_rates: Tensor, counts: Tensor) -> dict[str, Tensor]:
        """State -> (trial, bin, neuron) what each entry adds to it."""
        raise NotImplementedError


class BitsPerSpike(NeuronSums):
    """Bits per spike of each neuron over all entries seen, on all ranks."""

    model_nll: Tensor
    spikes: Tensor
    entries: Tensor

    sums = ("model_nll", "spikes", "entries")

    def terms(self, log_rates: Tensor, counts: Tensor) -> dict[str, Tensor]:
        nll = poisson_nll(log_rates, counts)
        return {"model_nll": nll, "spikes": counts, "entries": torch.ones_like(nll)}

    def compute(self) -> Tensor:
        """(neuron,) bits per spike; NaN for a neuron that was silent or never scored."""
        return bits_per_spike(self.model_nll, self.spikes, self.entries)


class RateR2(NeuronSums):
    """Single-trial R2 of each neuron: the share of its counts' variance that the expected counts explain."""

    squared_error: Tensor
    spikes: Tensor
    squared_counts: Tensor
    entries: Tensor

    sums = ("squared_error", "spikes", "squared_counts", "entries")

    def terms(self, log_rates: Tensor, counts: Tensor) -> dict[str, Tensor]:
        expected, counts = log_rates.double().exp(), counts.double()
        return {
            "squared_error": (counts - expected).square(),
            "spikes": counts,
            "squared_counts": counts.square(),
            "entries": torch.ones_like(counts),
        }

    def compute(self) -> Tensor:
        """(neuron,) R2 against the neuron's mean; NaN where counts do not vary, -inf where rates are NaN."""
        # times the number of entries: so sums of whole numbers stay exact, and counts that do not vary give exactly 0
        variation = self.entries * self.squared_counts - self.spikes.square()
        error = torch.where(self.squared_error.isnan(), torch.inf, self.squared_error)
        return torch.where(variation > 0, 1 - self.entries * error / variation, torch.nan)


class DevianceExplained(NeuronSums):
    """Share of the null's Poisson deviance that a model removes: 1 for the counts themselves, 0 for their mean.

    The deviance of a prediction is twice the difference between its cost and the cost of the counts themselves
    (`saturated_nll`).
    """

    model_nll: Tensor
    saturated_nll: Tensor
    spikes: Tensor
    squared_counts: Tensor
    entries: Tensor

    sums = ("model_nll", "saturated_nll", "spikes", "squared_counts", "entries")

    def terms(self, log_rates: Tensor, counts: Tensor) -> dict[str, Tensor]:
        counts = counts.double()
        return {
            "model_nll": poisson_nll(log_rates, counts),
            "saturated_nll": saturated_nll(counts),
            "spikes": counts,
            "squared_counts": counts.square(),
            "entries": torch.ones_like(counts),
        }

    def compute(self) -> Tensor:
        """(neuron,) share explained; NaN where counts do not vary, -inf where rates are NaN."""
        # sums of whole numbers are exact: rounding must not turn a null deviance of 0 into a tiny one
        varies = self.entries * self.squared_counts > self.spikes.square()
        null = null_nll(self.spikes, self.entries) - self.saturated_nll
        model = torch.where(self.model_nll.isnan(), torch.inf, self.model_nll) - self.saturated_nll
        return torch.where(varies, 1 - model / null, torch.nan)


class Psth(NamedTuple):
    """Trial averages by condition (peri-stimulus time histograms)."""

    observed: Tensor
    """(condition, bin, neuron) mean counts; NaN where there is no trial"""
    expected: Tensor
    """(condition, bin, neuron) mean expected counts; NaN where there is no trial"""
    trials: Tensor
    """(condition, bin, neuron) number of trials in each mean, the same at every bin"""

    def r2(self) -> Tensor:
        """(neuron,) share of the variance of the observed averages that the expected ones explain.

        Each condition is weighted by its number of trials. If each trial is a condition of its own, this is the
        single-trial R2; if all trials have one condition, it is the R2 of the trial average. NaN where the averages do
        not vary, -inf where rates are NaN.
        """
        seen = self.trials > 0
        spikes = torch.where(seen, self.trials * self.observed, 0).sum(dim=(0, 1))
        deviation = torch.where(seen, self.observed - spikes / self.trials.sum(dim=(0, 1)), 0)
        variation = (self.trials * deviation.square()).sum(dim=(0, 1))
        error = torch.where(seen, self.trials * (self.observed - self.expected).square(), 0).sum(dim=(0, 1))
        # averages are rounded fractions: variation no larger than their rounding counts as none
        varies = variation > 1e-26 * spikes.square()
        return torch.where(varies, 1 - torch.where(error.isnan(), torch.inf, error) / variation, torch.nan)


class ConditionAverages(Sums):
    """Trial averages by condition of one session's counts and expected counts."""

    spikes: Tensor
    expected: Tensor
    trials: Tensor

    def __init__(self, n_conditions: int, n_bins: int, n_neurons: int):
        """Start with sums of 0.

        Args:
            n_conditions: number of conditions.
            n_bins: bins per trial.
            n_neurons: number of neurons.
        """
        super().__init__()
        for name, n in (("spikes", n_bins), ("expected", n_bins), ("trials", 1)):
            zeros = torch.zeros(n_conditions, n, n_neurons, dtype=torch.float64)
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, log_rates: Tensor, counts: Tensor, *, condition: Tensor, neurons: Tensor | None = None) -> None:
        """Add whole trials.

        Args:
            log_rates: (trial, bin, neuron) log of the expected spikes per bin.
            counts: (trial, bin, neuron) spikes per bin.
            condition: (trial,) int64, the number of each trial's condition.
            neurons: (neuron,) int64 place of each neuron; by default all of them, in order.
        """
        counts = counts.double()
        for name, values in (
            ("spikes", counts),
            ("expected", log_rates.detach().double().exp()),
            ("trials", torch.ones_like(counts[:, :1])),
        ):
            state = getattr(self, name)
            added = state.new_zeros(*state.shape[:2], values.shape[2]).index_add(0, condition, values)
            setattr(self, name, state + added if neurons is None else state.index_add(2, neurons, added))

    def compute(self) -> Psth:
        """The trial averages."""
        return Psth(self.spikes / self.trials, self.expected / self.trials, self.trials.expand_as(self.spikes))

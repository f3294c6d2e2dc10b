"""Sums of a metric hold small entries beside large ones, whatever the batches are."""

import math

import torch

from neuromtm.metrics.spikes import BitsPerSpike, Psth, pooled_bits_per_spike


def test_a_batch_of_one_large_and_many_small_costs_is_summed_exactly():
    # in single precision 2 ** 24 + 1 is 2 ** 24
    log_rates = torch.zeros(1, 8, 1)
    log_rates[0, 0] = 24 * math.log(2)
    counts = torch.zeros(1, 8, 1, dtype=torch.uint8)
    metric = BitsPerSpike(1)
    metric.update(log_rates, counts)
    large = log_rates[0, 0].exp().item()
    assert metric.model_nll.item() == large + 7


def test_averages_that_differ_by_their_rounding_alone_have_no_r2():
    # 15 spikes in 52 trials of each condition: the sums over all conditions are rounded otherwise than those of one
    trials = 52 * torch.tensor([14, 22, 27, 32], dtype=torch.float64)[:, None, None].expand(-1, 3, 1)
    averages = Psth(15 * trials / 52 / trials, torch.full_like(trials, 0.3), trials)
    assert averages.r2().isnan().all()


def test_a_neuron_that_is_never_scored_does_not_count_in_the_pooled_score():
    cost, spikes, entries = (
        torch.tensor(values, dtype=torch.float64) for values in ([4.0, 0.0], [5.0, 0.0], [9.0, 0.0])
    )
    alone = pooled_bits_per_spike(cost[:1], spikes[:1], entries[:1])
    assert alone.isfinite()
    assert torch.equal(pooled_bits_per_spike(cost, spikes, entries), alone)

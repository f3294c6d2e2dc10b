"""Sums of a metric hold small entries beside large ones, whatever the batches are."""

import math

import torch

from neuromtm.metrics.spikes import BitsPerSpike


def test_a_batch_of_one_large_and_many_small_costs_is_summed_exactly():
    # in single precision 2 ** 24 + 1 is 2 ** 24
    log_rates = torch.zeros(1, 8, 1)
    log_rates[0, 0] = 24 * math.log(2)
    counts = torch.zeros(1, 8, 1, dtype=torch.uint8)
    metric = BitsPerSpike(1)
    metric.update(log_rates, counts)
    large = log_rates[0, 0].exp().item()
    assert metric.model_nll.item() == large + 7

"""The mean cost of targets."""

import torch

from neuromtm.metrics.loss import MeanCost


def mean_cost(*batches):
    metric = MeanCost()
    for total, n_targets in batches:
        metric.update(torch.tensor(float(total)), torch.tensor(n_targets))
    return metric.compute()


def test_batches_weigh_by_their_targets():
    assert mean_cost((3.0, 1), (5.0, 7)) == 1.0
    assert mean_cost((8.0, 8)) == 1.0


def test_a_diverged_batch_makes_the_mean_infinite():
    assert mean_cost((3.0, 1), (float("nan"), 7)) == torch.inf


def test_without_a_target_there_is_no_mean():
    assert mean_cost().isnan()

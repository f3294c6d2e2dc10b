"""Sums by trial: they add up to the bits per spike of a test, and ranks bring theirs together."""

import torch

from neuromtm.metrics.keys import BPS_KEYS
from neuromtm.metrics.spikes import BitsPerSpike, bits_per_spike
from neuromtm.metrics.trials import SumsByTrial, TrialSums

KEY = "intra_region_bps"


def predictions(n_trials=6, n_bins=5, n_neurons=3):
    generator = torch.Generator().manual_seed(0)
    log_rates = torch.randn(n_trials, n_bins, n_neurons, generator=generator) - 1
    return log_rates, torch.poisson(log_rates.exp(), generator=generator).to(torch.uint8)


def test_trials_in_any_order_and_in_parts_add_up_to_the_bits_per_spike():
    log_rates, counts = predictions()
    metric, whole = TrialSums([3, 5, 8, 9, 20, 21], n_neurons=4), BitsPerSpike(3)
    whole.update(log_rates, counts)
    numbers = torch.tensor([20, 3, 9, 8, 21, 5])
    for part in (slice(0, 2), slice(2, 6)):
        for neurons in ([0], [1, 2]):
            metric.update(
                log_rates[part][..., neurons],
                counts[part][..., neurons],
                key=KEY,
                trials=numbers[part],
                neurons=torch.tensor(neurons) + 1,
            )
    found, task = metric.compute(), BPS_KEYS.index(KEY)
    assert found.seen.all()
    assert found.scored.nonzero().tolist() == [[task, 1], [task, 2], [task, 3]]
    assert found.n_bins.tolist() == [0, 0, 5, 0]
    assert torch.equal(found.spikes[task, 0, 1:], counts[1].sum(dim=0).float())  # trial 3 is the second one given
    nll, spikes = found.model_nll[task, :, 1:].double().sum(0), found.spikes[task, :, 1:].double().sum(0)
    torch.testing.assert_close(
        bits_per_spike(nll, spikes, torch.full((3,), 30.0).double()), whole.compute(), rtol=1e-5, atol=1e-5
    )


def test_ranks_with_other_trials_give_together_what_one_gives():
    log_rates, counts = predictions()
    every = {"key": KEY, "neurons": torch.arange(3)}
    one, first, second = (TrialSums(range(6), n_neurons=3) for _ in range(3))
    one.update(log_rates, counts, trials=torch.arange(6), **every)
    first.update(log_rates[:4], counts[:4], trials=torch.arange(4), **every)
    second.update(log_rates[4:], counts[4:], trials=torch.arange(4, 6), **every)
    for name, over_ranks in one._reductions.items():
        both = torch.stack([getattr(first, name), getattr(second, name)])
        torch.testing.assert_close(over_ranks(both), getattr(one, name), msg=name)


def test_trials_and_neurons_that_were_not_scored_are_known():
    log_rates, counts = predictions(n_trials=2)
    metric = TrialSums(range(4), n_neurons=3)
    metric.update(log_rates[..., :1], counts[..., :1], key=KEY, trials=torch.tensor([1, 3]), neurons=torch.tensor([2]))
    found = metric.compute()
    assert isinstance(found, SumsByTrial)
    assert found.seen.tolist() == [False, True, False, True]
    assert found.scored.sum() == 1

"""The four activity tasks of the test, one neuron and one trial at a time: MtM, NeurIPS 2024, section 5."""

import math

import pytest
import torch

from neuromtm.evaluation.tasks import TASKS, hidden_rates, n_forward_bins, predict_task
from neuromtm.masking.objective import Objective
from neuromtm.metrics.spikes import BitsPerSpike
from neuromtm.models.stitching import VisibleGroup
from tests.models.small_models import N_BINS, REGIONS, make_group, make_model

PROMPTS = {
    "co_smoothing": "neuron",
    "forward_prediction": "causal",
    "intra_region": "intra_region",
    "inter_region": "inter_region",
}
LAST_BINS = 1
"""a tenth of the ten bins of a trial"""


def hidden_with(task, neuron):
    """(bin, neuron) bool, what the task hides while it asks for a neuron; None if it does not ask for it."""
    others = [i for i, region in enumerate(REGIONS) if region == REGIONS[neuron] and i != neuron]
    hidden = torch.zeros(N_BINS, len(REGIONS), dtype=torch.bool)
    if task == "forward_prediction":
        hidden[-LAST_BINS:] = True
        return hidden
    if task != "co_smoothing" and REGIONS[neuron] == "root":
        return None
    hidden[:, neuron] = True
    if task == "inter_region":
        hidden[:, others] = True
    if task == "intra_region":
        if not others:
            return None
        hidden[:] = True
        hidden[:, others] = False
    return hidden


@pytest.fixture(scope="module")
def model():
    return make_model(mask_input=True)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_hides_scores_and_asks_as_its_definition_says(model, task):
    group = make_group(model.sessions["a"])
    bins = slice(-LAST_BINS, None) if task == "forward_prediction" else slice(None)
    found, bps = {}, BitsPerSpike(len(REGIONS))
    with torch.no_grad():
        for held_out in predict_task(task, model, Objective(), group):
            bps.update(held_out.log_rates, held_out.counts, neurons=held_out.neurons)
            for column, neuron in enumerate(held_out.neurons.tolist()):
                assert neuron not in found
                found[neuron] = held_out.log_rates[..., column], held_out.counts[..., column]
        shown = hidden_rates(task, model, Objective(), group)
    scores = bps.compute()
    for neuron in range(len(REGIONS)):
        hidden = hidden_with(task, neuron)
        assert (hidden is not None) == (neuron in found)
        if hidden is None:
            assert scores[neuron].isnan()
            assert shown[..., neuron].isnan().all()
            continue
        hidden = hidden.expand_as(group.counts)
        with torch.no_grad():
            visible = VisibleGroup("a", torch.where(hidden, 0, group.counts), hidden)
            by_hand = model([visible], PROMPTS[task]).log_rates[0][:, bins, neuron]
        log_rates, counts = found[neuron]
        torch.testing.assert_close(log_rates, by_hand, rtol=1e-9, atol=1e-9)
        assert torch.equal(counts, group.counts[:, bins, neuron])
        torch.testing.assert_close(shown[:, bins, neuron].double(), by_hand.exp(), rtol=1e-5, atol=1e-6)
        assert scores[neuron].item() == pytest.approx(bits_per_spike_by_hand(by_hand, counts), rel=1e-9)


def bits_per_spike_by_hand(log_rates, counts):
    """Log likelihood ratio to the mean rate, in bits per spike (Pei et al. 2021, section 3.2)."""
    pairs = list(zip(log_rates.flatten().tolist(), counts.flatten().tolist(), strict=True))
    n_spikes = sum(count for _, count in pairs)
    mean = n_spikes / len(pairs)
    gain = sum((count * log_rate - math.exp(log_rate)) - (count * math.log(mean) - mean) for log_rate, count in pairs)
    return gain / n_spikes / math.log(2)


@pytest.mark.parametrize(("n_bins", "n_last"), [(1, 1), (10, 1), (20, 2), (36, 4), (38, 4), (100, 10)])
def test_the_future_is_the_last_tenth_of_the_bins_to_the_nearest_whole(n_bins, n_last):
    assert n_forward_bins(n_bins) == n_last

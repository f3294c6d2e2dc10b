"""A session's figures from those of its neurons."""

import numpy as np
import pytest
import torch

from neuromtm.evaluation.scores import activity_means, pooled, psth_scores
from neuromtm.metrics.spikes import ConditionAverages
from tests.evaluation.test_results import NAN, neurons


def test_a_task_without_a_scored_neuron_has_no_mean():
    means = activity_means(neurons(co_smoothing_bps=[0.2, NAN, 0.4]))
    assert means["co_smoothing_bps"] == pytest.approx(0.3)
    assert means["intra_region_bps"] is None


def test_without_averages_as_in_a_validation_their_figures_are_undefined():
    found = psth_scores(None, 3, bin_size_s=0.02)
    assert found["psth_r2"].isnan().tolist() == found["firing_rate_hz"].isnan().tolist() == [True] * 3


def test_the_firing_rate_is_spikes_over_the_time_of_all_trials():
    counts = torch.poisson(torch.full((7, 5, 2), 0.4), generator=torch.Generator().manual_seed(0))
    averages = ConditionAverages(3, 5, 2)
    averages.update(counts, counts, condition=torch.tensor([0, 2, 2, 0, 2, 2, 2]))
    found = psth_scores(averages.compute(), 2, bin_size_s=0.02)["firing_rate_hz"]
    torch.testing.assert_close(found, counts.double().sum(dim=(0, 1)) / (7 * 5 * 0.02))


def test_the_neurons_of_all_sessions_stand_one_after_the_other():
    found = pooled([neurons("a", r2=[0.1, NAN, 0.3]), neurons("b", r2=[4.0, 5.0, 6.0])], "r2")
    np.testing.assert_array_equal(found, [0.1, NAN, 0.3, 4.0, 5.0, 6.0])

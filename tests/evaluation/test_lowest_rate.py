"""No score takes a rate below the lowest one, of models and baselines alike; medians stand beside the means."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from neuromtm.baselines.session import score_tasks
from neuromtm.batch import SessionInfo
from neuromtm.data.manifest import add_shard
from neuromtm.data.shards import write_shard
from neuromtm.evaluation.psth import task_conditions
from neuromtm.evaluation.results import metrics_of
from neuromtm.evaluation.scores import first_heard_in_test, session_scores
from neuromtm.evaluation.tasks import HeldOut
from neuromtm.metrics.keys import BPS_KEYS, MEDIAN_KEYS
from neuromtm.metrics.spikes import LOWEST_RATE_HZ, scored_log_rates
from neuromtm.report.tables import print_comparison
from tests.data.small_shards import Session, make_shard
from tests.running import neuromtm

BIN_SIZE_S = 0.02
N_TRIALS, N_BINS, N_NEURONS = 50, 20, 5
N_ENTRIES = N_TRIALS * N_BINS


class Certain:
    """Predicts nothing at all of neuron 0, and the mean rate of the others."""

    def __init__(self, rate_of_0):
        self.log_rates = np.log(np.array([rate_of_0, *[0.1] * (N_NEURONS - 1)], np.float32))

    def predict(self, counts):
        log_rates = torch.from_numpy(np.broadcast_to(self.log_rates, counts.shape).copy())
        yield HeldOut(log_rates, torch.from_numpy(counts), torch.arange(N_NEURONS))


def counts_with_one_spike_of_0():
    counts = np.random.default_rng(0).poisson(0.1, (N_TRIALS, N_BINS, N_NEURONS)).astype(np.float32)
    counts[..., 0] = 0
    counts[7, 3, 0] = 1
    return counts


def scored(rate_of_0):
    counts = counts_with_one_spike_of_0()
    unknown = task_conditions(np.zeros(N_TRIALS), np.full(N_TRIALS, np.nan), np.arange(N_TRIALS))
    return score_tasks(
        {"co_smoothing": Certain(rate_of_0)},
        counts,
        SessionInfo("one", tuple("abcde"), ("CA1",) * N_NEURONS),
        conditions=unknown,
        bin_size_s=BIN_SIZE_S,
        trials=np.arange(N_TRIALS),
        subject="mouse",
    )


def bps_by_hand(rate):
    """Of one spike among the entries, and the same rate at all of them."""
    null = 1 + math.log(N_ENTRIES)
    return (null - (N_ENTRIES * rate - math.log(rate))) / math.log(2)


@pytest.mark.parametrize("rate", [1e-30, 1e-9, 1e-6, LOWEST_RATE_HZ * BIN_SIZE_S])
def test_a_spike_that_nothing_foretold_costs_what_it_does_at_the_lowest_rate(rate):
    found = scored(rate).columns["co_smoothing_bps"][0].item()
    assert found == pytest.approx(bps_by_hand(LOWEST_RATE_HZ * BIN_SIZE_S), abs=1e-4)
    assert found > -5 > bps_by_hand(1e-6)


def test_rates_above_the_lowest_are_scored_as_they_are():
    rate = 2 * LOWEST_RATE_HZ * BIN_SIZE_S
    assert scored(rate).columns["co_smoothing_bps"][0].item() == pytest.approx(bps_by_hand(rate), abs=1e-4)


def test_a_rate_that_diverged_stays_no_number():
    assert scored_log_rates(torch.tensor([math.nan]), bin_size_s=BIN_SIZE_S).isnan().all()


def test_the_median_stays_where_one_neuron_moves_the_mean():
    one, other = (session_scores(scored(rate)).metrics() for rate in (1e-30, 1 / N_ENTRIES))
    assert one["co_smoothing_bps"] < other["co_smoothing_bps"] - 0.3
    assert one["co_smoothing_bps_median"] == pytest.approx(other["co_smoothing_bps_median"], abs=0.02)
    columns = scored(1e-30).columns["co_smoothing_bps"].numpy()
    assert one["co_smoothing_bps_median"] == pytest.approx(np.median(columns), abs=1e-12)
    metrics = metrics_of([session_scores(scored(1e-30))])
    assert metrics["mean"].keys() == metrics["sessions"]["one"].keys() == {BPS_KEYS[0], MEDIAN_KEYS[0]}
    text = io.StringIO()
    print_comparison({"one": metrics, "old": {"sessions": {"one": {}}, "mean": {}}}, text)
    assert "Median over the neurons of a session" in text.getvalue()


def test_a_neuron_that_is_first_heard_in_the_test_is_named():
    line = first_heard_in_test(scored(1e-30), np.array([True, False, False, False, False]))
    assert line is not None
    assert line.startswith("one: fires in the test but in no training trial: a. ")
    assert first_heard_in_test(scored(1e-30), np.zeros(N_NEURONS, bool)) is None


def test_a_baseline_command_names_it_too(tmp_path, capsys):
    shard = make_shard(Session("mouse", role="heldout"))
    counts = shard.counts.copy()
    counts[np.setdiff1d(np.arange(len(counts)), shard.header.splits["test"]), :, 1] = 0
    counts[shard.header.splits["test"], :, 1] = 1
    write_shard(tmp_path / "mouse.h5", replace(shard, counts=counts))
    add_shard(tmp_path / "mouse.h5", "heldout")
    neuromtm("baseline", "--data", tmp_path, "--kind", "psth", "--out", tmp_path / "out")
    said = capsys.readouterr().out
    assert "mouse: fires in the test but in no training trial: mouse-1. " in said
    assert set(MEDIAN_KEYS) <= json.loads((tmp_path / "out" / "metrics.json").read_text())["mean"].keys()

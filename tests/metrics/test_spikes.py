"""Bits per spike and R2 are what their definitions say, however the entries are dealt out."""

import math
from itertools import pairwise

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from hypothesis import given
from hypothesis import strategies as st

from neuromtm.metrics.spikes import (
    BitsPerSpike,
    ConditionAverages,
    DevianceExplained,
    RateR2,
    bits_per_spike,
    mean_over_neurons,
    null_nll,
    poisson_nll,
    pooled_bits_per_spike,
    saturated_nll,
)


def draw(seed, trials=6, bins=5, neurons=4):
    """Counts of mean 1 and log-rates that know nothing of them, (trial, bin, neuron)."""
    generator = torch.Generator().manual_seed(seed)
    counts = torch.poisson(torch.ones(trials, bins, neurons), generator=generator).to(torch.uint8)
    counts[0, 0] = 2  # no neuron is silent, none constant
    return torch.randn(trials, bins, neurons, generator=generator), counts


def by_hand(log_rates, counts):
    """Bits per spike of one neuron, one entry at a time."""
    pairs = list(zip(log_rates.flatten().tolist(), counts.flatten().tolist(), strict=True))
    mean = sum(x for _, x in pairs) / len(pairs)
    null = sum(mean - x * math.log(mean) for _, x in pairs)
    model = sum(math.exp(r) - x * r for r, x in pairs)
    return (null - model) / sum(x for _, x in pairs) / math.log(2)


def r2_by_hand(log_rates, counts):
    pairs = list(zip(log_rates.flatten().tolist(), counts.flatten().tolist(), strict=True))
    mean = sum(x for _, x in pairs) / len(pairs)
    return 1 - sum((x - math.exp(r)) ** 2 for r, x in pairs) / sum((x - mean) ** 2 for _, x in pairs)


def deviance_by_hand(log_rates, counts):
    """Deviance explained of one neuron: 2 (x log(x / r) - x + r), one entry at a time."""
    pairs = list(zip(log_rates.flatten().tolist(), counts.flatten().tolist(), strict=True))
    mean = sum(x for _, x in pairs) / len(pairs)
    model = sum(2 * ((x * (math.log(x) - r) if x else 0) - x + math.exp(r)) for r, x in pairs)
    null = sum(2 * ((x * math.log(x / mean) if x else 0) - x + mean) for _, x in pairs)
    return 1 - model / null


DEFINITIONS = [(BitsPerSpike, by_hand), (RateR2, r2_by_hand), (DevianceExplained, deviance_by_hand)]
METRICS = [metric_type for metric_type, _ in DEFINITIONS]
every = pytest.mark.parametrize("metric_type", METRICS)


def score(metric_type, *batches, n_neurons=4):
    """A metric's figures after batches, each (log_rates, counts) or (log_rates, counts, options)."""
    metric = metric_type(n_neurons)
    for log_rates, counts, *options in batches:
        metric.update(log_rates, counts, **(options[0] if options else {}))
    return metric.compute()


@pytest.mark.parametrize(("metric_type", "definition"), DEFINITIONS)
@given(seed=st.integers(0, 10_000))
def test_a_metric_equals_its_definition_entry_by_entry(metric_type, definition, seed):
    log_rates, counts = draw(seed)
    found = score(metric_type, (log_rates, counts))
    assert found.tolist() == pytest.approx([definition(log_rates[..., i], counts[..., i]) for i in range(4)], rel=1e-5)


def sums_of(log_rates, counts):
    """(neuron,) cost, spikes and entries."""
    counts = counts.double()
    entries = torch.full(counts.shape[2:], counts[..., 0].numel(), dtype=torch.float64)
    return poisson_nll(log_rates.double(), counts).sum((0, 1)), counts.sum((0, 1)), entries


@given(seed=st.integers(0, 10_000))
def test_pooled_bits_per_spike_equal_the_benchmark_s_definition_entry_by_entry(seed):
    """As `bits_per_spike` of the Neural Latents Benchmark: the null of each neuron, the spikes of all."""
    log_rates, counts = draw(seed)
    counts[..., 3] = 0  # a silent neuron is in the sum, too
    gain, spikes = 0.0, 0
    for i in range(counts.shape[2]):
        pairs = list(zip(log_rates[..., i].flatten().tolist(), counts[..., i].flatten().tolist(), strict=True))
        mean = sum(x for _, x in pairs) / len(pairs)
        gain += sum(mean - (x * math.log(mean) if x else 0) for _, x in pairs)
        gain -= sum(math.exp(r) - x * r for r, x in pairs)
        spikes += sum(x for _, x in pairs)
    pooled = pooled_bits_per_spike(*sums_of(log_rates, counts))
    assert pooled.item() == pytest.approx(gain / spikes / math.log(2), rel=1e-9)


def test_pooled_bits_per_spike_are_undefined_without_spikes_and_the_worst_where_rates_are_nan():
    log_rates, counts = draw(0)
    assert pooled_bits_per_spike(*sums_of(log_rates, torch.zeros_like(counts))).isnan()
    log_rates[0, 0, 1] = torch.nan
    assert pooled_bits_per_spike(*sums_of(log_rates, counts)).item() == -math.inf


@given(seed=st.integers(0, 10_000))
def test_bits_per_spike_are_zero_for_the_mean_rate(seed):
    _, counts = draw(seed)
    mean = counts.double().mean(dim=(0, 1)).log().expand(counts.shape)
    torch.testing.assert_close(score(BitsPerSpike, (mean, counts)), torch.zeros(4).double(), atol=1e-12, rtol=0)


@given(seed=st.integers(0, 10_000))
def test_no_constant_rate_beats_the_null(seed):
    log_rates, counts = draw(seed)
    assert (score(BitsPerSpike, (log_rates[:1, :1].expand(counts.shape), counts)) <= 0).all()


def test_the_closed_form_of_the_null_is_the_cost_of_the_mean():
    _, counts = draw(0)
    mean = counts.double().mean(dim=(0, 1))
    cost = poisson_nll(mean.log().expand(counts.shape), counts).sum(dim=(0, 1))
    torch.testing.assert_close(null_nll(counts.sum(dim=(0, 1)).double(), torch.full((4,), 30.0).double()), cost)


@every
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 6), max_size=4))
def test_any_split_into_batches_gives_the_same(metric_type, seed, cuts):
    log_rates, counts = draw(seed)
    edges = [0, *sorted(cuts), 6]
    batches = [(log_rates[a:b], counts[a:b]) for a, b in pairwise(edges)]
    torch.testing.assert_close(score(metric_type, *batches), score(metric_type, (log_rates, counts)))


@every
def test_the_mean_of_batch_figures_would_be_another_number(metric_type):
    log_rates, counts = draw(0)
    batches = [score(metric_type, (log_rates[i : i + 1], counts[i : i + 1])) for i in range(6)]
    assert not torch.allclose(torch.stack(batches).mean(dim=0), score(metric_type, (log_rates, counts)), rtol=1e-3)


@every
@given(seed=st.integers(0, 10_000))
def test_entries_that_are_not_scored_do_not_count_whatever_they_hold(metric_type, seed):
    log_rates, counts = draw(seed, trials=8)
    scored = torch.zeros(8, 1, 1, dtype=torch.bool)
    scored[:6] = True
    log_rates[6], log_rates[7] = torch.nan, torch.inf
    found = score(metric_type, (log_rates, counts, {"scored": scored}))
    torch.testing.assert_close(found, score(metric_type, (log_rates[:6], counts[:6])))


@every
def test_neurons_go_to_their_places_and_the_others_stay_unscored(metric_type):
    log_rates, counts = draw(0)
    places = torch.tensor([6, 0, 3, 1])
    found = score(metric_type, (log_rates, counts, {"neurons": places}), n_neurons=7)
    torch.testing.assert_close(found[places], score(metric_type, (log_rates, counts)))
    assert found[[2, 4, 5]].isnan().all()


@every
def test_neurons_scored_one_at_a_time_give_what_all_at_once_give(metric_type):
    log_rates, counts = draw(0)
    alone = [(log_rates[..., i : i + 1], counts[..., i : i + 1], {"neurons": torch.tensor([i])}) for i in range(4)]
    torch.testing.assert_close(score(metric_type, *alone), score(metric_type, (log_rates, counts)))


@every
def test_a_silent_neuron_has_no_figure_and_is_left_out_of_the_mean(metric_type):
    log_rates, counts = draw(0)
    counts[..., 1] = 0
    found = score(metric_type, (log_rates, counts))
    assert found.isnan().tolist() == [False, True, False, False]
    assert mean_over_neurons(found) == pytest.approx(found[[0, 2, 3]].mean().item())


@pytest.mark.parametrize("metric_type", [RateR2, DevianceExplained])
@pytest.mark.parametrize("count", [1, 3, 7])
def test_a_neuron_whose_count_never_varies_has_no_share_explained(metric_type, count):
    log_rates, counts = draw(0)
    counts[..., 2] = count
    assert score(metric_type, (log_rates, counts)).isnan().tolist() == [False, False, True, False]


@given(seed=st.integers(0, 10_000))
def test_the_counts_themselves_explain_all_the_deviance_and_their_mean_none(seed):
    _, counts = draw(seed)
    mean = counts.double().mean(dim=(0, 1)).log().expand(counts.shape)
    torch.testing.assert_close(score(DevianceExplained, (mean, counts)), torch.zeros(4).double(), atol=1e-12, rtol=0)
    # the log of no spike is as low as it gets without being infinite
    best = counts.double().clamp(min=1e-12).log()
    torch.testing.assert_close(score(DevianceExplained, (best, counts)), torch.ones(4).double(), atol=1e-9, rtol=0)


@given(seed=st.integers(0, 10_000))
def test_no_prediction_costs_less_than_the_saturated_one(seed):
    log_rates, counts = draw(seed)
    assert (poisson_nll(log_rates.double(), counts) >= saturated_nll(counts) - 1e-12).all()


@given(seed=st.integers(0, 10_000))
def test_deviance_explained_and_bits_per_spike_agree_on_what_beats_the_mean(seed):
    log_rates, counts = draw(seed)
    bps, share = (score(kind, (log_rates, counts)) for kind in (BitsPerSpike, DevianceExplained))
    assert ((bps > 0) == (share > 0)).all()


@given(seed=st.integers(0, 10_000))
def test_deviance_explained_is_the_bits_per_spike_divided_by_those_of_the_counts_themselves(seed):
    log_rates, counts = draw(seed)
    best = counts.double().clamp(min=1e-12).log()
    bps, of_counts = (score(BitsPerSpike, (predicted, counts)) for predicted in (log_rates, best))
    share = score(DevianceExplained, (log_rates, counts))
    torch.testing.assert_close((bps / of_counts)[~share.isnan()], share[~share.isnan()], atol=1e-6, rtol=1e-6)


@every
def test_rates_that_diverged_are_the_worst_figure_not_a_missing_one(metric_type):
    log_rates, counts = draw(0)
    log_rates[2, 1, 3] = torch.nan
    found = score(metric_type, (log_rates, counts))
    assert found[3] == -torch.inf
    assert mean_over_neurons(found) == -math.inf


def test_the_mean_over_no_neurons_is_none():
    assert mean_over_neurons(torch.tensor([torch.nan, torch.nan])) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rates_cost_what_they_cost_in_single(dtype):
    log_rates, counts = draw(0)
    log_rates = log_rates.to(dtype)
    cost = poisson_nll(log_rates, counts)
    assert cost.dtype == torch.float32
    torch.testing.assert_close(cost, poisson_nll(log_rates.float(), counts), rtol=0, atol=0)


def test_the_cost_is_the_poisson_likelihood_but_for_its_constant():
    log_rates, counts = draw(0)
    density = torch.distributions.Poisson(log_rates.exp()).log_prob(counts.float())
    torch.testing.assert_close(poisson_nll(log_rates, counts), -density - torch.lgamma(counts + 1.0))


@every
def test_sums_stay_in_double_precision_when_the_module_is_halved(metric_type):
    log_rates, counts = draw(0)
    module = torch.nn.ModuleDict({"metric": metric_type(4)}).to(torch.bfloat16)
    module["metric"].update(log_rates, counts)
    torch.testing.assert_close(module["metric"].compute(), score(metric_type, (log_rates, counts)))


@every
def test_counts_of_two_bytes_score_like_those_of_one(metric_type):
    log_rates, counts = draw(0)
    scored = torch.ones(1, 5, 1, dtype=torch.bool)
    found = score(metric_type, (log_rates, counts.to(torch.uint16), {"scored": scored}))
    torch.testing.assert_close(found, score(metric_type, (log_rates, counts)))


def test_figures_of_sums_without_entries_are_nan_not_an_error():
    none = torch.zeros(2, dtype=torch.float64)
    assert bits_per_spike(none, none, none).isnan().all()


SHARES = {"uneven": ([slice(0, 3), slice(3, 5)], [slice(5, 6)]), "one idle": ([slice(0, 6)], [])}
"""name -> the batches of trials that each of two processes sees"""


def _score_one_share(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    log_rates, counts = draw(0)
    for name, shares in SHARES.items():
        for metric_type in METRICS:
            found = score(metric_type, *((log_rates[trials], counts[trials]) for trials in shares[rank]))
            torch.save(found, f"{folder}/{name}-{metric_type.__name__}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_with_uneven_shares_give_what_one_gives(tmp_path):
    torch.multiprocessing.spawn(_score_one_share, args=(str(tmp_path),), nprocs=2)
    for metric_type in METRICS:
        alone = score(metric_type, draw(0))
        for path in tmp_path.glob(f"*-{metric_type.__name__}-*.pt"):
            torch.testing.assert_close(torch.load(path, weights_only=True), alone)
    assert len(list(tmp_path.glob("*.pt"))) == 12


# ---- trial averages by condition ----


def psth_by_hand(log_rates, counts, condition):
    """R2 of one neuron's averages, condition by condition and bin by bin, each weighted by its trials."""
    trials, bins = counts.shape
    pairs = []  # weight, observed, expected
    for one in set(condition):
        own = [i for i in range(trials) if condition[i] == one]
        for t in range(bins):
            observed = sum(counts[i][t].item() for i in own) / len(own)
            expected = sum(math.exp(log_rates[i][t].item()) for i in own) / len(own)
            pairs.append((len(own), observed, expected))
    mean = sum(w * o for w, o, _ in pairs) / sum(w for w, _, _ in pairs)
    return 1 - sum(w * (o - e) ** 2 for w, o, e in pairs) / sum(w * (o - mean) ** 2 for w, o, _ in pairs)


def averages(*batches, n_conditions=3, n_neurons=4):
    """A metric's averages after batches, each (log_rates, counts, condition) or with places of neurons."""
    metric = ConditionAverages(n_conditions, 5, n_neurons)
    for log_rates, counts, condition, *places in batches:
        metric.update(log_rates, counts, condition=condition, neurons=places[0] if places else None)
    return metric.compute()


conditions = st.lists(st.integers(0, 2), min_size=6, max_size=6).map(torch.tensor)


@given(seed=st.integers(0, 10_000), condition=conditions)
def test_psth_r2_equals_its_definition_average_by_average(seed, condition):
    log_rates, counts = draw(seed)
    found = averages((log_rates, counts, condition)).r2()
    by_hand = [psth_by_hand(log_rates[..., i], counts[..., i], condition.tolist()) for i in range(4)]
    assert found.tolist() == pytest.approx(by_hand, rel=1e-5)


@given(seed=st.integers(0, 10_000), condition=conditions, cut=st.integers(0, 6))
def test_any_split_into_batches_gives_the_same_averages(seed, condition, cut):
    log_rates, counts = draw(seed)
    parts = [(log_rates[own], counts[own], condition[own]) for own in (slice(cut), slice(cut, None))]
    found, whole = averages(*parts), averages((log_rates, counts, condition))
    for one, other in zip(found, whole, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    torch.testing.assert_close(found.r2(), whole.r2())


def test_a_condition_a_trial_gives_the_single_trial_r2():
    log_rates, counts = draw(0)
    found = averages((log_rates, counts, torch.arange(6)), n_conditions=6).r2()
    torch.testing.assert_close(found, score(RateR2, (log_rates, counts)))


def test_the_right_average_of_wrong_trials_explains_all_of_the_psth():
    _, counts = draw(0)
    shuffled = counts[torch.tensor([1, 2, 0, 4, 5, 3])].double().log()
    condition = torch.tensor([0, 0, 0, 2, 2, 2])
    torch.testing.assert_close(averages((shuffled, counts, condition)).r2(), torch.ones(4).double())


def test_a_neuron_whose_averages_do_not_vary_has_no_psth_r2_though_its_trials_do():
    log_rates, counts = draw(0)
    counts[..., 1] = torch.tensor([0, 1, 0] * 2)[:, None]  # the average of each condition is 1/3 in every bin
    found = averages((log_rates, counts, torch.tensor([0, 0, 0, 1, 1, 1]))).r2()
    assert found.isnan().tolist() == [False, True, False, False]


def test_rates_that_diverged_are_the_worst_psth_and_a_condition_without_trials_counts_nothing():
    log_rates, counts = draw(0)
    log_rates[0, 0, 3] = torch.nan
    condition = torch.tensor([0, 0, 0, 2, 2, 2])
    found = averages((log_rates, counts, condition))
    assert found.observed[1].isnan().all()
    assert found.r2()[3] == -torch.inf
    assert found.r2()[:3].isfinite().all()


def test_averages_of_neurons_go_to_their_places():
    log_rates, counts = draw(0)
    condition, places = torch.tensor([0, 1, 2, 0, 1, 2]), torch.tensor([6, 0, 3, 1])
    found = averages((log_rates, counts, condition, places), n_neurons=7)
    torch.testing.assert_close(found.r2()[places], averages((log_rates, counts, condition)).r2())
    assert found.r2()[[2, 4, 5]].isnan().all()


def test_a_session_of_one_neuron_and_one_condition_has_its_psth_r2():
    log_rates, counts = draw(0, neurons=1)
    found = averages((log_rates, counts, torch.zeros(6, dtype=torch.int64)), n_conditions=1, n_neurons=1).r2()
    assert found.shape == (1,)


def _average_one_share(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    log_rates, counts = draw(0)
    condition = torch.tensor([0, 1, 1, 0, 2, 2])
    for name, shares in SHARES.items():
        parts = [(log_rates[trials], counts[trials], condition[trials]) for trials in shares[rank]]
        torch.save(averages(*parts).r2(), f"{folder}/{name}-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_average_over_the_trials_of_both(tmp_path):
    torch.multiprocessing.spawn(_average_one_share, args=(str(tmp_path),), nprocs=2)
    log_rates, counts = draw(0)
    alone = averages((log_rates, counts, torch.tensor([0, 1, 1, 0, 2, 2]))).r2()
    found = list(tmp_path.glob("*.pt"))
    assert len(found) == 4
    for path in found:
        torch.testing.assert_close(torch.load(path, weights_only=True), alone)

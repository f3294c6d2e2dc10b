"""Spike tokens: the listing of spikes, attention to them against one token a spike, causality, silence, options."""

import math

import pytest
import small_models
import torch
from small_models import N_BINS, REGIONS, every_pair, scatter
from torch import Tensor, nn
from torch.nn import functional

from neuromtm.batch import Scheme
from neuromtm.errors import ConfigError
from neuromtm.models import blocks, spike_tokens
from neuromtm.models.interface import Backbone, SessionInput
from neuromtm.models.spike_tokens import CrossAttention, Spikes, SpikeTokens, n_slots_of, spikes_of
from neuromtm.models.stitching import StitchedModel, VisibleGroup

STEPS = [{"step_bins": 1}, {"step_bins": 3}, {"step_bins": 5, "n_latents": 1}, {"step_bins": 16, "n_latents": 3}]
steps = pytest.mark.parametrize("options", STEPS, ids=lambda o: "-".join(f"{name}{size}" for name, size in o.items()))
both = pytest.mark.parametrize("scheme", ["neuron", "causal"])


def make_model(**options: object) -> StitchedModel:
    """A scattered model in evaluation mode, in double precision, which knows `a` and `b`."""
    return small_models.make_model(backbone="SpikeTokens", **options)


def sparse_counts(seed: int = 0) -> Tensor:
    """(trial, bin, neuron) counts as recorded: mostly 0, some bins and a trial without any spike, a silent neuron."""
    counts = torch.poisson(torch.full((3, N_BINS, len(REGIONS)), 0.4), torch.Generator().manual_seed(seed)).double()
    counts[0, 2:5], counts[1], counts[..., 6] = 0, 0, 0
    assert {0, 1, 2} <= set(counts.unique().tolist())
    return counts


def log_rates_of(model: StitchedModel, counts: Tensor, scheme: Scheme = "neuron") -> Tensor:
    with torch.no_grad():
        return model([VisibleGroup("a", counts)], scheme).log_rates[0]


# ---- the listing of spikes


def test_spikes_are_listed_by_step_with_their_bin_neuron_and_number():
    counts = torch.zeros(2, 3, 4)
    counts[0, 0, 3], counts[0, 1, 0], counts[0, 1, 2] = 1, 3, 1  # step 0 of trial 0: bins 0 and 1
    counts[1, 2, 1] = 2  # step 1 of trial 1: bin 2, and a bin that the trial does not have
    spikes = spikes_of(counts, step_bins=2)
    assert spikes.entry.tolist() == [[3, 4, 6], [0, 0, 0], [0, 0, 0], [1, 0, 0]]
    n_spikes = torch.tensor([[1.0, 3, 1], [0, 0, 0], [0, 0, 0], [2, 0, 0]])
    torch.testing.assert_close(spikes.log_count, n_spikes.log())


def test_a_listing_without_any_spike_is_empty():
    spikes = spikes_of(torch.zeros(2, 3, 4), step_bins=1)
    assert spikes.entry.shape == spikes.log_count.shape == (6, 0)


def listed_by_nonzero(counts: Tensor, *, step_bins: int) -> Spikes:
    """The slow twin of `spikes_of`: it reads the device to find the spikes."""
    counts = functional.pad(counts, (0, 0, 0, -counts.shape[1] % step_bins))
    rows = counts.unflatten(1, (-1, step_bins)).flatten(0, 1).flatten(1)
    row, entry = (rows > 0).nonzero(as_tuple=True)
    n_used = (rows > 0).sum(dim=1)
    place = row, torch.arange(len(row)) - (n_used.cumsum(0) - n_used)[row]
    shape = (len(rows), int(n_used.max()))
    log_count = rows.new_full(shape, -torch.inf).index_put(place, rows[row, entry].log())
    return Spikes(rows.new_zeros(shape, dtype=torch.int64).index_put(place, entry), log_count)


@steps
@pytest.mark.parametrize("n_more", [0, 1, 5])
def test_the_listing_is_that_of_nonzero_with_the_slots_asked_for(n_more, options):
    step_bins = options["step_bins"]
    for seed in range(5):
        counts = sparse_counts(seed).requires_grad_()
        expected = listed_by_nonzero(counts, step_bins=step_bins)
        n_used = expected.entry.shape[1]
        found = spikes_of(counts, step_bins=step_bins, n_slots=n_used + n_more if n_more else None)
        assert torch.equal(found.entry[:, :n_used], expected.entry)
        assert torch.equal(found.log_count[:, :n_used], expected.log_count)
        assert not found.entry[:, n_used:].any()
        assert (found.log_count[:, n_used:] == -torch.inf).all()
        for one, other in zip(*(gradient_of(listing, counts) for listing in (found, expected)), strict=True):
            torch.testing.assert_close(one, other)


def gradient_of(spikes: Spikes, counts: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(spikes.log_count.exp().square().sum(), counts)


@steps
def test_a_session_s_counts_of_active_neurons_give_enough_slots_for_the_step_with_the_most(options):
    step_bins, inputs = options["step_bins"], []
    for seed in range(3):
        counts = sparse_counts(seed)
        inputs.append(SessionInput(nn.Identity(), counts, torch.zeros_like(counts).bool(), (counts > 0).sum(dim=2)))
    needed = [spikes_of(session.visible, step_bins=step_bins).entry.shape[1] for session in inputs]
    assert n_slots_of(inputs, step_bins=step_bins) == max(needed)
    assert n_slots_of(inputs[:1], step_bins=step_bins) == needed[0]
    assert n_slots_of([*inputs, inputs[0]._replace(n_active=None)], step_bins=step_bins) is None
    silent = inputs[0]._replace(n_active=torch.zeros(1, N_BINS, dtype=torch.int64))
    assert n_slots_of([silent], step_bins=step_bins) == 1


@both
def test_more_slots_than_needed_change_nothing(scheme):
    model, counts = make_model(step_bins=2), sparse_counts()
    with torch.no_grad():
        more = model([VisibleGroup("a", counts, None, (counts > 0).sum(dim=2) + 2)], scheme).log_rates[0]
    torch.testing.assert_close(more, log_rates_of(model, counts, scheme), rtol=1e-12, atol=1e-12)


@steps
def test_the_listing_holds_every_spike_and_nothing_else(options):
    counts, step_bins = sparse_counts(), options["step_bins"]
    spikes = spikes_of(counts, step_bins=step_bins)
    n_steps = -(-N_BINS // step_bins)
    found = torch.zeros(3, n_steps * step_bins, len(REGIONS)).double()
    for row, (entries, log_counts) in enumerate(zip(*spikes, strict=True)):
        for entry, log_count in zip(entries.tolist(), log_counts.tolist(), strict=True):
            if log_count > -math.inf:
                place = row // n_steps, row % n_steps * step_bins + entry // len(REGIONS), entry % len(REGIONS)
                assert found[place] == 0
                found[place] = math.exp(log_count)
    torch.testing.assert_close(found[:, :N_BINS], counts)
    assert not found[:, N_BINS:].any()


# ---- attention to spikes


def reads_one_token_a_spike(model: StitchedModel, counts: Tensor, scheme: Scheme) -> Tensor:
    """The slow twin of `read_spikes` for one trial: no padding, no weights, k tokens for k spikes of a neuron."""
    backbone, stitcher = model.backbone, model.stitchers["session:a"]
    prefix, step_bins = backbone.prefix(stitcher, scheme), backbone.step_bins
    read = []
    for first in range(0, N_BINS, step_bins):
        queries = [(latent, (step_bins - 1) / 2, step_bins - 1) for latent in backbone.latents]
        queries += [(backbone.bin, bin_, bin_) for bin_ in range(step_bins)]
        for query, position, latest in queries:
            tokens, positions = list(prefix), [0] * len(prefix)
            for bin_, of_bin in enumerate(counts[first : first + step_bins].int().tolist()):
                for neuron, n_spikes in enumerate(of_bin):
                    if scheme != "causal" or bin_ <= latest:
                        tokens += [stitcher.neurons.weight[neuron]] * n_spikes
                        positions += [bin_] * n_spikes
            offered = backbone.read.keys_and_values(torch.stack(tokens)[None], torch.tensor(positions))
            read.append(query + backbone.read(query[None, None], torch.tensor([float(position)]), offered, None)[0, 0])
    return torch.stack(read)


@both
@steps
def test_every_spike_is_a_token_and_padding_is_none(options, scheme):
    model, counts = make_model(**options), sparse_counts()
    session = SessionInput(model.stitchers["session:a"], counts, torch.zeros_like(counts, dtype=torch.bool))
    prefix = model.backbone.prefix(session.stitcher, scheme)
    with torch.no_grad():
        (read,) = model.backbone.read_spikes([session], [prefix], scheme)
        for trial in range(3):
            plain = reads_one_token_a_spike(model, counts[trial], scheme)
            torch.testing.assert_close(read[trial].flatten(0, 1), plain, rtol=1e-10, atol=1e-12)


def test_what_stands_in_a_slot_of_padding_has_no_influence(monkeypatch):
    model, counts = make_model(step_bins=2), sparse_counts()
    before = log_rates_of(model, counts)

    def with_more_padding(counts: Tensor, *, step_bins: int, n_slots: int | None) -> Spikes:
        entry, log_count = spikes_of(counts, step_bins=step_bins, n_slots=n_slots)
        entry = entry.masked_fill(log_count == -torch.inf, 5)
        more = entry.new_full((len(entry), 3), 9)
        return Spikes(torch.cat((entry, more), 1), torch.cat((log_count, torch.full(more.shape, -torch.inf)), 1))

    monkeypatch.setattr(spike_tokens, "spikes_of", with_more_padding)
    torch.testing.assert_close(log_rates_of(model, counts), before, rtol=1e-12, atol=1e-12)


def test_a_trial_s_rates_do_not_depend_on_how_many_spikes_the_others_have():
    model, counts = make_model(step_bins=2), sparse_counts()
    together = log_rates_of(model, counts)
    for trial in range(3):
        torch.testing.assert_close(log_rates_of(model, counts[trial : trial + 1])[0], together[trial])


def test_the_time_of_a_spike_within_its_step_is_told():
    model = make_model(step_bins=5)
    first, last = torch.zeros(2, 1, N_BINS, len(REGIONS)).double()
    first[0, 0, 2] = last[0, 4, 2] = 1
    assert not torch.allclose(log_rates_of(model, first), log_rates_of(model, last))


def test_attention_depends_on_the_distance_of_tokens_only():
    attention = CrossAttention(width=12, n_heads=2, dropout=0.0).double()
    scatter(attention)
    x, context = torch.randn(2, 1, 4, 12, generator=torch.Generator().manual_seed(0)).double()

    def read(x_position: Tensor, position: Tensor) -> Tensor:
        return attention(x, x_position, attention.keys_and_values(context, position), None)

    here, there = torch.arange(4), torch.tensor([3, 1, 0, 7])
    torch.testing.assert_close(read(here + 9, there + 9), read(here, there), rtol=0, atol=1e-5)
    assert not torch.allclose(read(here + 9, there), read(here, there), rtol=0, atol=1e-3)


# ---- causality, silence


@steps
def test_causal_rates_do_not_depend_on_the_future_but_on_all_of_the_past(options):
    model, counts = make_model(**options), sparse_counts() + 1
    before = log_rates_of(model, counts, "causal")
    for bin_ in range(N_BINS):
        for change in (0.0, 7.0):  # spikes that go and spikes that come
            changed = counts.clone()
            changed[:, bin_] = change
            moved = log_rates_of(model, changed, "causal") - before
            assert not (moved[:, :bin_].abs() > 1e-12).any()
            assert (moved[:, bin_:].abs().amax((0, 2)) > 1e-6).all()


@steps
def test_other_schemes_see_the_whole_trial(options):
    model, counts = make_model(**options), sparse_counts()
    before = log_rates_of(model, counts)
    for bin_ in range(N_BINS):
        changed = counts.clone()
        changed[:, bin_] += 1
        assert ((log_rates_of(model, changed) - before).abs().amax((0, 2)) > 1e-6).all()


@both
@pytest.mark.parametrize("own_tokens", [True, False])
def test_a_trial_without_spikes_has_rates(own_tokens, scheme):
    model = make_model(prompt=own_tokens, session_token=own_tokens, step_bins=3)
    silent = torch.zeros(2, N_BINS, len(REGIONS)).double().requires_grad_()
    log_rates = model([VisibleGroup("a", silent)], scheme).log_rates[0]
    log_rates.sum().backward()
    assert log_rates.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    torch.testing.assert_close(log_rates[0], log_rates[1])


def test_one_spike_moves_the_rates_by_its_neuron_bin_and_number():
    model, silent = make_model(), torch.zeros(1, N_BINS, len(REGIONS)).double()
    rates = [log_rates_of(model, silent)]
    for bin_, neuron, n_spikes in ((3, 2, 1), (3, 4, 1), (6, 2, 1), (3, 2, 2)):
        counts = silent.clone()
        counts[0, bin_, neuron] = n_spikes
        rates.append(log_rates_of(model, counts))
    assert all(not torch.allclose(one, other) for i, one in enumerate(rates) for other in rates[:i])


def test_a_neuron_that_is_silent_is_read_as_if_it_were_not_there_but_is_predicted():
    model, counts = make_model(), sparse_counts()
    before = log_rates_of(model, counts)
    with torch.no_grad():
        model.stitchers["session:a"].neurons.weight[6] = torch.nan
    assert torch.equal(log_rates_of(model, counts), before)
    assert before[..., 6].std() > 0


@both
def test_a_gradient_by_the_counts_is_that_of_finite_differences(scheme):
    model, counts = make_model(step_bins=2), sparse_counts()[:1] + 1
    counts[0, 3, 2] = 0
    counts.requires_grad_()
    weights = torch.randn(counts.shape, generator=torch.Generator().manual_seed(0)).double()
    ((model([VisibleGroup("a", counts)], scheme).log_rates[0]) * weights).sum().backward()
    for place in ((0, 0, 0), (0, 4, 6), (0, 9, 3)):
        more, fewer = counts.detach().clone(), counts.detach().clone()
        more[place], fewer[place] = more[place] + 1e-5, fewer[place] - 1e-5
        moved = ((log_rates_of(model, more, scheme) - log_rates_of(model, fewer, scheme)) * weights).sum() / 2e-5
        torch.testing.assert_close(counts.grad[place], moved, rtol=1e-5, atol=1e-7)
    assert counts.grad[0, 3, 2] == 0


# ---- leaving out, sessions, options


@both
@steps
@pytest.mark.parametrize("tokens_per_pass", [1, 200, 2**15])
def test_leaving_neurons_out_together_equals_one_pass_for_each(options, scheme, tokens_per_pass, monkeypatch):
    monkeypatch.setattr(blocks, "TOKENS_PER_PASS", tokens_per_pass)
    model, counts = make_model(**options), sparse_counts()
    hidden = torch.zeros_like(counts, dtype=torch.bool)
    hidden[..., 1] = True  # as those of other regions are
    session = SessionInput(model.stitchers["session:a"], counts.masked_fill(hidden, 0), hidden)
    trials, neurons = every_pair(len(counts), [5, 0, 1, 3, 6])
    some = torch.randperm(len(trials), generator=torch.Generator().manual_seed(0))[:12]  # not as many of each trial
    with torch.no_grad():
        plain = Backbone.left_out(model.backbone, session, scheme, trials[some], neurons[some])
        quick = model.backbone.left_out(session, scheme, trials[some], neurons[some])
    torch.testing.assert_close(quick, plain, rtol=1e-10, atol=1e-12)


def test_half_precision_tells_nothing_of_a_neuron_left_out():
    model, few = make_model().float(), sparse_counts()
    many = few.clone()
    many[..., 2] += 200
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        one, other = (model.left_out(VisibleGroup("a", c), "neuron", torch.tensor([2])) for c in (few, many))
    fires = few[..., 2].any(dim=1)
    assert fires.tolist() == [True, False, True]
    assert torch.equal(one[fires], other[fires])
    # where it is silent, it shares a pass with others: the same but for rounding
    torch.testing.assert_close(one[~fires], other[~fires], rtol=0, atol=0.05 * one.std().item())


def test_the_prompt_changes_what_is_predicted_and_without_one_only_attention_does():
    counts = sparse_counts()
    for prompt in (True, False):
        model = make_model(prompt=prompt)
        neuron, region = (log_rates_of(model, counts, scheme) for scheme in ("neuron", "intra_region"))
        assert torch.allclose(neuron, region) != prompt


def test_the_session_token_is_the_session_s_own():
    for session_token in (True, False):
        model, counts = make_model(session_token=session_token), sparse_counts()
        before = log_rates_of(model, counts)
        torch.nn.init.ones_(model.stitchers["session:a"].token)
        assert torch.equal(log_rates_of(model, counts), before) != session_token


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 10, "n_heads": 3}, "10 in 3 heads"),
        ({"width": 6, "n_heads": 2}, "even"),
        ({"n_heads": 0}, "n_heads is 0"),
        ({"step_bins": 0}, "step_bins is 0"),
        ({"n_latents": 0}, "n_latents is 0"),
        ({"n_layers": 0, "mlp_width": -1}, "n_layers is 0, less than 1. mlp_width is -1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_a_bad_option_is_named(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        SpikeTokens(**options)

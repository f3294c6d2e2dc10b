"""LFADS: its costs by hand, what a bin sees, its draws, its stitchers, and its options."""

import copy
import math

import pytest
import torch
from small_models import N_BINS, every_pair, make_group, make_session, scatter
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from neuromtm.errors import ConfigError
from neuromtm.masking.masked import mask
from neuromtm.models import lfads
from neuromtm.models.factor_stitching import shared_components, stitching_maps
from neuromtm.models.interface import Backbone, SessionInput
from neuromtm.models.latents import MIN_VARIANCE, AutoregressivePrior, Posterior, PosteriorHead, gaussian_kl
from neuromtm.models.lfads import LFADS
from neuromtm.models.stitching import StitchedModel, VisibleGroup

SMALL = {
    "width": 6,
    "initial_encoder_size": 5,
    "input_encoder_size": 4,
    "controller_size": 5,
    "generator_size": 7,
    "initial_size": 3,
    "n_inputs": 2,
    "n_factors": 4,
    "n_samples": 3,
    "dropout": 0.0,
    "kl_inputs": 1.0,
    "kl_warmup_steps": 0,
}


SHARE = {"kl_warmup_steps": None}


def make_lfads(sessions=None, **options) -> StitchedModel:
    """A scattered model in evaluation mode, in double precision."""
    model = StitchedModel(LFADS(**SMALL | options))
    for session in sessions or (make_session("a"), make_session("b")):
        model.add_session(session)
    scatter(model)
    return model.double().eval()


GROUP = make_group(make_session("a"))
SHOWN = VisibleGroup("a", GROUP.counts)


def draws(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


# ---- costs


def test_the_cost_of_a_gaussian_is_that_of_torch():
    posterior = Posterior(draws(5, 3), draws(5, 3, seed=1).exp())
    prior = Normal(draws(3, seed=2), draws(3, seed=3).exp())
    expected = kl_divergence(Normal(posterior.mean, posterior.variance.sqrt()), prior).sum(-1)
    torch.testing.assert_close(gaussian_kl(posterior, prior.mean, prior.variance), expected)


def test_the_inputs_prior_is_a_stationary_process_of_its_time_constant():
    """Without dependence on draws the cost is that against the joint Gaussian of all bins, on the average."""
    n_bins, tau, variance = 6, 3.0, 0.5
    prior = AutoregressivePrior(1, time_constant_bins=tau, variance=variance).double()
    posterior = Posterior(draws(1, n_bins, 1), draws(1, n_bins, 1, seed=1).exp())
    lag = (torch.arange(n_bins)[:, None] - torch.arange(n_bins)).abs().double()
    joint = MultivariateNormal(torch.zeros(n_bins).double(), variance * torch.exp(-lag / tau))
    own = MultivariateNormal(posterior.mean[0, :, 0], torch.diag(posterior.variance[0, :, 0]))
    many = 20_000
    repeated = Posterior(*(part.expand(many, -1, -1) for part in posterior))
    cost = prior.kl(repeated, repeated.draw(draws(many, n_bins, 1, seed=2)))
    assert cost.mean().item() == pytest.approx(kl_divergence(own, joint).item(), abs=5 * cost.std().item() / many**0.5)


def test_the_cost_of_the_inputs_by_hand():
    prior = AutoregressivePrior(2, time_constant_bins=4.0, variance=0.3).double()
    with torch.no_grad():
        prior.log_time_constant += torch.tensor([0.0, 1.0])
    posterior, drawn = Posterior(draws(3, 5, 2), draws(3, 5, 2, seed=1).exp()), draws(3, 5, 2, seed=2)
    expected = torch.zeros(3).double()
    for latent, tau in enumerate((4.0, 4.0 * math.e)):
        a = math.exp(-1 / tau)
        for t in range(5):
            mean = a * drawn[:, t - 1, latent] if t else torch.zeros(3).double()
            deviation = math.sqrt(0.3 * (1 - a**2) if t else 0.3)
            own = Normal(posterior.mean[:, t, latent], posterior.variance[:, t, latent].sqrt())
            expected += kl_divergence(own, Normal(mean, deviation))
    torch.testing.assert_close(prior.kl(posterior, drawn), expected, rtol=1e-6, atol=1e-6)


def test_costs_are_in_single_precision_at_least():
    narrow = Posterior(torch.full((1, 2, 3), 0.1, dtype=torch.bfloat16), torch.full((1, 2, 3), 0.9).bfloat16())
    prior = AutoregressivePrior(3, time_constant_bins=10.0, variance=1.0).bfloat16()
    assert gaussian_kl(narrow, 0.0, 1.0).dtype == prior.kl(narrow, narrow.mean).dtype == torch.float32


def test_a_posterior_never_shrinks_to_a_point_and_starts_narrow():
    assert Posterior.of(torch.full((1, 4), -100.0)).variance.min() == pytest.approx(MIN_VARIANCE)
    head = PosteriorHead(3, 2, variance=0.1)
    torch.testing.assert_close(head(torch.zeros(1, 3)).variance, torch.full((1, 2), 0.1 + MIN_VARIANCE))


def own_loss(model, scheme="neuron", groups=(SHOWN,)):
    torch.manual_seed(0)
    return model(list(groups), scheme).own_loss


def test_own_loss_is_the_cost_of_a_trial_divided_by_its_bins_and_neurons(monkeypatch):
    sessions = [make_session("a"), make_session("b", ["CA1"] * 3)]
    model = make_lfads(sessions, kl_initial=2.0, kl_inputs=0.5, kl_warmup_steps=4).train()
    few = make_group(sessions[1], n_trials=2, seed=1)
    costs = []
    unroll = LFADS.unroll
    monkeypatch.setattr(LFADS, "unroll", lambda *args, **named: costs.append(unroll(*args, **named)) or costs[-1])
    torch.manual_seed(0)
    output = model([SHOWN, VisibleGroup("b", few.counts)], "neuron")
    assert list(costs[0].kl) == ["initial", "inputs"]
    assert all(kl.shape == (5,) and (kl > 0).all() for kl in costs[0].kl.values())
    terms = [kl.sum() / (3 * N_BINS * 7 + 2 * N_BINS * 3) for kl in costs[0].kl.values()]
    torch.testing.assert_close(output.own_loss, 0.25 * (2.0 * terms[0] + 0.5 * terms[1]), rtol=1e-6, atol=0)
    assert list(output.own_terms) == ["kl/initial", "kl/inputs"]
    torch.testing.assert_close(list(output.own_terms.values()), terms, rtol=1e-12, atol=0)


def test_weights_scale_their_own_cost():
    def loss(**options):
        return own_loss(make_lfads(**options).train()).item()

    initial, inputs = loss(kl_inputs=0.0), loss(kl_initial=0.0)
    assert min(initial, inputs) > 0
    assert loss() == pytest.approx(initial + inputs)
    assert loss(kl_initial=3.0, kl_inputs=0.5) == pytest.approx(3 * initial + 0.5 * inputs)


def test_an_evaluation_has_no_loss_of_its_own_and_counts_no_step():
    model = make_lfads()
    output = model([SHOWN], "neuron")
    assert output.own_loss is None
    assert output.own_terms is None
    assert model.backbone.n_steps == 0


def test_the_cost_rises_over_the_warm_up_and_goes_on_where_a_checkpoint_was():
    model = make_lfads(kl_warmup_steps=4).train()
    full = own_loss(make_lfads().train())
    rising = [own_loss(model) for _ in range(3)]
    again = make_lfads(kl_warmup_steps=4).train()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    rising += [own_loss(again) for _ in range(3)]
    torch.testing.assert_close(torch.stack(rising) / full, torch.tensor([0.25, 0.5, 0.75, 1, 1, 1]).double())


def test_the_warm_up_is_a_share_of_the_training_and_goes_on_where_a_checkpoint_was():
    model = make_lfads(**SHARE, kl_warmup_fraction=0.5).train()
    full = own_loss(make_lfads().train())
    model.backbone.begin_training(8)
    rising = [own_loss(model) for _ in range(3)]
    again = make_lfads(**SHARE, kl_warmup_fraction=0.5).train()
    again.load_state_dict(copy.deepcopy(model.state_dict()))
    again.backbone.begin_training(1000)  # a longer fine-tuning does not warm up once more
    rising += [own_loss(again) for _ in range(3)]
    torch.testing.assert_close(torch.stack(rising) / full, torch.tensor([0.25, 0.5, 0.75, 1, 1, 1]).double())


@pytest.mark.parametrize(("fraction", "n_batches"), [(0.0, 100), (0.5, None)])
def test_without_a_warm_up_or_a_training_the_whole_weights_apply(fraction, n_batches):
    model = make_lfads(**SHARE, kl_warmup_fraction=fraction).train()
    if n_batches:
        model.backbone.begin_training(n_batches)
    torch.testing.assert_close(own_loss(model), own_loss(make_lfads().train()))


def test_a_number_of_warm_up_steps_stands_whatever_the_training_is_and_has_no_new_weights():
    """Checkpoints of older versions have such a number, and these weights."""
    model = make_lfads(kl_warmup_steps=4).train()
    model.backbone.begin_training(1000)
    torch.testing.assert_close(own_loss(model), 0.25 * own_loss(make_lfads().train()))
    assert "n_warmup_steps" not in model.backbone.state_dict()


def test_nothing_costs_anything_under_the_causal_scheme_without_inputs():
    assert own_loss(make_lfads(n_inputs=0).train(), "causal") == 0
    assert own_loss(make_lfads(n_inputs=0).train(), "neuron") > 0


def test_terms_that_a_scheme_or_a_model_lacks_are_not_named():
    def terms(scheme, **options):
        return list(make_lfads(**options).train()([SHOWN], scheme).own_terms)

    assert terms("causal") == ["kl/inputs"]
    assert terms("neuron", n_inputs=0) == ["kl/initial"]
    assert terms("causal", n_inputs=0) == []


# ---- what a bin sees


def bins_seen(model, scheme):
    """(bin, bin) bool: whether the row's log-rates depend on the column's counts."""
    counts = GROUP.counts.clone().requires_grad_()
    log_rates = model([VisibleGroup("a", counts)], scheme).log_rates[0]
    if not log_rates.requires_grad:
        return torch.zeros(N_BINS, N_BINS, dtype=torch.bool)
    rows = [
        torch.autograd.grad(log_rates[:, t].sum(), counts, retain_graph=True, allow_unused=True)[0]
        for t in range(N_BINS)
    ]
    return torch.stack([torch.zeros(N_BINS) if row is None else row.abs().sum((0, 2)) for row in rows]) > 0


@pytest.mark.parametrize("training", [True, False])
def test_causal_rates_depend_on_the_past_and_the_present_alone(training):
    seen = bins_seen(make_lfads().train(training), "causal")
    assert torch.equal(seen, torch.ones(N_BINS, N_BINS, dtype=torch.bool).tril())


def test_other_schemes_see_the_whole_trial_with_and_without_inputs():
    assert bins_seen(make_lfads(), "neuron").all()
    assert bins_seen(make_lfads(n_inputs=0), "neuron").all()


def test_without_inputs_causal_rates_are_one_course_for_all_trials():
    model = make_lfads(n_inputs=0)
    assert not bins_seen(model, "causal").any()
    log_rates = model([SHOWN], "causal").log_rates[0]
    torch.testing.assert_close(log_rates[0], log_rates[1])
    assert log_rates[0].std(dim=0).min() > 0


def test_the_prompt_and_the_mask_input_change_what_is_predicted():
    for on in (True, False):
        model = make_lfads(prompt=on)
        temporal, neuron = (model([SHOWN], scheme).log_rates[0] for scheme in ("temporal", "neuron"))
        assert torch.equal(temporal, neuron) != on
        model, hidden = make_lfads(mask_input=on, standardise=False), torch.zeros_like(GROUP.counts, dtype=torch.bool)
        hidden[..., 3] = True
        told = model([VisibleGroup("a", GROUP.counts, hidden)], "neuron").log_rates[0]
        assert torch.equal(told, model([SHOWN], "neuron").log_rates[0]) != on


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"n_inputs": 0}, {"pcr": True}])
def test_before_training_it_predicts_mean_rates(options, training):
    model = StitchedModel(LFADS(**SMALL | options)).train(training)
    mean_counts = torch.rand(7, generator=torch.Generator().manual_seed(0)) + 0.1
    model.add_session(make_session("a"), mean_counts)
    if model.backbone.wants_averages:
        average = mean_counts * (1 + 0.3 * torch.sin(torch.arange(N_BINS) * 1.0)[:, None])
        model.backbone.start_from_averages([model.stitchers["session:a"]], [average])
    rates = model([VisibleGroup("a", GROUP.counts)], "neuron").log_rates[0].exp()
    torch.testing.assert_close(rates, mean_counts.expand_as(rates), rtol=1e-5, atol=0)


# ---- draws


def test_an_evaluation_is_the_same_again_and_whatever_else_is_in_the_batch():
    model = make_lfads()
    once, again = (model([SHOWN], "neuron") for _ in range(2))
    assert torch.equal(once.log_rates[0], again.log_rates[0])
    alone = model([VisibleGroup("a", GROUP.counts[1:2])], "neuron")
    torch.testing.assert_close(alone.log_rates[0][0], once.log_rates[0][1])
    torch.testing.assert_close(alone.states[0][0], once.states[0][1])


def test_a_training_step_draws_anew():
    model = make_lfads().train()
    torch.manual_seed(0)
    one, other = (model([SHOWN], "neuron").log_rates[0] for _ in range(2))
    torch.manual_seed(0)
    assert torch.equal(model([SHOWN], "neuron").log_rates[0], one)
    assert not torch.equal(one, other)


def test_what_is_averaged_is_rates_not_log_rates():
    model, (visible, hidden) = make_lfads(), (GROUP.counts, torch.zeros_like(GROUP.counts, dtype=torch.bool))
    stitcher = model.stitchers["session:a"]
    factors, _ = model.backbone.unroll(stitcher.drive(visible, hidden), "neuron")
    output = model([SHOWN], "neuron")
    assert len(factors) == 3
    assert factors.std(dim=0).min() > 0
    torch.testing.assert_close(output.log_rates[0].exp(), stitcher.read_out(factors).exp().mean(0))


@pytest.mark.parametrize("options", [{}, {"n_inputs": 0}, {"n_samples": 1}])
@pytest.mark.parametrize("scheme", ["neuron", "causal"])
def test_the_states_of_an_evaluation_are_those_of_the_posterior_s_mean_whatever_is_drawn(scheme, options, monkeypatch):
    model, mean = make_lfads(**options), make_lfads(**options | {"n_samples": 0})
    drawn = model([SHOWN], scheme)
    expected = mean([SHOWN], scheme)
    torch.testing.assert_close(drawn.states[0], expected.states[0], rtol=1e-12, atol=1e-14)
    if scheme == "neuron" or "n_inputs" not in options:
        assert (drawn.log_rates[0] - expected.log_rates[0]).abs().max() > 1e-3
    monkeypatch.setattr(lfads, "generator_for", lambda *_: torch.Generator().manual_seed(5))
    assert torch.equal(model([SHOWN], scheme).states[0], drawn.states[0])


def test_the_average_of_many_draws_is_nearer_to_the_posterior_s_than_one_draw():
    def rates(n_samples, seed=None):
        model = make_lfads(n_samples=n_samples)
        if seed is None:
            return model([SHOWN], "neuron").log_rates[0].exp()
        torch.manual_seed(seed)  # a training step without dropout is one draw
        return model.train()([SHOWN], "neuron").log_rates[0].exp()

    expected = torch.stack([rates(0, seed) for seed in range(200)]).mean(0)
    error = {n: (rates(n) - expected).square().mean().item() for n in (1, 64)}
    assert error[64] < 0.2 * error[1]


@pytest.mark.parametrize("options", [{}, {"n_inputs": 0}, {"n_samples": 0, "mask_input": True}])
@pytest.mark.parametrize("bins_per_pass", [1, 100, 2**16])
@pytest.mark.parametrize("scheme", ["neuron", "causal"])
def test_leaving_neurons_out_together_equals_one_pass_for_each(options, bins_per_pass, scheme, monkeypatch):
    monkeypatch.setattr(lfads, "BINS_PER_PASS", bins_per_pass)
    model, rows = make_lfads(**options), every_pair(3, [5, 0, 2, 3, 6])
    masked = mask(GROUP.counts, torch.arange(7) > 4)
    session = SessionInput(model.stitchers["session:a"], masked.visible, masked.hidden)
    plain, quick = (c.left_out(model.backbone, session, scheme, *rows) for c in (Backbone, LFADS))
    torch.testing.assert_close(quick, plain, rtol=1e-10, atol=1e-12)


# ---- coordinated dropout


def test_coordinated_dropout_hides_shown_entries_in_training_and_scales_up_the_rest():
    model = make_lfads(coordinated_dropout=0.4, standardise=False)
    session = SessionInput(model.stitchers["session:a"], GROUP.counts, torch.zeros_like(GROUP.counts).bool())
    assert model.backbone._shown(session) is session
    torch.manual_seed(0)
    shown = [model.train().backbone._shown(session) for _ in range(200)]
    for _, visible, hidden, *_ in shown[:5]:
        assert not visible[hidden].any()
        torch.testing.assert_close(visible[~hidden], GROUP.counts[~hidden] / (1 - round(0.4 * 65536) / 65536))
    torch.testing.assert_close(
        torch.stack([one.visible for one in shown]).mean((0, 1)), GROUP.counts.mean(0), rtol=0.15, atol=0
    )
    assert torch.stack([one.hidden.double() for one in shown]).mean() == pytest.approx(0.4, abs=0.01)


def test_a_scored_entry_has_no_path_to_its_own_score_with_coordinated_dropout():
    model = make_lfads(coordinated_dropout=0.3).train()
    counts = GROUP.counts.clone().requires_grad_()
    masked = mask(counts, torch.arange(7) > 4)
    output = model([VisibleGroup("a", masked.visible, masked.hidden)], "neuron")
    (moved,) = torch.autograd.grad(output.log_rates[0][masked.target].sum(), counts)
    assert not moved[masked.target].any()
    # and of the shown entries, those that are dropped have none either
    assert 0 < (moved[~masked.hidden] == 0).double().mean() < 0.6


# ---- principal-component regression


def two_animals(n_bins=40):
    """Two sessions whose rates follow the same two courses by different weights, and the courses."""
    time = torch.linspace(0, 1, n_bins).double()
    courses = torch.stack([(2 * math.pi * time).sin(), (2 * math.pi * time).cos()], dim=1)
    means = [2 + draws(n, seed=n).abs() for n in (9, 12)]
    return [m * (1 + 0.3 * courses @ draws(2, len(m), seed=7)) for m in means], courses


def test_components_are_the_courses_that_all_sessions_share():
    averages, courses = two_animals()
    components = shared_components(averages, 5)
    assert components.shape == (40, 2)  # there are no more
    torch.testing.assert_close(components.T @ components / 40, torch.eye(2).double())
    # both span the same plane
    centred = courses - courses.mean(0)
    left = centred - components @ (components.T @ centred) / 40
    assert left.norm() < 1e-8 * centred.norm()


def test_regression_reads_the_same_components_from_other_neurons_and_back():
    averages, _ = two_animals()
    components = shared_components(averages, 2)
    for average in averages:
        maps = stitching_maps(average, components)
        torch.testing.assert_close((average - average.mean(0)) @ maps.read_in.T, components)
        modulation = average / average.mean(0) - 1
        torch.testing.assert_close(components @ maps.read_out.T, modulation)


def test_regression_reads_a_session_s_own_leading_components_only():
    averages, _ = two_animals()
    noisy = [average + 0.1 * draws(*average.shape, seed=len(average[0])) for average in averages]
    components = shared_components(noisy, 2)
    for average in noisy:
        root = average.mean(0).sqrt()
        leading = torch.linalg.svd((average - average.mean(0)) / root, full_matrices=False)[2][:2]
        read = stitching_maps(average, components).read_in * root  # of standardised counts
        torch.testing.assert_close(read @ leading.T @ leading, read)
        decoded = (average - average.mean(0)) / root @ read.T
        assert 0.5 < torch.corrcoef(torch.cat((decoded, components), 1).T)[0, 2] < 1


def test_sessions_start_aligned_and_one_that_comes_later_is_aligned_with_them():
    (first, second), _ = two_animals()
    infos = [make_session(eid, ["CA1"] * n) for eid, n in (("a", 9), ("b", 12))]

    def drives(model):
        counts = {"a": first, "b": second}
        stitchers = {eid: model.stitchers[f"session:{eid}"] for eid in counts}
        return [
            stitchers[eid].drive(counts[eid][None], torch.zeros_like(counts[eid][None]).bool())[0, :, :2]
            for eid in counts
        ]

    torch.manual_seed(0)
    model = StitchedModel(LFADS(**SMALL | {"pcr": True})).double()
    model.add_session(infos[0], first.mean(0))
    model.backbone.start_from_averages([model.stitchers["session:a"]], [first])
    later = StitchedModel(LFADS(**SMALL | {"pcr": True})).double()
    later.backbone.load_state_dict(model.backbone.state_dict())
    for info, average in zip(infos, (first, second), strict=True):
        later.add_session(info, average.mean(0))
    unaligned = drives(later.double())
    assert not torch.allclose(*unaligned, atol=0.1)
    later.backbone.start_from_averages([later.stitchers[f"session:{eid}"] for eid in "ab"], [first, second])
    torch.testing.assert_close(*drives(later), rtol=0, atol=1e-4)


def test_trials_of_other_lengths_are_refused():
    model = make_lfads(pcr=True)
    (first, _), _ = two_animals()
    stitcher = LFADS(**SMALL).make_stitcher(first.mean(0), ["CA1"] * 9)
    model.backbone.start_from_averages([stitcher], [first])
    with pytest.raises(ConfigError, match=r"must have 40 bins, as in the model's training, but the data have 39"):
        model.backbone.start_from_averages([stitcher], [first[1:]])
    with pytest.raises(ConfigError, match="at most 1024"):
        LFADS(**SMALL, pcr=True).start_from_averages([stitcher], [first.repeat(30, 1)])


# ---- precision, copies, options


def test_autocast_changes_nothing():
    model = make_lfads().float()
    counts = GROUP.counts.float()
    with torch.no_grad():
        plain = model([VisibleGroup("a", counts)], "neuron").log_rates[0]
        with torch.autocast("cpu", torch.bfloat16):
            half = model([VisibleGroup("a", counts)], "neuron").log_rates[0]
    assert torch.equal(plain, half)


def test_a_copy_predicts_the_same():
    model = make_lfads(pcr=True)
    other = copy.deepcopy(model)
    assert torch.equal(model([SHOWN], "neuron").log_rates[0], other([SHOWN], "neuron").log_rates[0])


def test_the_states_of_one_draw_are_what_the_read_out_reads():
    model = make_lfads(n_samples=0)
    output = model([SHOWN], "neuron")
    assert output.states[0].shape == (3, N_BINS, model.backbone.state_size)
    torch.testing.assert_close(model.stitchers["session:a"].read_out(output.states[0]), output.log_rates[0])


def test_a_class_made_again_from_its_options_is_the_same_architecture():
    backbone = LFADS(**SMALL, pcr=True, coordinated_dropout=0.1, mask_input=True)
    again = LFADS(**backbone.options)
    assert again.options == backbone.options
    again.load_state_dict(backbone.state_dict())
    assert backbone.max_n_bins is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"width": 0, "n_factors": -1}, "width is 0.*n_factors is -1"),
        ({"n_inputs": -1}, "n_inputs is -1"),
        ({"n_samples": -1}, "n_samples is -1"),
        ({"kl_initial": -0.5}, "kl_initial is -0.5"),
        ({"kl_inputs": float("nan")}, "kl_inputs is nan"),
        ({"kl_warmup_steps": -1}, "kl_warmup_steps is -1"),
        ({"kl_warmup_fraction": 1.5}, "kl_warmup_fraction is 1.5"),
        ({"kl_warmup_fraction": float("nan")}, "kl_warmup_fraction is nan"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"coordinated_dropout": -0.1}, "coordinated_dropout is -0.1"),
    ],
)
def test_a_bad_option_is_named(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        LFADS(**SMALL | options)

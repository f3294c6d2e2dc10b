"""What is hidden stays hidden in every architecture, by gradient of the whole path: counts, mask, model, log-rates."""

from dataclasses import replace

import pytest
import torch
from small_models import BACKBONES, N_BINS, make_group, make_model, make_session
from torch import Tensor

from neuromtm.batch import Scheme
from neuromtm.evaluation.tasks import TASKS, n_forward_bins, predict_task
from neuromtm.masking.objective import Objective
from neuromtm.masking.schemes import SCHEMES, attends_causally
from neuromtm.models.interface import Backbone
from neuromtm.models.stitching import StitchedModel, VisibleGroup

GROUP = make_group(make_session("a"))
VARIANTS = [
    {},
    {"rope": True},
    {"prompt": False},
    {"session_token": False, "rope": True},
    {"prompt": False, "session_token": False},
]
architectures = pytest.mark.parametrize("backbone", BACKBONES)
variants = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: ",".join(options) or "default")
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def influence(prediction: Tensor, counts: Tensor) -> Tensor:
    """(trial, bin, neuron) how much each count moves a prediction, whatever is in the others' way."""
    if not prediction.requires_grad:
        return torch.zeros_like(counts)
    return torch.autograd.grad(prediction, counts, retain_graph=True)[0].abs()


@architectures
@schemes
def test_no_hidden_entry_has_an_influence_and_what_is_visible_has(scheme, backbone):
    model, counts = make_model(backbone=backbone), GROUP.counts.clone().requires_grad_()
    objective = Objective(neurons_per_token=2)
    region = make_session("a", n_heldout=2).region_index() if scheme == "heldout" else GROUP.region
    masked = objective.hide(scheme, counts, region, torch.Generator().manual_seed(3))
    log_rates = model([VisibleGroup("a", masked.visible)], scheme).log_rates[0]
    # random weights, so that no two influences cancel
    weights = torch.randn(log_rates.shape, generator=torch.Generator().manual_seed(0)).double()
    moved = influence((log_rates * weights).sum(), counts)
    assert not moved[masked.hidden].any()
    assert (moved[~masked.hidden] > 0).all()


@architectures
@pytest.mark.parametrize("quick", [True, False], ids=["quick", "plain"])
@pytest.mark.parametrize("task", TASKS)
def test_no_neuron_predicts_itself_in_any_task(task, quick, backbone, monkeypatch):
    model, counts = make_model(backbone=backbone), GROUP.counts.clone().requires_grad_()
    if not quick:
        monkeypatch.setattr(type(model.backbone), "left_out", Backbone.left_out)
    scored = []
    for held_out in predict_task(task, model, Objective(), replace(GROUP, counts=counts)):
        first_bin = N_BINS - held_out.log_rates.shape[1]
        for place, neuron in enumerate(held_out.neurons.tolist()):
            scored.append(neuron)
            moved = influence(held_out.log_rates[..., place].sum(), counts)
            # what is subtracted again comes back to 0 but for rounding
            assert moved[:, first_bin:, neuron].max() < 1e-12 * moved.max()
            assert torch.equal(held_out.counts[..., place], counts[:, first_bin:, neuron])
    everyone, known = list(range(7)), [0, 1, 2, 3, 4, 6]
    in_company = [n for n in known if n != 6]
    expected = {"intra_region": in_company, "inter_region": known}
    assert sorted(scored) == expected.get(task, everyone)


def influence_on_each_neuron(task: str, model: StitchedModel) -> dict[int, Tensor]:
    """Neuron predicted -> (neuron,) influence of every neuron's counts."""
    counts = GROUP.counts.clone().requires_grad_()
    return {
        neuron: influence(held_out.log_rates[..., place].sum(), counts).sum((0, 1))
        for held_out in predict_task(task, model, Objective(), replace(GROUP, counts=counts))
        for place, neuron in enumerate(held_out.neurons.tolist())
    }


@architectures
def test_a_task_shows_what_it_should_and_nothing_else(backbone):
    model, region = make_model(backbone=backbone), GROUP.region.number
    for neuron, moved in influence_on_each_neuron("co_smoothing", model).items():
        assert ((moved > 1e-9) == (torch.arange(7) != neuron)).all()
    for neuron, moved in influence_on_each_neuron("intra_region", model).items():
        assert ((moved > 1e-9) == ((region == region[neuron]) & (torch.arange(7) != neuron))).all()
    for neuron, moved in influence_on_each_neuron("inter_region", model).items():
        assert ((moved > 1e-9) == (region != region[neuron])).all()


@architectures
def test_forward_prediction_sees_nothing_of_the_last_bins_and_all_of_the_others(backbone):
    model, counts = make_model(backbone=backbone), GROUP.counts.clone().requires_grad_()
    (held_out,) = predict_task("forward_prediction", model, Objective(), replace(GROUP, counts=counts))
    assert held_out.log_rates.shape[1] == n_forward_bins(N_BINS) == 1
    moved = influence(held_out.log_rates.sum(), counts)
    assert not moved[:, -1:].any()
    assert (moved[:, :-1] > 0).all()


def test_only_the_neurons_asked_for_are_left_out():
    asked = torch.tensor([4, 1])
    (held_out,) = predict_task("co_smoothing", make_model(), Objective(), GROUP, asked)
    (everyone,) = predict_task("co_smoothing", make_model(), Objective(), GROUP)
    assert torch.equal(held_out.neurons, asked)
    torch.testing.assert_close(held_out.log_rates, everyone.log_rates[..., asked])
    within = list(predict_task("intra_region", make_model(), Objective(), GROUP, asked))
    assert sorted(n for h in within for n in h.neurons.tolist()) == [1, 4]


def bins_seen(scheme: Scheme, **options: object) -> Tensor:
    """(bin, bin) bool: whether the row's log-rates depend on the column's counts, everything visible."""
    model, counts = make_model(**options), GROUP.counts.clone().requires_grad_()
    log_rates = model([VisibleGroup("a", counts)], scheme).log_rates[0]
    weights = torch.randn(log_rates.shape, generator=torch.Generator().manual_seed(0)).double()
    rows = [influence((log_rates * weights)[:, t].sum(), counts).sum((0, 2)) > 0 for t in range(N_BINS)]
    return torch.stack(rows)


@architectures
def test_causal_rates_do_not_depend_on_the_future_but_on_all_of_the_past(backbone):
    assert torch.equal(bins_seen("causal", backbone=backbone), torch.ones(N_BINS, N_BINS, dtype=torch.bool).tril())


@pytest.mark.parametrize("backbone", ["NDT1", "NDT2"])
@variants
def test_no_prefix_and_no_kind_of_positions_carries_the_future_into_the_past(options, backbone):
    seen = bins_seen("causal", backbone=backbone, n_layers=3, **options)
    assert torch.equal(seen, torch.ones(N_BINS, N_BINS, dtype=torch.bool).tril())


@architectures
@pytest.mark.parametrize("scheme", [s for s in SCHEMES if not attends_causally(s)])
def test_other_schemes_see_the_whole_trial(scheme, backbone):
    assert bins_seen(scheme, backbone=backbone).all()


@architectures
@schemes
def test_no_trial_sees_another(scheme, backbone):
    model, counts = make_model(backbone=backbone), GROUP.counts.clone().requires_grad_()
    log_rates = model([VisibleGroup("a", counts)], scheme).log_rates[0]
    moved = influence(log_rates[0].sum(), counts)
    assert moved[0].any()
    assert not moved[1:].any()
